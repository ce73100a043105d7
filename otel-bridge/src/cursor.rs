//! How far a destination has got, on disk.
//!
//! Invariant: the file holds a cursor that was whole when it was saved: it is written beside its
//! place, made durable, and renamed over it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use icecore_store::{LogPosition, WriterId};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Everything of `writer`'s log before `position` is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub(crate) writer: WriterId,
    pub(crate) position: LogPosition,
}

/// Where one destination's cursor is kept. All methods block on the disk.
#[derive(Debug, Clone)]
pub(crate) struct CursorFile {
    path: PathBuf,
}

impl CursorFile {
    pub(crate) fn new(folder: &Path, destination: &str) -> Self {
        Self { path: folder.join(format!("{destination}.json")) }
    }

    /// The saved cursor; none where there is no file.
    pub(crate) fn load(&self) -> Result<Option<Cursor>, Error> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed("read", source)),
        };
        let cursor = serde_json::from_slice(&text);
        cursor.map(Some).map_err(|source| Error::Cursor { path: self.path.clone(), source })
    }

    /// Replaces the saved cursor.
    pub(crate) fn save(&self, cursor: Cursor) -> Result<(), Error> {
        self.replace(cursor).map_err(|source| self.failed("write", source))
    }

    fn replace(&self, cursor: Cursor) -> io::Result<()> {
        let beside = self.path.with_extension("json.new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(&cursor)?)?;
        file.sync_data()?;
        fs::rename(&beside, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    fn failed(&self, action: &'static str, source: io::Error) -> Error {
        Error::File { action, path: self.path.clone(), source }
    }
}

/// Where to go on in a log that spans `oldest..end`.
///
/// Without a cursor: from now on. A cursor of another log says nothing about this one, of which
/// nothing was sent yet. A cursor behind the log is left as it is: reading there tells what was
/// lost. One beyond its end can only come from a log that lost its tail.
pub(crate) fn start(
    saved: Option<Cursor>,
    writer: WriterId,
    oldest: LogPosition,
    end: LogPosition,
) -> LogPosition {
    match saved {
        None => end,
        Some(cursor) if cursor.writer != writer => oldest,
        Some(cursor) => cursor.position.min(end),
    }
}

#[cfg(test)]
mod tests {
    use icecore_store::WriterId;

    use super::*;

    fn writer(text: &str) -> WriterId {
        text.parse().unwrap()
    }

    /// Scenario: no file, a saved one, one saved over, one that is damaged.
    /// Guarantees: what was saved last is loaded; damage is an error, not a silent start anew.
    #[test]
    fn a_cursor_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = CursorFile::new(folder.path(), "x");
        assert_eq!(file.load().unwrap(), None);
        for position in [3, 900] {
            let cursor = Cursor {
                writer: writer("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
                position: LogPosition(position),
            };
            file.save(cursor).unwrap();
            assert_eq!(file.load().unwrap(), Some(cursor));
        }
        fs::write(folder.path().join("x.json"), b"{\"writer\":").unwrap();
        assert!(matches!(file.load(), Err(Error::Cursor { .. })));
    }

    /// Scenario: cursors that fit the log, belong to another, or lie outside it.
    /// Guarantees: nothing that was not sent is passed over, except before the first start.
    #[test]
    fn a_start_passes_over_nothing() {
        let (this, other) =
            (writer("01ARZ3NDEKTSV4RRFFQ69G5FAV"), writer("01ARZ3NDEKTSV4RRFFQ69G5FAW"));
        let at = |writer, position| Some(Cursor { writer, position: LogPosition(position) });
        let check = |saved, expected| {
            let found = start(saved, this, LogPosition(10), LogPosition(50));
            assert_eq!(found, LogPosition(expected), "{saved:?}");
        };
        check(None, 50);
        check(at(this, 20), 20);
        check(at(this, 3), 3);
        check(at(this, 60), 50);
        check(at(other, 20), 10);
    }
}
