//! The room on disk that all queries share.
//!
//! Invariant: the files of all queries together hold at most `bytes_max`; what a file holds is given back
//! when the file goes, and never before.

use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datafusion::error::Result;
use datafusion::execution::SpillFile;
use datafusion::execution::spill_file::SpillWriter;
use futures::Stream;

use crate::metrics::Spilled;

/// See the module.
#[derive(Debug)]
pub(crate) struct Room {
    bytes_max: u64,
    used: AtomicU64,
    figures: Spilled,
}

/// All queries together have put as much on disk as they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all queries together have {bytes_max} bytes on disk, which is all that they may")]
pub(crate) struct NoRoom {
    pub(crate) bytes_max: u64,
}

impl Room {
    /// All of it free.
    pub(crate) fn new(bytes_max: u64, figures: Spilled) -> Self {
        Self { bytes_max, used: AtomicU64::new(0), figures }
    }

    /// A file that takes its bytes from here.
    pub(crate) fn hold(self: &Arc<Self>, file: Arc<dyn SpillFile>) -> Arc<dyn SpillFile> {
        let held = Held { room: Arc::clone(self), bytes: AtomicU64::new(0) };
        Arc::new(RoomedFile { file, held: Arc::new(held) })
    }

    fn take(&self, bytes: u64) -> std::result::Result<(), NoRoom> {
        let bytes_max = self.bytes_max;
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= bytes_max);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map(drop).map_err(|_full| NoRoom { bytes_max })
    }

    fn free(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one file has taken; given back when neither the file nor anybody who writes it is there.
#[derive(Debug)]
struct Held {
    room: Arc<Room>,
    bytes: AtomicU64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.room.free(bytes);
        self.room.figures.removed(bytes);
    }
}

/// A file of the engine's whose bytes are counted.
struct RoomedFile {
    file: Arc<dyn SpillFile>,
    // Behind the file, so that its bytes are free when they are given back.
    held: Arc<Held>,
}

impl SpillFile for RoomedFile {
    fn path(&self) -> Option<&Path> {
        self.file.path()
    }

    fn size(&self) -> Option<u64> {
        self.file.size()
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        self.file.read_stream()
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        let writer = self.file.open_writer()?;
        Ok(Box::new(RoomedWriter { writer, held: Arc::clone(&self.held) }))
    }
}

struct RoomedWriter {
    writer: Box<dyn SpillWriter>,
    held: Arc<Held>,
}

impl Write for RoomedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let asked = bytes.len() as u64;
        let Held { room, bytes: held } = &*self.held;
        room.take(asked).map_err(|full| io::Error::new(io::ErrorKind::QuotaExceeded, full))?;
        let written = self.writer.write(bytes);
        let kept = *written.as_ref().unwrap_or(&0) as u64;
        room.free(asked - kept);
        room.figures.written(kept);
        held.fetch_add(kept, Ordering::Relaxed);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl SpillWriter for RoomedWriter {
    fn finish(&mut self) -> Result<()> {
        self.writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::metrics::Metrics;
    use crate::spill::SpillFolder;

    fn figure(registry: &Registry, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap().parse().unwrap()
    }

    /// Scenario: files of two queries fill the room; one more byte; one file goes while it is still being
    /// written, then its writer too.
    /// Guarantees: what has no room is refused by name and changes nothing; what a file held can be had
    /// again when nobody can write it any more; the figures say what is there and what was written.
    #[test]
    fn what_is_full_is_free_when_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut registry = Registry::default();
        let spilled = Metrics::register(&mut registry).spilled();
        let folder = SpillFolder::open(folder.path(), 100, spilled).unwrap();
        let (one, two) = (folder.of_query(80), folder.of_query(80));
        let (first, second) =
            (one.create_temp_file("a").unwrap(), two.create_temp_file("b").unwrap());
        let (mut first_writer, mut second_writer) =
            (first.open_writer().unwrap(), second.open_writer().unwrap());
        first_writer.write_all(&[0; 60]).unwrap();
        second_writer.write_all(&[0; 40]).unwrap();
        let refused = second_writer.write_all(&[0]).unwrap_err();
        let full = refused.get_ref().and_then(|error| error.downcast_ref::<NoRoom>());
        assert_eq!(full, Some(&NoRoom { bytes_max: 100 }));
        assert_eq!(second.size(), Some(40));
        drop(first);
        assert!(second_writer.write_all(&[0]).is_err());
        drop(first_writer);
        second_writer.write_all(&[0; 40]).unwrap();
        assert!(second_writer.write_all(&[0]).is_err(), "the bound of one query stands");
        assert_eq!(figure(&registry, "icecore_query_spill_bytes"), 80);
        assert_eq!(figure(&registry, "icecore_query_spilled_bytes_total"), 140);
        drop((second, second_writer));
        assert_eq!(figure(&registry, "icecore_query_spill_bytes"), 0);
    }
}
