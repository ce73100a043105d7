//! What senders were promised: every acknowledged row, and which of them the logs still hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::oracle::Oracle;
use crate::catalog::Snapshot;
use crate::model::{LogPosition, UnixNanos, WriterId};
use crate::sample::HOUR;

/// One request in a log.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) from: LogPosition,
    pub(super) to: LogPosition,
    /// The bodies of its rows.
    pub(super) rows: Vec<String>,
}

/// The body of a row of this time, in seconds after [`HOUR`].
pub(super) fn body(number: u64, second: i64) -> String {
    format!("{number}@{second}")
}

/// The time of the row with this body.
pub(super) fn at_of(body: &str) -> UnixNanos {
    let second: i64 = body.split_once('@').and_then(|(_, second)| second.parse().ok()).unwrap();
    UnixNanos(HOUR + second * 1_000_000_000)
}

/// One log, which outlives its processes.
#[derive(Debug, Default)]
pub(super) struct Log {
    frames: Vec<Frame>,
    /// Up to where frames were dropped, because the catalog has them.
    trimmed: LogPosition,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Promises {
    logs: BTreeMap<WriterId, Log>,
}

impl Log {
    fn end(&self) -> LogPosition {
        self.frames.last().map_or(LogPosition(0), |frame| frame.to)
    }

    fn is_edge(&self, position: LogPosition) -> bool {
        position == LogPosition(0) || self.frames.iter().any(|frame| frame.to == position)
    }
}

impl Promises {
    /// Acknowledges a request.
    pub(super) fn append(&mut self, writer: WriterId, bytes: u64, rows: Vec<String>) {
        let log = self.logs.entry(writer).or_default();
        let from = log.end();
        log.frames.push(Frame { from, to: LogPosition(from.0 + bytes), rows });
    }

    /// The first `count` frames that are not covered.
    pub(super) fn prefix(
        &self,
        writer: WriterId,
        covered: LogPosition,
        count: usize,
    ) -> Vec<Frame> {
        let Some(log) = self.logs.get(&writer) else { return Vec::new() };
        let open = log.frames.iter().filter(|frame| frame.from >= covered);
        open.take(count).cloned().collect()
    }

    /// Drops what the catalog is said to have, for good.
    pub(super) fn trim(&mut self, writer: WriterId, covered: LogPosition) {
        let log = self.logs.entry(writer).or_default();
        assert!(log.is_edge(covered), "{covered:?} is within a request");
        log.trimmed = log.trimmed.max(covered);
    }

    /// Up to where each log was trimmed: from now on every new snapshot must have that.
    pub(super) fn trimmed(&self) -> BTreeMap<WriterId, LogPosition> {
        self.logs.iter().map(|(writer, log)| (*writer, log.trimmed)).collect()
    }

    /// Up to where each log goes.
    pub(super) fn ends(&self) -> BTreeMap<WriterId, LogPosition> {
        self.logs.iter().map(|(writer, log)| (*writer, log.end())).collect()
    }

    /// Whether the snapshot has what was trimmed before it was taken.
    pub(super) fn check_covered(
        snapshot: &Snapshot,
        trimmed: &BTreeMap<WriterId, LogPosition>,
    ) -> Result<(), String> {
        for (writer, trimmed) in trimmed {
            let covered = snapshot.covered_to(*writer).unwrap_or_default();
            if covered < *trimmed {
                return Err(format!("{writer} trimmed {trimmed:?}, and {covered:?} is covered"));
            }
        }
        Ok(())
    }

    /// Whether these rows are those that the snapshot says it covers, each once. Some may be gone,
    /// and those that were `at` the time when it was asked for must be.
    pub(super) fn check_rows(
        &self,
        oracle: &Oracle,
        (snapshot, at): (&Snapshot, Duration),
        found: &BTreeMap<String, u32>,
    ) -> Result<(), String> {
        let mut expected: BTreeSet<&str> = BTreeSet::new();
        for (writer, covered) in snapshot.covered() {
            let Some(log) = self.logs.get(writer) else { continue };
            if !log.is_edge(*covered) {
                return Err(format!("{writer} is covered up to {covered:?}, within a request"));
            }
            let frames = log.frames.iter().filter(|frame| frame.to <= *covered);
            expected.extend(frames.flat_map(|frame| &frame.rows).map(String::as_str));
        }
        let may_be_there =
            |body: &str| expected.contains(body) && oracle.gone(body).is_none_or(|gone| gone >= at);
        let wrong = found.iter().filter(|(body, count)| **count != 1 || !may_be_there(body));
        let wrong: Vec<_> = wrong.map(|(body, count)| format!("{body} {count} times")).collect();
        let missing = expected.iter().filter(|body| !found.contains_key(**body));
        let went = |body: &str| oracle.gone(body).is_some() || oracle.is_doubtful(body);
        let lost: Vec<_> = missing.filter(|body| !went(body)).collect();
        if wrong.is_empty() && lost.is_empty() {
            return Ok(());
        }
        Err(format!("lost: {lost:?}; not expected: {wrong:?}"))
    }
}
