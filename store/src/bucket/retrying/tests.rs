//! Faults that pass and faults that do not.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{Error, ObjectStoreExt};
use prometheus_client::registry::Registry;

use super::*;
use crate::bucket::faulty::{Fault, Faults, Faulty};
use crate::bucket::metered::Metered;
use crate::metrics::Metrics;
use crate::ports::SystemClock;

fn machine() -> Machine {
    Machine { clock: Arc::new(SystemClock::new()), chance: Chance::seeded(7) }
}

/// Puts once over a bucket that fails `faults` times, with two further attempts.
async fn check(faults: usize, fault: Fault, expected: &str, attempts: u32) {
    let injected = Faults::default();
    (0..faults).for_each(|_| injected.inject(fault));
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let metered = Metered::new(Faulty::over(InMemory::new(), &injected), metrics);
    let backoff = Duration::from_millis(1);
    let retry = Retry { retries_max: 2, backoff, backoff_max: backoff, apart: false };
    let bucket = Retrying::new(metered, retry, machine());
    let options = PutOptions { mode: object_store::PutMode::Create, ..PutOptions::default() };
    let answer = bucket.put_opts(&Path::from("data/x"), "text".into(), options).await;
    let answer = match answer {
        Ok(_) => "ok",
        Err(Error::AlreadyExists { .. }) => "exists",
        Err(_) => "failed",
    };
    assert_eq!(answer, expected);
    assert_eq!(requests(&registry), attempts);
}

/// All attempts that were counted.
fn requests(registry: &Registry) -> u32 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let counts = text.lines().filter(|line| line.starts_with("icecore_store_requests_total"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).sum()
}

/// Scenario: connections that break before a put, once and too often, and after it.
/// Guarantees: what passes is invisible, the bound holds, every attempt is counted, and a create
/// whose answer was lost says that the object exists.
#[tokio::test]
async fn faults_that_pass_are_invisible() {
    check(0, Fault::BeforePut("data"), "ok", 1).await;
    check(2, Fault::BeforePut("data"), "ok", 3).await;
    check(3, Fault::BeforePut("data"), "failed", 3).await;
    check(1, Fault::AfterPut("data"), "exists", 2).await;
}

/// Lists two of three objects, from an offset or by their folder, while `faults` listings break
/// off after one object, with two further attempts; `None` where it fails.
async fn list(faults: usize, offset: Option<&str>) -> Option<Vec<String>> {
    let injected = Faults::default();
    (0..faults).for_each(|_| injected.inject(Fault::InList("data")));
    let backoff = Duration::from_millis(1);
    let retry = Retry { retries_max: 2, backoff, backoff_max: backoff, apart: false };
    let bucket = Retrying::new(Faulty::over(InMemory::new(), &injected), retry, machine());
    for path in ["data/1", "data/2", "other/3"] {
        bucket.put(&Path::from(path), "text".into()).await.unwrap();
    }
    let folder = Path::from("data");
    let listing = match offset {
        Some(offset) => bucket.list_with_offset(Some(&folder), &Path::from(offset)),
        None => bucket.list(Some(&folder)),
    };
    let listed: Vec<ObjectMeta> = listing.try_collect().await.ok()?;
    Some(listed.into_iter().map(|object| object.location.to_string()).collect())
}

/// Scenario: listings that break off half-way, never, as often as is tried again, and once more.
/// Guarantees: what passes is invisible, every object is listed once, and the bound holds.
#[tokio::test]
async fn listings_that_break_off_are_begun_anew() {
    for offset in [None, Some("data/0")] {
        for faults in [0, 1, 2] {
            let listed = list(faults, offset).await.unwrap();
            assert_eq!(listed, ["data/1", "data/2"], "{faults} faults, from {offset:?}");
        }
        assert_eq!(list(3, offset).await, None, "from {offset:?}");
    }
    assert_eq!(list(1, Some("data/1")).await.unwrap(), ["data/2"]);
}

/// Scenario: some ranges of an object, near each other, far apart, within each other and the same, in
/// no order, from a bucket that is far away; one request is not answered; then one range too far.
/// Guarantees: the bytes of each, in as many requests as there are places far apart and one more, and
/// an error for what is not there.
#[tokio::test]
async fn stretches_are_requests_of_their_own() {
    let injected = Faults::default();
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let metered = Metered::new(Faulty::over(InMemory::new(), &injected), metrics);
    let backoff = Duration::from_millis(1);
    let retry = Retry { retries_max: 2, backoff, backoff_max: backoff, apart: true };
    let bucket = Retrying::new(metered, retry, machine());
    let byte = |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[7];
    let bytes = Bytes::from_iter((0..9 << 20).map(byte));
    let path = Path::from("data/x");
    bucket.put(&path, bytes.clone().into()).await.unwrap();
    let ranges = [5 << 20..5 << 20 | 9, 0..40, 8 << 20..9 << 20, 10..20, 900_000..1 << 20, 0..40];
    injected.inject(Fault::InGet("data"));
    let before = requests(&registry);
    let pieces = bucket.get_ranges(&path, &ranges).await.unwrap();
    assert_eq!(requests(&registry) - before, 3 + 1);
    for (range, piece) in ranges.iter().zip(pieces) {
        assert_eq!(piece, slice(&bytes, range.clone()).unwrap());
    }
    assert!(bucket.get_ranges(&path, &[0..4, 8 << 20..(9 << 20) + 1]).await.is_err());
}

/// Scenario: a read of what is not there.
/// Guarantees: a definite answer is not asked for again.
#[tokio::test]
async fn a_definite_no_is_final() {
    let retry = Retry {
        retries_max: 1000,
        backoff: Duration::from_secs(1000),
        backoff_max: Duration::from_secs(1000),
        apart: false,
    };
    let bucket = Retrying::new(InMemory::new(), retry, machine());
    let answer = bucket.get(&Path::from("none")).await;
    assert!(matches!(answer, Err(Error::NotFound { .. })));
}

/// Scenario: settings with a long backoff and many attempts.
/// Guarantees: waits double, stay under their bound, and never overflow.
#[test]
fn waits_are_bounded() {
    let second = Duration::from_secs(1);
    let retry = Retry { retries_max: 9, backoff: second, backoff_max: second * 8, apart: false };
    for (attempt, longest) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (u32::MAX, 8)] {
        let wait = retry.wait(attempt, &machine().chance);
        assert!(wait <= second * longest && wait * 2 >= second * longest, "{attempt}: {wait:?}");
    }
}
