//! Rows by hour.

use super::*;
use crate::sample::{HOUR, logs};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|row| row.to_string()).collect()
}

/// Scenario: batches inside an hour, across its end, and before 1970.
/// Guarantees: as many rows come out as went in, each part is of one hour.
#[test]
fn rows_go_to_their_own_hour() {
    let second = 1_000_000_000;
    let batches = [
        logs(HOUR, &names(3)),
        logs(HOUR + UnixNanos::HOUR - 2 * second, &names(5)),
        logs(-second, &names(2)),
    ];
    let parts = partition(&batches).unwrap();
    let sizes = parts
        .iter()
        .map(|part| (part.hour.0, part.rows.iter().map(RecordBatch::num_rows).collect::<Vec<_>>()));
    let expected = vec![
        (-UnixNanos::HOUR, vec![1]),
        (0, vec![1]),
        (HOUR, vec![3, 2]),
        (HOUR + UnixNanos::HOUR, vec![3]),
    ];
    assert_eq!(sizes.collect::<Vec<_>>(), expected);
}

/// Scenario: a batch without its time column.
/// Guarantees: an error that names the column.
#[test]
fn a_batch_without_time_is_refused() {
    let mut batch = logs(HOUR, &names(1));
    batch.rows.remove_column(batch.rows.schema().index_of("time").unwrap());
    let refused = partition(&[batch]).unwrap_err();
    assert!(refused.to_string().contains("`time` is missing"), "{refused}");
}
