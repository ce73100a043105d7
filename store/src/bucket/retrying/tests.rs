//! Faults that pass and faults that do not.

use std::sync::Arc;

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use prometheus_client::registry::Registry;

use super::*;
use crate::bucket::faulty::{Fault, Faults, Faulty};
use crate::bucket::metered::Metered;
use crate::metrics::Metrics;

/// Puts once over a bucket that fails `faults` times, with two further attempts.
async fn check(faults: usize, fault: Fault, expected: &str, attempts: u32) {
    let injected = Faults::default();
    (0..faults).for_each(|_| injected.inject(fault));
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let metered = Metered::new(Faulty::over(InMemory::new(), &injected), metrics);
    let backoff = Duration::from_millis(1);
    let retry = Retry { retries_max: 2, backoff, backoff_max: backoff };
    let bucket = Retrying::new(metered, retry);
    let options = PutOptions { mode: object_store::PutMode::Create, ..PutOptions::default() };
    let answer = bucket.put_opts(&Path::from("data/x"), "text".into(), options).await;
    let answer = match answer {
        Ok(_) => "ok",
        Err(Error::AlreadyExists { .. }) => "exists",
        Err(_) => "failed",
    };
    assert_eq!(answer, expected);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let counts = text.lines().filter(|line| line.starts_with("icecore_store_requests_total"));
    let counted = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
    assert_eq!(counted.sum::<u32>(), attempts, "{text}");
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

/// Scenario: a read of what is not there.
/// Guarantees: a definite answer is not asked for again.
#[tokio::test]
async fn a_definite_no_is_final() {
    let retry = Retry {
        retries_max: 1000,
        backoff: Duration::from_secs(1000),
        backoff_max: Duration::from_secs(1000),
    };
    let bucket = Retrying::new(InMemory::new(), retry);
    let answer = bucket.get(&Path::from("none")).await;
    assert!(matches!(answer, Err(Error::NotFound { .. })));
}

/// Scenario: settings with a long backoff and many attempts.
/// Guarantees: waits double, stay under their bound, and never overflow.
#[test]
fn waits_are_bounded() {
    let second = Duration::from_secs(1);
    let retry = Retry { retries_max: 9, backoff: second, backoff_max: second * 8 };
    for (attempt, longest) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (u32::MAX, 8)] {
        let wait = retry.wait(attempt);
        assert!(wait <= second * longest && wait * 2 >= second * longest, "{attempt}: {wait:?}");
    }
}
