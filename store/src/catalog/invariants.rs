//! What must hold, as predicates. Commits and compactions refuse to publish what breaks one;
//! `store check` looks for what was published.

use std::sync::Arc;

use crate::catalog::FileEntry;
use crate::model::{LogPosition, TimeRange, UnixNanos};

/// All rows of a file belong to its hour.
pub(crate) fn file_is_within_its_hour(file: &FileEntry) -> bool {
    let end = UnixNanos(file.hour.0.saturating_add(UnixNanos::HOUR));
    let Some(hour) = TimeRange::new(file.hour, end) else { return false };
    file.hour == file.hour.hour()
        && hour.contains(file.time.start())
        && file.time.end() <= hour.end()
}

/// A file is worth its name: it has rows and bytes.
pub(crate) const fn file_is_not_empty(file: &FileEntry) -> bool {
    file.rows > 0 && file.bytes > 0
}

/// A merge moves rows and never makes or loses one, but for those that were to go.
pub(crate) fn no_row_lost(before: &[Arc<FileEntry>], after: &FileEntry, dropped: u64) -> bool {
    let before: u64 = before.iter().map(|file| file.rows).sum();
    before == after.rows.saturating_add(dropped)
}

/// A commit goes forward, and begins where the log is not yet in files.
pub(crate) fn commit_follows(
    covered_to: Option<LogPosition>,
    covers_from: LogPosition,
    covers_to: LogPosition,
) -> bool {
    covers_from <= covers_to && covered_to.is_none_or(|covered_to| covered_to <= covers_from)
}
