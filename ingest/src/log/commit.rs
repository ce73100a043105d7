//! The group commit: one thread writes whatever waits, syncs once, then wakes all who waited.
//!
//! Invariants: [`Append::done`] is called exactly once for each append, in the order of positions,
//! and with success only after the sync. After a failed write or sync the segment is cut back to
//! what was synced and never written again, and the positions that were tried are not reused.

use std::io;
use std::sync::Arc;

use icecore_store::{Clock, LogPosition, Signal};
use tokio::sync::mpsc;
use tracing::{error, info};

use super::disk::LogFile;
use super::frame::{self, Contents, Frame};
use super::pack::Packed;
use super::segment::{Segment, Segments};
use crate::metrics::LogMetrics;

/// A request on its way into the log.
pub(crate) struct Append {
    /// What the payload is.
    pub(crate) signal: Signal,
    /// What its rows will be.
    pub(crate) contents: Contents,
    /// The export request in protobuf.
    pub(crate) packed: Packed,
    /// Called on the writer's thread once the outcome is known; must be quick.
    pub(crate) done: Box<dyn FnOnce(Result<Appended, LogRefusal>) + Send>,
}

/// Where a request stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Where its frame starts.
    pub(crate) position: LogPosition,
    /// Where the next one starts.
    pub(crate) next: LogPosition,
}

/// Why a request is not in the log. The sender may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogRefusal {
    /// The log has reached its bound, or the disk is full.
    Full,
    /// The disk refused a write or a sync.
    Failed,
}

impl LogRefusal {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Failed,
        }
    }
}

/// How the writer works.
#[derive(Debug, Clone)]
pub(crate) struct WriterSettings {
    /// Whether an append waits for the disk.
    pub(crate) sync: bool,
    /// When a segment is closed.
    pub(crate) segment_bytes_max: u64,
    /// When appends are refused.
    pub(crate) log_bytes_max: u64,
    /// How much is written between two syncs.
    pub(crate) sync_bytes_max: usize,
}

/// The one that writes the log.
#[derive(Debug)]
pub(crate) struct Writer {
    settings: WriterSettings,
    segments: Arc<Segments>,
    clock: Arc<dyn Clock>,
    metrics: LogMetrics,
    active: Option<Active>,
    next: LogPosition,
    /// One group of frames, encoded; kept to spare the allocation.
    buffer: Vec<u8>,
    /// Whether the last group failed: a fault is logged when it starts and when it ends.
    failing: bool,
}

#[derive(Debug)]
struct Active {
    segment: Segment,
    file: Box<dyn LogFile>,
}

impl Writer {
    /// A writer that goes on at `next`, always in a new segment.
    pub(crate) fn new(
        settings: WriterSettings,
        segments: Arc<Segments>,
        next: LogPosition,
        clock: Arc<dyn Clock>,
        metrics: LogMetrics,
    ) -> Self {
        let (buffer, failing) = (Vec::new(), false);
        Self { settings, segments, clock, metrics, active: None, next, buffer, failing }
    }

    /// Works until all senders of `queue` are gone.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Append>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.packed.bytes.len();
            let mut group = vec![first];
            while bytes < self.settings.sync_bytes_max
                && let Ok(append) = queue.try_recv()
            {
                bytes += append.packed.bytes.len();
                group.push(append);
            }
            self.commit(group);
        }
    }

    /// Writes and syncs a group and tells each of it what came out.
    pub(crate) fn commit(&mut self, group: Vec<Append>) {
        self.buffer.clear();
        let mut written = Vec::with_capacity(group.len());
        for append in group {
            match self.encode(&append) {
                Some(appended) => written.push((append.done, appended)),
                None => (append.done)(Err(LogRefusal::Full)),
            }
        }
        if written.is_empty() {
            return;
        }
        let outcome = self.write();
        let end = LogPosition(self.next.0 + self.buffer.len() as u64);
        self.next = end;
        if let Err(error) = outcome {
            self.give_up_segment(&error);
            written.into_iter().for_each(|(done, _)| done(Err(LogRefusal::of(&error))));
            return;
        }
        if std::mem::take(&mut self.failing) {
            info!("the log can be written again");
        }
        // First the bytes, then the news of them: who hears of a request may read it.
        self.segments.grow(end);
        written.into_iter().for_each(|(done, appended)| done(Ok(appended)));
        self.metrics.written(self.buffer.len() as u64, self.segments.bytes());
        // One large request must not hold its memory for ever.
        self.buffer.shrink_to(4 * self.settings.sync_bytes_max);
    }

    /// Adds a frame to the buffer; `None` where the log has no room for it.
    fn encode(&mut self, append: &Append) -> Option<Appended> {
        let buffered = self.buffer.len() as u64;
        let Append { signal, contents, ref packed, done: _ } = *append;
        let bytes = frame::frame_bytes(packed.bytes.len());
        if !self.segments.make_room(buffered + bytes, self.settings.log_bytes_max) {
            return None;
        }
        let position = LogPosition(self.next.0 + buffered);
        let (time, payload) = (self.clock.now(), packed.bytes.as_ref());
        let frame = Frame { signal, time, contents, plain_bytes: packed.plain_bytes, payload };
        frame::write(&mut self.buffer, position, &frame);
        Some(Appended { position, next: LogPosition(position.0 + bytes) })
    }

    /// Writes the buffer in pieces that the disk takes quickly, each synced.
    fn write(&mut self) -> io::Result<()> {
        let Self { settings, segments, clock, metrics, active, next, buffer, .. } = self;
        let ends = segments.take_ending();
        let full = |active: &Active| active.segment.bytes >= settings.segment_bytes_max;
        if active.as_ref().is_some_and(|a| full(a) || (ends && a.segment.bytes > 0)) {
            *active = None;
        }
        let active = match active {
            Some(active) => active,
            None => active.insert(open_segment(segments, *next, settings.sync)?),
        };
        for piece in buffer.chunks(settings.sync_bytes_max) {
            active.file.append(piece)?;
            if settings.sync {
                let start = clock.elapsed();
                active.file.sync()?;
                metrics.synced(clock.elapsed().saturating_sub(start));
            }
        }
        active.segment.bytes += buffer.len() as u64;
        Ok(())
    }

    /// Leaves the active segment behind, without what was not synced. Nothing is written to it
    /// again: after a failed sync nobody knows what its cached pages are worth.
    fn give_up_segment(&mut self, error: &io::Error) {
        self.metrics.failed();
        if !std::mem::replace(&mut self.failing, true) {
            error!(%error, "cannot write the log: senders are told to come back");
        }
        let Some(mut active) = self.active.take() else { return };
        if let Err(error) = active.file.cut(active.segment.bytes) {
            error!(%error, segment = active.segment.name(), "cannot cut a failed segment back");
        }
        if active.segment.bytes == 0 {
            self.segments.pop_empty();
            if let Err(error) = self.segments.folder().remove(&active.segment.name()) {
                error!(%error, segment = active.segment.name(), "cannot delete an empty segment");
            }
        }
    }
}

/// A new segment at `first`, its name on disk before anything in it is acknowledged.
fn open_segment(segments: &Segments, first: LogPosition, sync: bool) -> io::Result<Active> {
    let segment = Segment { first, bytes: 0 };
    let file = segments.folder().create(&segment.name())?;
    if sync && let Err(error) = segments.folder().sync() {
        // Nothing is in it, and the next attempt has another name.
        drop(segments.folder().remove(&segment.name()));
        return Err(error);
    }
    segments.push(first);
    Ok(Active { segment, file })
}

#[cfg(test)]
mod tests;
