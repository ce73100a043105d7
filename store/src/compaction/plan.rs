//! Which files to merge. Pure: the same catalog, settings and time give the same plan.
//!
//! Invariant: a file is in one merge at most, a merge is of one table and hour, has two files at
//! least, and stays within its bounds of files and bytes.

use std::sync::Arc;

use crate::catalog::{FileEntry, Snapshot};
use crate::config::CompactionConfig;
use crate::model::{Table, UnixNanos};

/// Files of one table and hour that are to become one.
pub(super) type Merge = Vec<Arc<FileEntry>>;

/// In an hour that is over a file joins a merge only when the smaller ones together are at least
/// this part of it: late data must not rewrite a large file again and again.
const PART_LATE: u64 = 4;

/// A file of less than this part of what is small is not worth the thought.
const TRIFLE_PART: u64 = 64;

/// In an hour in flow the smaller ones must be this many times as much: what will grow anyway
/// waits for its equals, and each row is rewritten twice on its way to a large file. Where two
/// files are enough, one equal is.
const TIMES_IN_FLOW: usize = 2;

/// The merges that are worth making now, oldest hours first.
pub(super) fn plan(snapshot: &Snapshot, config: &CompactionConfig, now: UnixNanos) -> Vec<Merge> {
    let tables = Table::ALL.into_iter().flat_map(|table| snapshot.hours(table));
    tables.flat_map(|(hour, files)| plan_hour(hour, &files, config, now)).collect()
}

fn plan_hour(
    hour: UnixNanos,
    files: &[Arc<FileEntry>],
    config: &CompactionConfig,
    now: UnixNanos,
) -> Vec<Merge> {
    let settled_before = now.0.saturating_sub(nanos(config.settle_after));
    let settled = |file: &&Arc<FileEntry>| made_at(file) < settled_before;
    let small = |file: &&Arc<FileEntry>| file.bytes < config.small_bytes_max;
    let mut files: Vec<_> = files.iter().filter(small).filter(settled).cloned().collect();
    let over = is_over(hour, config, now);
    // An hour that is over gets few more files: what there is, is merged.
    let files_min = if over { 2 } else { config.files_min.max(2) };
    let times_in_flow = TIMES_IN_FLOW.min(files_min - 1) as u64;
    files.sort_unstable_by_key(|file| (file.bytes, file.id));
    while let Some((largest, rest)) = files.split_last() {
        let rest: u64 = rest.iter().map(|file| file.bytes).sum();
        let worth = match over {
            _ if largest.bytes < config.small_bytes_max / TRIFLE_PART => true,
            true => rest.saturating_mul(PART_LATE) >= largest.bytes,
            false => rest >= largest.bytes.saturating_mul(times_in_flow),
        };
        if worth {
            break;
        }
        files.pop();
    }
    if files.len() < files_min {
        return Vec::new();
    }
    files.sort_unstable_by_key(|file| file.id);
    pack(files, config)
}

fn is_over(hour: UnixNanos, config: &CompactionConfig, now: UnixNanos) -> bool {
    let over = hour.0.saturating_add(UnixNanos::HOUR).saturating_add(nanos(config.settle_after));
    now.0 > over
}

/// Cuts files, oldest first, into merges within the bounds.
fn pack(files: Vec<Arc<FileEntry>>, config: &CompactionConfig) -> Vec<Merge> {
    let mut merges: Vec<Merge> = vec![Vec::new()];
    let mut bytes = 0;
    for file in files {
        let last = merges.last().map_or(0, Vec::len);
        if last >= config.files_max || (last > 0 && bytes + file.bytes > config.merge_bytes_max) {
            merges.push(Vec::new());
            bytes = 0;
        }
        bytes += file.bytes;
        if let Some(merge) = merges.last_mut() {
            merge.push(file);
        }
    }
    merges.retain(|merge| merge.len() >= 2);
    merges
}

/// When the file was named, by its maker's clock.
fn made_at(file: &FileEntry) -> i64 {
    i64::try_from(file.id.0.timestamp_ms()).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

fn nanos(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
