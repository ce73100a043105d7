//! Which segments the log has, and when one may go.
//!
//! Invariants: segments are in order and never overlap; a segment goes only when a catalog record
//! covers all of it; the newest one never goes.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use icecore_store::LogPosition;
use tokio::sync::watch;
use tracing::warn;

use super::disk::Folder;

/// A file of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where its first byte stands.
    pub(crate) first: LogPosition,
    /// Bytes of it that may be read.
    pub(crate) bytes: u64,
}

impl Segment {
    /// The first position after it.
    pub(crate) const fn end(&self) -> LogPosition {
        LogPosition(self.first.0 + self.bytes)
    }

    /// The name of its file; sorts by position.
    pub(crate) fn name(&self) -> String {
        format!("{:020}.log", self.first.0)
    }

    /// The position in a file's name; `None` for a file that is not a segment.
    pub(crate) fn parse_name(name: &str) -> Option<LogPosition> {
        let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
        digits.parse().ok().map(LogPosition)
    }
}

/// What the log consists of at this moment; shared by the writer, the readers and the flush.
#[derive(Debug)]
pub(crate) struct Segments {
    folder: Arc<dyn Folder>,
    state: Mutex<State>,
    end: watch::Sender<LogPosition>,
    /// Somebody wants the newest segment to end.
    ending: AtomicBool,
}

#[derive(Debug)]
struct State {
    segments: VecDeque<Segment>,
    covered: LogPosition,
    /// Where each reader stands. Readers are the configured destinations, so few.
    retained: HashMap<String, LogPosition>,
    /// What queries read at this moment, by the number of the pin. Bounded by the queries.
    pinned: HashMap<u64, LogPosition>,
    pins: u64,
}

/// Keeps the log from a position on while it is held, as long as there is room.
#[derive(Debug)]
pub(crate) struct Pin {
    segments: Arc<Segments>,
    number: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.segments.unpin(self.number);
    }
}

/// Where to read a position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this segment, from this position on (it is later than asked for where bytes are missing).
    In(Segment, LogPosition),
    /// Nothing is there yet.
    End,
    /// The log begins only later.
    Trimmed(LogPosition),
}

impl Segments {
    /// The recovered segments; the log goes on at `next`.
    pub(crate) fn new(folder: Arc<dyn Folder>, segments: Vec<Segment>, next: LogPosition) -> Self {
        let (retained, pinned) = (HashMap::new(), HashMap::new());
        let (segments, covered) = (segments.into(), LogPosition(0));
        let state = State { segments, covered, retained, pinned, pins: 0 };
        let (state, end) = (Mutex::new(state), watch::Sender::new(next));
        Self { folder, state, end, ending: AtomicBool::new(false) }
    }

    /// The folder of the segments.
    pub(crate) fn folder(&self) -> &dyn Folder {
        self.folder.as_ref()
    }

    /// The end of what may be read; changes with each group commit.
    pub(crate) fn end(&self) -> watch::Receiver<LogPosition> {
        self.end.subscribe()
    }

    /// The oldest position that can be read, or the end where the log is empty.
    pub(crate) fn oldest(&self) -> LogPosition {
        self.state().oldest().unwrap_or(*self.end.borrow())
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.state().bytes()
    }

    /// Lets the next request begin a new segment, so that the newest one can go once it is covered.
    pub(crate) fn end_newest(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked for since the last time.
    pub(crate) fn take_ending(&self) -> bool {
        self.ending.swap(false, Ordering::Relaxed)
    }

    /// Adds a new segment at the end.
    pub(crate) fn push(&self, first: LogPosition) {
        self.state().segments.push_back(Segment { first, bytes: 0 });
    }

    /// Takes the newest segment out again where it holds nothing.
    pub(crate) fn pop_empty(&self) {
        let mut state = self.state();
        if state.segments.back().is_some_and(|newest| newest.bytes == 0) {
            state.segments.pop_back();
        }
    }

    /// The newest segment now reaches to `end`, and all of it may be read.
    pub(crate) fn grow(&self, end: LogPosition) {
        if let Some(newest) = self.state().segments.back_mut() {
            newest.bytes = end.0 - newest.first.0;
        }
        self.end.send_replace(end);
    }

    /// Where to read `from`.
    pub(crate) fn locate(&self, from: LogPosition) -> Place {
        let state = self.state();
        match state.oldest() {
            Some(oldest) if from < oldest => return Place::Trimmed(oldest),
            None if from < *self.end.borrow() => return Place::Trimmed(*self.end.borrow()),
            _ => {}
        }
        let at = state.segments.partition_point(|segment| segment.end() <= from);
        let found = state.segments.range(at..).find(|segment| segment.bytes > 0);
        found.map_or(Place::End, |segment| Place::In(*segment, from.max(segment.first)))
    }

    /// Keeps the log from `from` on for `reader`, as long as there is room.
    pub(crate) fn retain(&self, reader: &str, from: LogPosition) {
        self.state().retained.insert(reader.to_owned(), from);
    }

    /// The store has everything before `covered`: deletes what no reader retains.
    pub(crate) fn cover(&self, covered: LogPosition) {
        let mut state = self.state();
        state.covered = state.covered.max(covered);
        let gone = state.trim_unused();
        drop(state);
        self.remove(&gone);
    }

    /// Keeps what the log has now, while the pin is held, as long as there is room.
    pub(crate) fn pin(self: &Arc<Self>) -> Pin {
        let mut state = self.state();
        let oldest = state.oldest().unwrap_or(*self.end.borrow());
        state.pins += 1;
        let number = state.pins;
        state.pinned.insert(number, oldest);
        drop(state);
        Pin { segments: Arc::clone(self), number }
    }

    fn unpin(&self, number: u64) {
        let mut state = self.state();
        state.pinned.remove(&number);
        let gone = state.trim_unused();
        drop(state);
        self.remove(&gone);
    }

    /// Whether `bytes` more fit below `bytes_max`, after deleting what only slow readers retain.
    pub(crate) fn make_room(&self, bytes: u64, bytes_max: u64) -> bool {
        let mut state = self.state();
        if state.bytes() + bytes <= bytes_max {
            return true;
        }
        let covered = state.covered;
        let gone = state.trim(|segment, used| segment.end() <= covered && used + bytes > bytes_max);
        let fits = state.bytes() + bytes <= bytes_max;
        drop(state);
        if !gone.is_empty() {
            warn!(segments = gone.len(), "the log is full: slow readers go on from the store");
        }
        self.remove(&gone);
        fits
    }

    /// Deletes files that are no longer part of the log. One that cannot be deleted is found and
    /// tried again at the next start.
    fn remove(&self, gone: &[Segment]) {
        for segment in gone {
            match self.folder.remove(&segment.name()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    warn!(%error, segment = segment.name(), "cannot delete a segment of the log");
                }
                _ => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn oldest(&self) -> Option<LogPosition> {
        self.segments.front().map(|segment| segment.first)
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Takes what the store has and nobody retains or reads.
    fn trim_unused(&mut self) -> Vec<Segment> {
        let users = self.retained.values().chain(self.pinned.values());
        let limit = users.copied().fold(self.covered, LogPosition::min);
        self.trim(|segment, _| segment.end() <= limit)
    }

    /// Takes segments from the front, except the newest, while `goes(segment, bytes of all)`.
    fn trim(&mut self, goes: impl Fn(&Segment, u64) -> bool) -> Vec<Segment> {
        let mut gone = Vec::new();
        while self.segments.len() > 1
            && self.segments.front().is_some_and(|oldest| goes(oldest, self.bytes()))
        {
            gone.extend(self.segments.pop_front());
        }
        gone
    }
}
