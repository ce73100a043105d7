//! What the index costs at a size that is given: `ICECORE_INDEX_FILES=1000000`, with
//! `--nocapture` to see the figures, optimised for them to mean anything.

use super::*;
use crate::catalog::state::Applied;
use crate::catalog::{FileAttribute, FileEntry, FileLayout};
use crate::index::tests::stopwatch::Stopwatch;
use crate::model::{Table, TimeRange};
use crate::schema::{AttributeType, MapColumn};

/// Hours that the files are of: a month.
const HOURS: u64 = 720;

/// Layouts that they have, with as many keys as the standard load.
const LAYOUTS: u64 = 200;

fn count() -> u64 {
    let given = std::env::var("ICECORE_INDEX_FILES");
    given.map_or(3000, |count| count.parse().expect("a number of files"))
}

fn layout(number: u64) -> FileLayout {
    let key = |at: u64| FileAttribute {
        map: MapColumn::Attributes,
        key: format!("some.attribute.of.a.span.{}", at * (1 + number % 7)),
        kind: AttributeType::String,
        whole: at != number % 40,
    };
    FileLayout { attributes: (0..40).map(key).collect(), overflow: vec![], overflow_listed: true }
}

fn file(number: u64, layouts: &[Arc<FileLayout>]) -> FileEntry {
    let hour = UnixNanos(i64::try_from(500_000 + number % HOURS).unwrap() * UnixNanos::HOUR);
    let table = Table::ALL[usize::try_from(number / HOURS % 3).unwrap()];
    let id = FileId(Ulid::from_parts(number, u128::from(number) << 40));
    let time = TimeRange::covering(hour, UnixNanos(hour.0 + UnixNanos::HOUR - 2));
    let layout = &layouts[usize::try_from(number % layouts.len() as u64).unwrap()];
    // As records bring it: a layout of its own.
    let layout = Arc::new(FileLayout::clone(layout));
    FileEntry { id, table, bytes: 4 << 20, rows: 90_000, time, hour, layout }
}

/// Memory of this process, as the kernel counts it.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| match entry.path() {
        path if path.is_dir() => folder_bytes(&path),
        _ => entry.metadata().unwrap().len(),
    });
    sizes.sum()
}

/// Scenario: a catalog of many files is written to the index, read back, and gets one more commit.
/// Guarantees: it is the same catalog; with as many files as are asked for, the figures.
#[tokio::test]
async fn many_files_cost_little() {
    let (files, folder, before) = (count(), TempDir::new().unwrap(), resident());
    let layouts: Vec<_> = (0..LAYOUTS).map(|number| Arc::new(layout(number))).collect();
    let writer = WriterId(Ulid::from_parts(1, 1));
    let applied = Applied { next: 1, last: Ulid::from_parts(7, 7) };
    let sequences = [(Sequence::Writer(writer), applied)];
    let watch = Stopwatch::start();
    let made = (0..files).map(|number| file(number, &layouts));
    let state = State::restore(made, [].into(), sequences.into(), [].into());
    let bytes = (resident() - before) / files;
    println!("made in {watch}, {bytes} bytes a file");
    let expected = [state.snapshot().totals(Table::Spans), state.snapshot().totals(Table::Logs)];

    let (index, _) = reopen(folder.path()).await;
    let watch = Stopwatch::start();
    index.fill(state.clone()).await;
    let bytes = folder_bytes(folder.path()) / files;
    println!("written in {watch}, {bytes} bytes a file on disk");
    drop((index, state));

    let (watch, before) = (Stopwatch::start(), resident());
    let (index, mut state) = reopen(folder.path()).await;
    println!("loaded in {watch}, {} bytes more", resident().saturating_sub(before));
    let found = [state.snapshot().totals(Table::Spans), state.snapshot().totals(Table::Logs)];
    assert_eq!(found, expected);

    let held = state.snapshot().clone();
    let record = |number: u64| Record {
        id: Ulid::from_parts(number, 0),
        at: UnixNanos(0),
        body: Body::Commit {
            covers_from: LogPosition(number),
            covers_to: LogPosition(number + 1),
            adds: (0..3).map(|at| file(files + 3 * number + at, &layouts)).collect(),
        },
    };
    for number in 1..4 {
        let watch = Stopwatch::start();
        let change = state.apply(Sequence::Writer(writer), record(number)).unwrap();
        let applied = watch.elapsed();
        let snapshot = state.snapshot().clone();
        index.write(vec![change]).await;
        println!("a commit applied in {applied:?}, and written in {:?}", watch.elapsed() - applied);
        let watch = Stopwatch::start();
        let time = TimeRange::covering(UnixNanos(0), UnixNanos(500_003 * UnixNanos::HOUR));
        let some = snapshot.files(Table::Spans, time).len();
        println!("{some} files of three hours found in {:?}", watch.elapsed());
    }
    assert_eq!(held.totals(Table::Spans), expected[0]);
    drop(index);
    let (_, found) = reopen(folder.path()).await;
    assert_eq!(found.snapshot().id(), state.snapshot().id());
    assert!(found.snapshot().all(Table::Spans).eq(state.snapshot().all(Table::Spans)));
}
