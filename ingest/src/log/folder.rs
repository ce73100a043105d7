//! The log's folder as one process owns it.
//!
//! Invariant: while a [`LogFolder`] lives, no other process writes to its folder, and its writer
//! id is the one that every position in it belongs to.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use icecore_store::{Clock, LogPosition, WriterId};
use ulid::Ulid;

use super::disk::{DiskFolder, Folder, FolderLock};
use super::recover::{Recovered, recover};
use super::segment::Segments;
use crate::error::Error;

const WRITER_FILE: &str = "writer";

/// A log folder with its lock and its id.
#[derive(Debug)]
pub(crate) struct LogFolder {
    /// The id that the positions belong to.
    pub(crate) writer: WriterId,
    path: PathBuf,
    folder: Arc<dyn Folder>,
    _lock: FolderLock,
}

impl LogFolder {
    /// Takes the folder, made when missing, and gives a new one an id.
    pub(crate) fn open(path: &Path, clock: &dyn Clock) -> Result<Self, Error> {
        let opened = DiskFolder::open(path);
        let folder = opened.map_err(|source| log_error("make the folder", path, source))?;
        let locked = FolderLock::take(path).map_err(|source| log_error("lock", path, source))?;
        let Some(lock) = locked else { return Err(Error::LogInUse { path: path.to_owned() }) };
        let writer = writer_id(&path.join(WRITER_FILE), &folder, clock)?;
        Ok(Self { writer, path: path.to_owned(), folder: Arc::new(folder), _lock: lock })
    }

    /// Reads the log. It goes on after everything that was ever written, and after everything
    /// that the catalog `covered`: a log that lost its end must not use positions again.
    pub(crate) async fn recover(&self, covered: LogPosition) -> Result<Recovered, Error> {
        let folder = Arc::clone(&self.folder);
        let work = tokio::task::spawn_blocking(move || recover(folder.as_ref())).await;
        let recovered = work.map_err(|source| Error::Stopped { part: "recovery", source })?;
        let mut recovered = recovered.map_err(|source| log_error("recover", &self.path, source))?;
        recovered.next = recovered.next.max(covered);
        Ok(recovered)
    }

    /// The segments that were recovered.
    pub(crate) fn segments(&self, recovered: Recovered) -> Arc<Segments> {
        let folder = Arc::clone(&self.folder);
        Arc::new(Segments::new(folder, recovered.segments, recovered.next))
    }
}

/// The id in the file, or a new one, on disk before it is used.
fn writer_id(path: &Path, folder: &DiskFolder, clock: &dyn Clock) -> Result<WriterId, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let text = text.trim().to_owned();
            let parsed = text.parse();
            parsed.map_err(|source| Error::WriterFile { path: path.to_owned(), source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let writer = new_writer_id(clock);
            let made = make_writer_file(path, writer, folder);
            made.map_err(|source| log_error("make", path, source))?;
            Ok(writer)
        }
        Err(source) => Err(log_error("read", path, source)),
    }
}

fn new_writer_id(clock: &dyn Clock) -> WriterId {
    let now_ms = u64::try_from(clock.now().0 / 1_000_000).unwrap_or_default();
    WriterId(Ulid::from_parts(now_ms, rand::random()))
}

/// Under another name first: a half-written id must never be read.
fn make_writer_file(path: &Path, writer: WriterId, folder: &DiskFolder) -> io::Result<()> {
    let draft = path.with_extension("new");
    std::fs::write(&draft, format!("{writer}\n"))?;
    std::fs::File::open(&draft)?.sync_all()?;
    std::fs::rename(&draft, path)?;
    folder.sync()
}

fn log_error(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Log { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use icecore_store::SystemClock;

    use super::*;

    /// Scenario: a folder is opened, opened again meanwhile, closed and opened again; its id file
    /// is spoilt.
    /// Guarantees: the id is made once and kept; the folder has one owner; a spoilt id is an error
    /// and not a new id.
    #[test]
    fn a_folder_has_one_id_and_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/log");
        let open = || LogFolder::open(&path, &SystemClock::new());
        let first = open().unwrap();
        assert!(matches!(open(), Err(Error::LogInUse { .. })));
        let writer = first.writer;
        drop(first);
        assert_eq!(open().unwrap().writer, writer);
        std::fs::write(path.join(WRITER_FILE), "nonsense").unwrap();
        assert!(matches!(open(), Err(Error::WriterFile { .. })));
    }
}
