//! Ownership under a clock that the test owns.

use std::sync::Mutex;

use object_store::memory::InMemory;

use super::*;
use crate::bucket::Puts;
use crate::bucket::faulty::{Fault, Faults, Faulty};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A clock that goes when it is told to.
#[derive(Debug, Default)]
struct Hand(Mutex<Duration>);

impl Hand {
    fn turn(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Hand {
    fn now(&self) -> UnixNanos {
        UnixNanos(i64::try_from(self.elapsed().as_nanos()).unwrap())
    }

    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

struct Bench {
    bucket: Bucket,
    faults: Faults,
    hand: Arc<Hand>,
    clock: Arc<dyn Clock>,
}

impl Bench {
    fn new() -> Self {
        let faults = Faults::default();
        let bucket = Faulty::bucket(InMemory::new(), &faults, Puts::Overwrite);
        let hand = Arc::new(Hand::default());
        hand.turn(Duration::from_secs(1000));
        let clock = Arc::<Hand>::clone(&hand) as Arc<dyn Clock>;
        Self { bucket, faults, hand, clock }
    }

    async fn claim(&self, owner: &str, process: u128) -> Result<Ownership, Error> {
        let (owner, process) = (owner.to_owned(), Ulid::from_parts(0, process));
        let id = Ulid::from(rand::random::<u128>());
        Ownership::claim(&self.bucket, &self.clock, (owner, process), id, TIMEOUT).await
    }
}

/// Scenario: a second owner comes while the first is alive, and when it has been silent.
/// Guarantees: it is refused, then let in; the first then learns that it lost the bucket.
#[tokio::test]
async fn a_silent_owner_loses_the_bucket() {
    let bench = Bench::new();
    let first = bench.claim("one", 1).await.unwrap();
    bench.hand.turn(Duration::from_secs(29));
    let Err(Error::Owned { owner, age, .. }) = bench.claim("two", 2).await else {
        panic!("let in too early")
    };
    assert_eq!((owner.as_str(), age), ("one", Duration::from_secs(29)));
    bench.hand.turn(Duration::from_secs(1));
    let second = bench.claim("two", 2).await.unwrap();
    assert!(matches!(first.lease.beat().await, Err(Error::Owned { .. })));
    assert!(matches!(first.check(), Err(Error::Owned { .. })));
    second.check().unwrap();
}

/// Scenario: an owner's beats go on, then fail.
/// Guarantees: it may write as long as they go on, and stops before others may come.
#[tokio::test]
async fn an_owner_that_cannot_beat_stops_by_itself() {
    let bench = Bench::new();
    let owner = bench.claim("one", 1).await.unwrap();
    bench.hand.turn(Duration::from_secs(15));
    owner.lease.beat().await.unwrap();
    bench.hand.turn(Duration::from_secs(15));
    owner.check().unwrap();
    bench.faults.inject(Fault::BeforePut("owner"));
    bench.hand.turn(Duration::from_secs(6));
    owner.lease.beat().await.unwrap_err();
    let stale = owner.check().unwrap_err();
    assert!(stale.is_retryable(), "{stale}");
    owner.lease.beat().await.unwrap();
    owner.check().unwrap();
}

/// Scenario: the owner's own next life; two that claim an empty bucket at the same moment.
/// Guarantees: the same owner is let in at once; of two strangers one at most may write.
#[tokio::test]
async fn of_two_strangers_one_is_let_in() {
    let bench = Bench::new();
    drop(bench.claim("one", 1).await.unwrap());
    bench.claim("one", 2).await.unwrap().check().unwrap();
    let bench = Bench::new();
    let (one, two) = tokio::join!(bench.claim("one", 1), bench.claim("two", 2));
    let mut stand = 0;
    for owned in [one, two].into_iter().flatten() {
        stand += u32::from(confirm(&bench.bucket, owned.epoch()).await.is_ok());
    }
    assert_eq!(stand, 1);
}

/// Scenario: an owner is replaced; then a claim that its successor's predecessor had put lands once
/// more, and a last sign of life of it.
/// Guarantees: neither takes anything from the successor.
#[tokio::test]
async fn a_late_claim_takes_nothing() {
    let bench = Bench::new();
    let first = bench.claim("one", 1).await.unwrap();
    bench.hand.turn(TIMEOUT);
    let second = bench.claim("two", 2).await.unwrap();
    first.lease.write().await.unwrap();
    confirm(&bench.bucket, second.epoch()).await.unwrap();
    assert!(confirm(&bench.bucket, first.epoch()).await.is_err());
    second.lease.beat().await.unwrap();
    assert!(
        matches!(bench.claim("one", 1).await, Err(Error::Owned { owner, .. }) if owner == "two")
    );
}

/// Scenario: an owner stops in good order, and another comes at once.
/// Guarantees: it is let in without waiting for a timeout.
#[tokio::test]
async fn a_released_bucket_is_free_at_once() {
    let bench = Bench::new();
    let first = bench.claim("writer one", 1).await.unwrap();
    assert!(bench.claim("writer two", 2).await.is_err());
    first.release().await.unwrap();
    bench.claim("writer two", 2).await.unwrap().check().unwrap();
}
