//! What senders were promised: every acknowledged row, and which of them the logs still hold.

use std::collections::BTreeMap;

use crate::catalog::Snapshot;
use crate::model::{LogPosition, WriterId};

/// One request in a log.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) from: LogPosition,
    pub(super) to: LogPosition,
    /// The bodies of its rows, and the hour of each.
    pub(super) rows: Vec<(String, i64)>,
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
    pub(super) fn append(&mut self, writer: WriterId, bytes: u64, rows: Vec<(String, i64)>) {
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

    /// Whether these rows are those that the snapshot says it covers, each once.
    pub(super) fn check_rows(
        &self,
        snapshot: &Snapshot,
        found: &BTreeMap<String, u32>,
    ) -> Result<(), String> {
        let mut expected: BTreeMap<&str, u32> = BTreeMap::new();
        for (writer, covered) in snapshot.covered() {
            let Some(log) = self.logs.get(writer) else { continue };
            if !log.is_edge(*covered) {
                return Err(format!("{writer} is covered up to {covered:?}, within a request"));
            }
            let frames = log.frames.iter().filter(|frame| frame.to <= *covered);
            expected.extend(frames.flat_map(|frame| &frame.rows).map(|(body, _)| (&**body, 1)));
        }
        let times = |body: &str| expected.get(body).copied().unwrap_or(0);
        let wrong = found.iter().filter(|(body, count)| times(body) != **count);
        let wrong: Vec<_> = wrong.map(|(body, count)| format!("{body} {count} times")).collect();
        let lost = expected.keys().filter(|body| !found.contains_key(**body));
        let lost: Vec<_> = lost.collect();
        if wrong.is_empty() && lost.is_empty() {
            return Ok(());
        }
        Err(format!("lost: {lost:?}; not expected: {wrong:?}"))
    }
}
