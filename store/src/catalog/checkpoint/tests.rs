//! Checkpoints of states with many files.

use std::collections::BTreeMap;

use ulid::Ulid;

use super::*;
use crate::catalog::FileAttribute;
use crate::schema::{AttributeType, MapColumn};

const FILES: u64 = 3000;

/// A state with some thousand files of a few layouts, a record and a removed file.
fn state() -> State {
    let layout = |number: u64| FileLayout {
        attributes: (0..=number)
            .map(|key| FileAttribute {
                map: MapColumn::Attributes,
                key: format!("a.key.of.some.length.{key}"),
                kind: AttributeType::Int,
                whole: key == number,
            })
            .collect(),
        overflow: Vec::new(),
        overflow_listed: number != 2,
    };
    let file = |number: u64| {
        let hour = UnixNanos(i64::try_from(number % 50).unwrap() * UnixNanos::HOUR);
        FileEntry {
            id: FileId(Ulid::from_parts(number, 3)),
            table: Table::ALL[usize::try_from(number % 4).unwrap()],
            bytes: 1000 + number,
            rows: 1 + number,
            time: TimeRange::covering(hour, UnixNanos(hour.0 + 5)),
            hour,
            layout: Arc::new(layout(number % 3)),
        }
    };
    let writer = WriterId(Ulid::from_parts(1, 1));
    let applied = Applied { next: 7, last: Ulid::from_parts(1, 2) };
    let removed = Removed { path: "data/logs/x".to_owned(), at: UnixNanos(5) };
    State::restore(
        (0..FILES).map(file),
        BTreeMap::from([(writer, LogPosition(9))]),
        BTreeMap::from([(Sequence::Writer(writer), applied)]),
        BTreeMap::from([(FileId(Ulid::from_parts(9, 9)), removed)]),
    )
}

/// Scenario: a state with thousands of files of three layouts is written down and read again.
/// Guarantees: it is the same state, and a layout is written once a table.
#[test]
fn a_checkpoint_comes_back_as_it_was() {
    let state = state();
    let bytes = serde_json::to_vec(&of(&state)).unwrap();
    let found = decode(&bytes).unwrap();
    let files = |state: &State| {
        let files = Table::ALL.into_iter().flat_map(|table| state.snapshot().all(table));
        files.cloned().collect::<Vec<_>>()
    };
    assert_eq!(files(&found), files(&state));
    assert_eq!(found.sequences(), state.sequences());
    assert_eq!(found.removed(), state.removed());
    assert_eq!(found.snapshot().covered(), state.snapshot().covered());
    assert_eq!(found.snapshot().id(), state.snapshot().id());
    for table in Table::ALL {
        assert_eq!(found.snapshot().totals(table), state.snapshot().totals(table));
        assert_eq!(
            found.snapshot().attribute_types(table),
            state.snapshot().attribute_types(table)
        );
    }
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.matches("a.key.of.some.length.2").count(), Table::ALL.len());
    assert!(text.len() / usize::try_from(FILES).unwrap() < 110, "{} bytes", text.len());
}

/// Scenario: a checkpoint of the form before this one; one that names a layout that it lacks, and
/// one with a file that ends before it begins.
/// Guarantees: each is refused in words, so that an older one or the records are read.
#[test]
fn what_makes_no_sense_is_refused() {
    let before = r#"{"sequences":[],"covered":[],"removed":[],"files":[]}"#;
    assert!(decode(before.as_bytes()).unwrap_err().contains("tables"));
    let refused = |change: fn(&mut Row)| {
        let mut checkpoint = of(&state());
        change(&mut checkpoint.tables[0].hours[0].1[0]);
        decode(&serde_json::to_vec(&checkpoint).unwrap()).unwrap_err()
    };
    assert_eq!(refused(|row| row.5 = 3), "a row of it makes no sense");
    assert_eq!(refused(|row| row.2 = row.1), "a row of it makes no sense");
}
