//! The record of what was acknowledged: a line that names signal and run, then an id of 8 bytes for
//! each span, data point or log record.
//!
//! Invariant: what a reader finds was acknowledged. Ids are written after the acknowledgement and
//! before the next request of the same sender, so a kill at any moment loses the ids of at most
//! the requests that were on their way.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::generate::Signal;

const MAGIC: &str = "icecore-loadtest acked 2 ";

/// A record that is being written.
#[derive(Debug)]
pub(crate) struct AckedFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl AckedFile {
    /// Begins a record of `run`, in place of what was there.
    pub(crate) fn create(path: &Path, signal: Signal, run: &str) -> Result<Self, Error> {
        let failed = |source| Error::File { action: "make", path: path.to_owned(), source };
        let mut file = File::create(path).map_err(failed)?;
        file.write_all(format!("{MAGIC}{} {run}\n", signal.name()).as_bytes()).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Adds the items of one request, with one write to the page cache: some microseconds.
    pub(crate) fn add(&self, ids: &[[u8; 8]]) -> Result<(), Error> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.write_all(ids.as_flattened());
        written.map_err(|source| Error::File { action: "write", path: self.path.clone(), source })
    }
}

/// A whole record, sorted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Acked {
    pub(crate) signal: Signal,
    pub(crate) run: String,
    pub(crate) ids: Vec<u64>,
}

impl Acked {
    /// Reads a record; an id that a kill tore in two is left out.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
        let bytes = std::fs::read(path).map_err(failed)?;
        let not_a_record = || Error::NotARecord { path: path.to_owned() };
        let end = bytes.iter().position(|&byte| byte == b'\n').ok_or_else(not_a_record)?;
        let (header, rest) = bytes.split_at(end);
        let header = std::str::from_utf8(header).ok().ok_or_else(not_a_record)?;
        let named = header.strip_prefix(MAGIC).and_then(|rest| rest.split_once(' '));
        let (name, run) = named.ok_or_else(not_a_record)?;
        let signal = Signal::named(name).ok_or_else(not_a_record)?;
        let ids = rest.get(1..).unwrap_or_default();
        let (ids, _torn) = ids.as_chunks::<8>();
        let mut ids: Vec<u64> = ids.iter().map(|id| u64::from_be_bytes(*id)).collect();
        ids.sort_unstable();
        Ok(Self { signal, run: run.to_owned(), ids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: ids of two requests, the last one torn; a file that is no record.
    /// Guarantees: whole ids are found, sorted; the other file is refused.
    #[test]
    fn whole_ids_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acked");
        let file = AckedFile::create(&path, Signal::Logs, "a b").unwrap();
        file.add(&[9_u64.to_be_bytes(), 2_u64.to_be_bytes()]).unwrap();
        file.add(&[5_u64.to_be_bytes()]).unwrap();
        file.file.lock().unwrap().write_all(&[1, 2, 3]).unwrap();
        let read = Acked::read(&path).unwrap();
        let (signal, run) = (Signal::Logs, "a b".to_owned());
        assert_eq!(read, Acked { signal, run, ids: vec![2, 5, 9] });
        std::fs::write(&path, "something else\n").unwrap();
        assert!(matches!(Acked::read(&path), Err(Error::NotARecord { .. })));
    }
}
