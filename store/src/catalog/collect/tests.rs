//! What is garbage and what is not.

use ulid::Ulid;

use super::*;

fn id(millis: u64) -> FileId {
    FileId(Ulid::from_parts(millis, 7))
}

/// Scenario: files that count, that were removed, that nobody names, young and old, and objects
/// that are no data files.
/// Guarantees: only what is out of its grace is touched, and nothing that counts.
#[test]
fn only_what_is_out_of_grace_is_garbage() {
    let path = |millis| format!("data/logs/date=2026-11-22/hour=21/{}.parquet", id(millis));
    let listed = [path(1), path(2), path(3), path(4), path(90), "data/readme.txt".to_owned()];
    let at = |millis: i64| UnixNanos(millis * 1_000_000);
    let removed = |millis: i64, file: u64| (id(file), Removed { path: path(file), at: at(millis) });
    let sorted = sort(
        &listed,
        &BTreeSet::from([id(1)]),
        &BTreeMap::from([removed(10, 2), removed(80, 3), removed(10, 5)]),
        Duration::from_millis(50),
        at(100),
    );
    let expected =
        Sorted { dead: vec![(id(2), path(2))], unnamed: vec![(id(4), path(4))], gone: vec![id(5)] };
    assert_eq!(sorted, expected);
}
