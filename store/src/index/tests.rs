//! The index under deletion, damage, and two processes.

mod figures;
pub(crate) mod full;
pub(in crate::index) mod stopwatch;

use std::fs::File;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tempfile::TempDir;
use ulid::Ulid;

use super::*;
use crate::catalog::record::{Body, Record, Sequence};
use crate::model::{LogPosition, UnixNanos, WriterId};
use crate::ports::SystemClock;

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::register(&mut Registry::default()))
}

/// A state after `count` commits without files, and what they changed.
fn state(count: u64) -> (State, Vec<Change>) {
    let writer = Sequence::Writer(WriterId(Ulid::from_parts(1, 1)));
    let mut state = State::default();
    let record = |number: u64| Record {
        id: Ulid::from_parts(number, 0),
        at: UnixNanos(0),
        body: Body::Commit {
            covers_from: LogPosition(number),
            covers_to: LogPosition(number + 1),
            adds: Vec::new(),
        },
    };
    let changes = (0..count).map(|number| state.apply(writer, record(number)).unwrap());
    let changes = changes.collect();
    (state, changes)
}

/// Makes an index that nobody has one of a version that this one does not know, and has let it go
/// when it returns.
pub(crate) fn outdate(folder: &Path) {
    let folder = folder.join("catalog");
    let db = sled::open(&folder).unwrap();
    db.insert(keys::META, &br#"{"version":1,"rows":0,"sum":0}"#[..]).unwrap();
    db.flush().unwrap();
    drop(db);
    // sled's own threads have the file for a moment longer, and nobody else knows how long.
    File::open(folder.join("db")).unwrap().lock().unwrap();
}

/// The database behind an index that nobody holds any more.
async fn let_go(folder: &Path) -> sled::Db {
    for _ in 0..1000 {
        if let Ok(db) = sled::open(folder.join("catalog")) {
            return db;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody lets go of {}", folder.display());
}

async fn open(folder: &Path, metrics: Arc<Metrics>) -> (Index, State) {
    Index::open(folder, metrics, &SystemClock::new()).await.unwrap()
}

/// Opens an index that nobody holds any more. sled lets a folder go on threads of its own, a moment
/// after its last handle is gone; another process would be gone with its threads.
async fn reopen(folder: &Path) -> (Index, State) {
    for _ in 0..1000 {
        let (index, state) = open(folder, metrics()).await;
        if index.is_on() {
            return (index, state);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody lets go of {}", folder.display());
}

/// Scenario: an index is written, closed and opened again.
/// Guarantees: it says what was written.
#[tokio::test]
async fn an_index_comes_back_as_it_was() {
    let folder = TempDir::new().unwrap();
    let (expected, changes) = state(5);
    let (index, empty) = reopen(folder.path()).await;
    assert!(empty.sequences().is_empty());
    index.write(changes).await;
    drop(index);
    let (_index, found) = reopen(folder.path()).await;
    assert_eq!(found.snapshot().id(), expected.snapshot().id());
    assert_eq!(found.sequences(), expected.sequences());
}

/// Scenario: every file of the index is overwritten with rubbish, cut short, or deleted.
/// Guarantees: an open never fails, and never says anything that was not written.
#[tokio::test]
async fn a_damaged_index_is_replaced() {
    let overwrite = |path: &Path| std::fs::write(path, [0xA5; 4096]).unwrap();
    let cut = |path: &Path| std::fs::write(path, b"").unwrap();
    let delete = |path: &Path| std::fs::remove_file(path).unwrap();
    let damages: [&dyn Fn(&Path); 3] = [&overwrite, &cut, &delete];
    for name in ["conf", "db"] {
        for damage in damages {
            let folder = TempDir::new().unwrap();
            let (index, _) = reopen(folder.path()).await;
            let (whole, changes) = state(5);
            index.write(changes).await;
            drop(index);
            damage(&folder.path().join("catalog").join(name));
            let (index, found) = reopen(folder.path()).await;
            let nothing = State::default().snapshot().id();
            assert!([whole.snapshot().id(), nothing].contains(&found.snapshot().id()));
            drop(index);
            reopen(folder.path()).await;
        }
    }
}

/// Scenario: a second process opens the index of a live one.
/// Guarantees: it goes without, and the first one's is left alone.
#[tokio::test]
async fn a_second_process_goes_without() {
    let folder = TempDir::new().unwrap();
    let (first, _) = reopen(folder.path()).await;
    first.write(state(3).1).await;
    let (second, found) = open(folder.path(), metrics()).await;
    assert!(!second.is_on());
    assert!(found.sequences().is_empty());
    second.write(state(1).1).await;
    drop((first, second));
    let (_index, found) = reopen(folder.path()).await;
    assert_eq!(found.snapshot().records(), 3);
}

/// Scenario: a process opens the index of one that is about to end, or whose sled still has the folder.
/// Guarantees: it waits for it, and has what the other one wrote.
#[tokio::test]
async fn an_index_that_is_let_go_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let (first, _) = reopen(folder.path()).await;
    first.write(state(3).1).await;
    let ends = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(first);
    };
    let ((second, found), ()) = tokio::join!(open(folder.path(), metrics()), ends);
    assert!(second.is_on());
    assert_eq!(found.snapshot().records(), 3);
}

/// Scenario: one write to the index is lost, the next one comes.
/// Guarantees: the index stays at what it knew, so that the next start reads the rest.
#[tokio::test]
async fn a_lost_write_leaves_no_gap() {
    let folder = TempDir::new().unwrap();
    let (index, _) = reopen(folder.path()).await;
    let (_, mut changes) = state(5);
    let last = changes.split_off(4);
    changes.truncate(3);
    index.write(changes).await;
    index.write(last).await;
    drop(index);
    let (_index, found) = reopen(folder.path()).await;
    assert_eq!(found.snapshot().records(), 3);
}

/// Scenario: an index of the version before, and one whose catalog was only half written.
/// Guarantees: both are made anew, and counted.
#[tokio::test]
async fn an_index_of_another_time_is_replaced() {
    let old = |db: &sled::Db| {
        db.insert(b"m", br#"{"version":1,"rows":0,"sum":0}"#.as_slice()).unwrap();
    };
    let half = |db: &sled::Db| {
        let sequences: Vec<_> = db.scan_prefix(b"s").keys().map(Result::unwrap).collect();
        sequences.iter().for_each(|key| drop(db.remove(key).unwrap()));
    };
    for change in [&old as &dyn Fn(&sled::Db), &half] {
        let folder = TempDir::new().unwrap();
        let (index, _) = reopen(folder.path()).await;
        index.write(state(3).1).await;
        drop(index);
        let db = let_go(folder.path()).await;
        change(&db);
        drop(db);
        let mut registry = Registry::default();
        let counted = Arc::new(Metrics::register(&mut registry));
        let (_index, found) = open(folder.path(), counted).await;
        assert!(found.sequences().is_empty());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let rebuilt = "icecore_store_index_rebuilds_total{reason=\"damaged\"} 1";
        assert!(text.contains(rebuilt), "{text}");
    }
}
