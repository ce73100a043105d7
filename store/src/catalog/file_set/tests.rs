//! The set beside a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ulid::Ulid;

use super::*;
use crate::catalog::FileLayout;
use crate::model::{FileId, Table, TimeRange};

fn file(hour: i64, number: u64) -> Arc<FileEntry> {
    let hour = UnixNanos(hour * UnixNanos::HOUR);
    Arc::new(FileEntry {
        id: FileId(Ulid::from_parts(number, 7)),
        table: Table::Logs,
        bytes: 1,
        rows: number,
        time: TimeRange::covering(hour, hour),
        hour,
        layout: Arc::new(FileLayout::default()),
    })
}

fn check(set: &FileSet, model: &BTreeMap<FileKey, Arc<FileEntry>>) {
    assert!(set.iter().eq(model.values()));
    let chunks = set.chunks.iter().map(|chunk| chunk.len());
    assert!(chunks.clone().all(|files| (1..=CHUNK_FILES).contains(&files)));
    assert!(chunks.count() <= 1 + 6 * model.len() / CHUNK_FILES, "chunks are not joined");
    let hours: Vec<_> = set.hours().collect();
    assert!(hours.iter().flat_map(|(_, files)| files).eq(model.values()));
    assert!(hours.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(model.iter().all(|(key, file)| set.get(*key) == Some(file)));
    let ends = model.values().next().zip(model.values().next_back());
    assert_eq!(set.ends(), ends);
    let (first, end) = (UnixNanos(2 * UnixNanos::HOUR), UnixNanos(4 * UnixNanos::HOUR));
    let within = model.values().filter(|file| first <= file.hour && file.hour < end);
    assert!(set.range(first, end).eq(within));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Scenario: thousands of files come and go in any order, some twice; a snapshot is taken in
    /// between.
    /// Guarantees: the set is what a plain map is, and the snapshot stays as it was.
    #[test]
    fn it_is_a_sorted_map(steps in prop::collection::vec((0_u8..5, 0_i64..6, 0_u64..1200), 1..6000)) {
        let (mut set, mut model) = (FileSet::default(), BTreeMap::new());
        let (mut snapshot, mut then) = (set.clone(), model.clone());
        for (at, (action, hour, number)) in steps.iter().enumerate() {
            let file = file(*hour, *number);
            // Removals come in the second half, so that chunks fill first.
            if *action > 0 && (at < steps.len() / 2 || *action == 1) {
                prop_assert_eq!(set.insert(Arc::clone(&file)), model.insert(file.key(), file));
            } else {
                prop_assert_eq!(set.remove(file.key()), model.remove(&file.key()));
            }
            if at == steps.len() / 2 {
                (snapshot, then) = (set.clone(), model.clone());
            }
        }
        check(&set, &model);
        check(&snapshot, &then);
    }
}

/// Scenario: files come in order, then all but every hundredth go.
/// Guarantees: chunks are full, and few are left.
#[test]
fn chunks_follow_the_number_of_files() {
    let (mut set, mut model) = (FileSet::default(), BTreeMap::new());
    for number in 0..20_000 {
        let file = file(i64::try_from(number).unwrap() / 5000, number);
        model.insert(file.key(), Arc::clone(&file));
        set.insert(file);
    }
    assert_eq!(set.chunks.len(), 20_000_usize.div_ceil(CHUNK_FILES));
    check(&set, &model);
    let gone: Vec<_> =
        model.keys().copied().filter(|key| key.1.0.timestamp_ms() % 100 != 0).collect();
    for key in gone {
        assert_eq!(set.remove(key), model.remove(&key));
    }
    check(&set, &model);
}
