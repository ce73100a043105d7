//! What is asked for ahead of its turn, by several readers of one file.

use futures::FutureExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use super::*;
use crate::bucket::{Turn as FetchTurn, stack};
use crate::chance::{Chance, Machine};
use crate::config::Config;
use crate::files::ReadTally;
use crate::files::fetch::{Fetching, Reach};

/// A bucket that is far away with one file, of which something is kept here once it was read.
struct Far {
    bench: Bench,
    reach: Reach,
    file: FileEntry,
    tally: ReadTally,
}

impl Far {
    async fn new() -> Self {
        let bench = Bench::new(1..2, u64::MAX);
        let config = Config::new(Url::parse("s3://core").unwrap(), None);
        let clock = Arc::new(SystemClock::new());
        let machine = Machine { clock, chance: Chance::seeded(7) };
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let bucket = stack(InMemory::new(), &config, &machine, &metrics);
        let file = file(1);
        bucket.put(&Path::from(file.path()), part(&file, 0..6).1.into()).await.unwrap();
        let bucket: Arc<dyn ObjectStore> = Arc::new(bucket);
        let reach = Reach { bucket, far: true, pages: Some(bench.open()), ahead: None };
        Self { bench, reach, file, tally: ReadTally::default() }
    }

    /// Some blocks of the file, asked for now and read in their turn.
    async fn ask(&self, run: Range<u64>, turn: &FetchTurn) -> Bytes {
        let (path, at) = (self.file.path(), bytes_of(&run, FILE_BYTES));
        let (reach, tally, entry) = (&self.reach, &self.tally, Some(&self.file));
        let from = Fetching { reach, path: &path, tally, whole: None, entry, turn: Some(turn) };
        let mut fetched = from.fetch(&[at]).await.unwrap();
        assert_eq!(fetched.len(), 1);
        fetched.remove(0).1
    }

    fn requests(&self) -> u64 {
        self.tally.figures().requests
    }
}

/// Scenario: three readers ask ahead for blocks of a file, the third for others as well; the turn of the first comes
/// first, or that of the second.
/// Guarantees: what one has asked for another does not; who has its turn waits for nobody who has not; each has its
/// bytes.
#[tokio::test]
async fn what_was_asked_for_ahead_is_asked_for_once() {
    for first_is_first in [true, false] {
        let far = Far::new().await;
        let turns: [FetchTurn; 3] = Default::default();
        let mut first = Box::pin(far.ask(0..3, &turns[0]));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(far.ask(1..3, &turns[1]));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(far.requests(), 1, "the second has not asked");
        let mut third = Box::pin(far.ask(2..5, &turns[2]));
        assert!(third.as_mut().now_or_never().is_none());
        assert_eq!(far.requests(), 2, "the third has");
        if first_is_first {
            turns[0].comes();
            assert!(first.await == part(&far.file, 0..3).1);
            turns[1].comes();
            assert!(second.await == part(&far.file, 1..3).1);
            assert_eq!(far.requests(), 2);
        } else {
            turns[1].comes();
            assert!(second.await == part(&far.file, 1..3).1);
            assert_eq!(far.requests(), 3, "nobody reads for the second");
            turns[0].comes();
            assert!(first.await == part(&far.file, 0..3).1);
        }
        turns[2].comes();
        assert!(third.await == part(&far.file, 2..5).1);
        let pages = far.reach.pages.as_ref().unwrap();
        assert_eq!((pages.flights.len(), far.bench.skipped("busy")), (0, 0));
    }
}
