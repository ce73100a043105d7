//! Plans over catalogs that were made up.

use std::time::Duration;

use ulid::Ulid;

use super::*;
use crate::catalog::state::State;
use crate::model::{FileId, TimeRange};

const HOUR: UnixNanos = UnixNanos(100 * UnixNanos::HOUR);

/// Files of the hour with these sizes, made one after the other when the hour began.
fn files(sizes: &[u64]) -> Vec<FileEntry> {
    let began_ms = u64::try_from(HOUR.0 / 1_000_000).unwrap();
    let file = |(number, bytes): (usize, &u64)| {
        let id = FileId(Ulid::from_parts(began_ms + number as u64, 0));
        FileEntry {
            id,
            table: Table::Logs,
            bytes: *bytes,
            rows: 1,
            time: TimeRange::covering(HOUR, HOUR),
            hour: HOUR,
            layout: Arc::default(),
        }
    };
    sizes.iter().enumerate().map(file).collect()
}

fn check(sizes: &[u64], minutes_later: i64, expected: &[&[u64]]) {
    let config = CompactionConfig {
        interval: Duration::ZERO,
        files_min: 4,
        files_max: 5,
        small_bytes_max: 100,
        merge_bytes_max: 200,
        memory_bytes_max: 1 << 20,
        settle_after: Duration::from_secs(60),
    };
    let state =
        State::restore(files(sizes), Default::default(), Default::default(), Default::default());
    let now = UnixNanos(HOUR.0 + minutes_later * 60_000_000_000);
    let merges = plan(state.snapshot(), &config, now);
    let sizes = |merge: &Merge| merge.iter().map(|file| file.bytes).collect::<Vec<_>>();
    assert_eq!(merges.iter().map(sizes).collect::<Vec<_>>(), expected);
}

/// Scenario: hours with few, many, large and young files, in flow and over.
/// Guarantees: only settled small files of an hour that has enough are merged.
#[test]
fn an_hour_with_enough_small_files_is_merged() {
    check(&[1, 1, 1], 30, &[]);
    check(&[1, 1, 1, 1], 30, &[&[1, 1, 1, 1]]);
    check(&[1, 1, 1, 1], 0, &[]);
    check(&[1, 1, 100, 1, 500, 1], 30, &[&[1, 1, 1, 1]]);
}

/// Scenario: an hour that is over.
/// Guarantees: two files are enough, one is not.
#[test]
fn an_hour_that_is_over_is_tidied() {
    check(&[1, 1], 90, &[&[1, 1]]);
    check(&[1], 90, &[]);
}

/// Scenario: more files and bytes than one merge takes.
/// Guarantees: merges within the bounds, no merge of one file.
#[test]
fn merges_keep_their_bounds() {
    check(&[1; 11], 30, &[&[1; 5], &[1; 5]]);
    check(&[90, 90, 90, 90], 30, &[&[90, 90], &[90, 90]]);
}

/// Scenario: a little late data beside a file that was merged before.
/// Guarantees: the large file is left alone until what is late is a fair part of it.
#[test]
fn late_data_does_not_rewrite_a_large_file() {
    check(&[90, 2, 2], 90, &[&[2, 2]]);
    check(&[90, 2], 90, &[]);
    check(&[90, 20, 20], 90, &[&[90, 20, 20]]);
}

/// Scenario: an hour in flow whose small files become middling ones, and those a large one.
/// Guarantees: a middling file is rewritten with its equals and not with every few small ones.
#[test]
fn rows_are_rewritten_seldom_in_flow() {
    check(&[40, 10, 10, 10, 10], 30, &[&[10, 10, 10, 10]]);
    check(&[40, 40, 10, 10, 10], 30, &[]);
    check(&[40, 40, 10, 10, 10, 10], 30, &[&[40, 40, 10, 10, 10]]);
}
