//! Rows of long texts: they are in files a few at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::ports::{CommitRows, RowPieces};
use crate::sample::logs;
use crate::store::Commit;
use crate::{Table, TimeRange};

/// Rows of a piece, and pieces of the commit.
const ROWS: usize = 1_000;
const PIECES: usize = 80;

/// Bodies of 1 KiB of random letters, made when they are asked for.
#[derive(Debug, Default)]
struct Long {
    asked: AtomicUsize,
    /// Pieces that were asked for before the bucket was waited for, at each of those times.
    held: std::sync::Mutex<Vec<usize>>,
}

fn texts(piece: usize) -> Vec<String> {
    let mut rng = StdRng::seed_from_u64(piece as u64);
    (0..ROWS).map(|_| (0..1_024).map(|_| rng.random_range('0'..='z')).collect()).collect()
}

impl CommitRows for Long {
    fn pieces(self: Arc<Self>) -> RowPieces {
        Box::new((0..PIECES).map(move |piece| {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Ok(logs(HOUR, &texts(piece)))
        }))
    }

    fn putting(&self, waits: bool) {
        if waits {
            self.held.lock().unwrap().push(self.asked.load(Ordering::Relaxed));
        }
    }
}

/// Scenario: 80 MB of log records with 1 KiB of random text each.
/// Guarantees: they become files of some 30 MB at most, which are put before all of them are made; and
/// each row is there once.
#[tokio::test]
async fn long_texts_are_stored_a_few_at_a_time() {
    let bench = Bench::new();
    let store = bench.open("a").await;
    store.register_writer(writer(1)).await.unwrap();
    let rows = Arc::new(Long::default());
    let (covers_from, covers_to) = (LogPosition(0), LogPosition(1));
    let of = Arc::clone(&rows) as Arc<dyn CommitRows>;
    store.commit(Commit { writer: writer(1), covers_from, covers_to, rows: of }).await.unwrap();
    let snapshot = store.snapshot();
    let files = snapshot.files(Table::Logs, TimeRange::ALL);
    let longest = files.iter().map(|file| file.bytes).max().unwrap();
    assert!(longest < 32 << 20, "{longest} bytes in one of {} files", files.len());
    let held = rows.held.lock().unwrap().clone();
    assert!(held.len() > 1 && held[0] < PIECES, "pieces before each wait: {held:?}");
    let mut expected = BTreeMap::new();
    (0..PIECES).flat_map(texts).for_each(|text| *expected.entry(text).or_insert(0_u32) += 1);
    assert!(bodies(&store, &snapshot).await == expected, "each row is there once");
}
