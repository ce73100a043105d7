//! Leases in a bucket in memory, by clocks that tests own.

use std::sync::atomic::{AtomicI64, Ordering};

use object_store::memory::InMemory;

use super::*;
use crate::bucket::Puts;
use crate::bucket::faulty::{Faults, Faulty};

/// A clock that stands where a test puts it.
#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.0.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.now().0).unwrap())
    }
}

const HERE: Partition = (Table::Spans, UnixNanos(5 * UnixNanos::HOUR));
const THERE: Partition = (Table::Logs, UnixNanos(5 * UnixNanos::HOUR));

/// How often leases are renewed here.
const TICK: Duration = Duration::from_millis(20);

struct Bench {
    bucket: Bucket,
    clock: Arc<Hand>,
}

impl Bench {
    fn new() -> Self {
        let bucket = Faulty::bucket(InMemory::new(), &Faults::default(), Puts::CreateOnly);
        Self { bucket, clock: Arc::default() }
    }

    async fn leases(&self, owner: u128) -> Leases {
        let clock: Arc<dyn Clock> = Arc::<Hand>::clone(&self.clock);
        let leases = Leases::list(&self.bucket, clock, Ulid::from(owner)).await.unwrap();
        Leases { renew_every: TICK, ..leases }
    }

    fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(nanos(time), Ordering::Relaxed);
    }

    async fn objects(&self) -> usize {
        self.bucket.list(FOLDER).await.unwrap().len()
    }
}

/// Scenario: two compactors want one partition, by listings from before either had it and after.
/// Guarantees: one gets it, the other does once it is released; other partitions are free.
#[tokio::test]
async fn one_of_two_gets_a_partition() {
    let bench = Bench::new();
    let (one, two) = (bench.leases(1).await, bench.leases(2).await);
    let held = one.take(HERE).await.unwrap().unwrap();
    assert!(two.take(HERE).await.unwrap().is_none(), "it was put since the listing");
    let later = bench.leases(2).await;
    assert!(later.take(HERE).await.unwrap().is_none());
    let other = later.take(THERE).await.unwrap().unwrap();
    held.release().await;
    let again = bench.leases(2).await;
    let taken = again.take(HERE).await.unwrap().unwrap();
    taken.release().await;
    other.release().await;
    assert_eq!(bench.objects().await, 0);
}

/// Scenario: a holder dies; one works on for long; one is overtaken while it slept.
/// Guarantees: a lease is taken over when it is over by more than clocks may differ, and not
/// before; work that goes on keeps its lease; whoever lost it ends its work in peace. Nothing
/// is left but the newest lease.
#[tokio::test]
async fn a_lease_lasts_as_long_as_its_holder() {
    let bench = Bench::new();
    let one = bench.leases(1).await;
    let mut held = one.take(HERE).await.unwrap().unwrap();
    let work = async {
        for _ in 0..5 {
            bench.pass(RENEW_EVERY);
            tokio::time::sleep(TICK * 3).await;
        }
        assert!(bench.leases(2).await.take(HERE).await.unwrap().is_none());
    };
    held.during(work).await;
    bench.pass(HOLDS_FOR + SLACK - Duration::from_secs(1));
    assert!(bench.leases(2).await.take(HERE).await.unwrap().is_none());
    bench.pass(Duration::from_secs(2));
    let two = bench.leases(2).await;
    assert!(two.take(HERE).await.unwrap().is_some());
    held.during(tokio::time::sleep(TICK * 3)).await;
    assert_eq!(bench.objects().await, 1);
    assert!(bench.leases(1).await.take(HERE).await.unwrap().is_none());
}

/// Scenario: a compactor died long ago, and its partition is never merged again.
/// Guarantees: its lease goes with the next tidying, a fresh one stays.
#[tokio::test]
async fn litter_is_tidied() {
    let bench = Bench::new();
    bench.clock.0.store(crate::SystemClock::new().now().0, Ordering::Relaxed);
    assert!(bench.leases(1).await.take(HERE).await.unwrap().is_some());
    bench.leases(2).await.tidy().await.unwrap();
    assert_eq!(bench.objects().await, 1);
    bench.pass(HOLDS_FOR + LITTER_AFTER + Duration::from_secs(60));
    bench.leases(2).await.tidy().await.unwrap();
    assert_eq!(bench.objects().await, 0);
}
