//! A log over a faulty disk, with a record of what it promised, for tests.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use icecore_store::{FeedItem, LogPosition, Signal, SystemClock, TimeRange, WriterId};
use prometheus_client::registry::Registry;

use super::commit::{Append, Appended, LogRefusal, Writer, WriterSettings};
use super::faults::FaultyFolder;
use super::frame::Contents;
use super::pack::{Packed, Packer};
use super::recover::{Recovered, recover};
use super::segment::Segments;
use super::tail::Tail;
use crate::metrics::{LogMetrics, Metrics};

/// What became of one append.
pub(crate) type Outcome = Result<Appended, LogRefusal>;

/// A log, as the process has it between two deaths.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) segments: Arc<Segments>,
    pub(crate) tail: Tail,
    writer: Writer,
}

pub(crate) const SETTINGS: WriterSettings = WriterSettings {
    sync: true,
    segment_bytes_max: 200,
    log_bytes_max: 10_000,
    sync_bytes_max: 64,
};

/// What nobody looks at.
pub(crate) const CONTENTS: Contents = Contents { rows: 1, time: TimeRange::ALL, alone: false };

pub(crate) fn metrics() -> LogMetrics {
    Metrics::new(&mut Registry::default()).log
}

impl Log {
    /// Recovers what the folder holds and goes on after it.
    pub(crate) fn open(folder: &FaultyFolder, settings: WriterSettings) -> (Self, Recovered) {
        Self::open_behind(folder, settings, LogPosition(0))
    }

    /// The same, where the catalog covers the log up to a position.
    pub(crate) fn open_behind(
        folder: &FaultyFolder,
        settings: WriterSettings,
        covered: LogPosition,
    ) -> (Self, Recovered) {
        let mut recovered = recover(folder).unwrap();
        recovered.next = recovered.next.max(covered);
        let (next, found) = (recovered.next, recovered.segments.clone());
        let segments = Arc::new(Segments::new(Arc::new(folder.clone()), found, next));
        let writer = Writer::new(settings, Arc::clone(&segments), next, clock(), metrics());
        let id = WriterId(ulid::Ulid::nil());
        let packer = Arc::new(Packer::default());
        let tail = Tail::new(id, Arc::clone(&segments), packer, metrics());
        (Self { segments, tail, writer }, recovered)
    }

    /// Commits one request.
    pub(crate) fn append(&mut self, signal: Signal, contents: Contents, packed: Packed) -> Outcome {
        let told = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&told);
        let done = Box::new(move |outcome| *tell.lock().unwrap() = Some(outcome));
        self.writer.commit(vec![Append { signal, contents, packed, done }]);
        let outcome = told.lock().unwrap().take();
        outcome.expect("an append is answered")
    }

    /// Commits the payloads as one group; returns what each was told, in their order.
    pub(crate) fn commit(&mut self, payloads: &[&[u8]]) -> Vec<Outcome> {
        let told = Arc::new(Mutex::new(vec![None; payloads.len()]));
        let append = |(index, payload): (usize, &&[u8])| {
            let told = Arc::clone(&told);
            let packed = Packed::plain(Bytes::copy_from_slice(payload));
            let done = move |outcome| {
                let before = told.lock().unwrap()[index].replace(outcome);
                assert_eq!(before, None, "an append is answered once");
            };
            Append { signal: Signal::Traces, contents: CONTENTS, packed, done: Box::new(done) }
        };
        self.writer.commit(payloads.iter().enumerate().map(append).collect());
        let told = told.lock().unwrap();
        told.iter().map(|outcome| outcome.expect("an append is answered")).collect()
    }

    /// Everything that can be read from `from` on, `bytes_max` at a time.
    pub(crate) fn read_all(&self, from: LogPosition, bytes_max: usize) -> Vec<FeedItem> {
        let mut all: Vec<FeedItem> = Vec::new();
        loop {
            let from = all.last().map_or(from, |item| item.next);
            let items = self.tail.read_now(from, bytes_max).unwrap();
            if items.is_empty() {
                return all;
            }
            all.extend(items);
        }
    }

    /// The payloads that can be read from the oldest position on.
    pub(crate) fn payloads(&self) -> Vec<Bytes> {
        let items = self.read_all(self.segments.oldest(), 1);
        items.into_iter().map(|item| item.payload).collect()
    }
}

fn clock() -> Arc<SystemClock> {
    Arc::new(SystemClock::new())
}
