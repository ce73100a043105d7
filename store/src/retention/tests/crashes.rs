//! Every put of a removal fails, before and after it was carried out.

use super::bench::{Bench, check, erased, forget};
use crate::bucket::faulty::Fault;

const FAULTS: [Fault; 4] = [
    Fault::BeforePut("data/"),
    Fault::AfterPut("data/"),
    Fault::BeforePut("catalog/compaction/"),
    Fault::AfterPut("catalog/compaction/"),
];

/// Scenario: a put of a pass of retention fails; the process goes on, or dies and
/// starts again on its index; then the pass is made again.
/// Guarantees: what stays is there once after the failure, and what was to go is gone after the
/// second pass.
#[tokio::test]
async fn retention_survives_every_crash() {
    for restart in [false, true] {
        for fault in FAULTS {
            let bench = Bench::new(&[(24, ""), (96, "body has -1")]);
            let mut store = bench.open("a").await;
            bench.write(&store, 0, "x", 3).await;
            bench.write(&store, 1, "y", 2).await;
            bench.write(&store, 90, "z", 1).await;
            bench.pass(60);
            bench.faults.inject(fault);
            drop(store.retain(false).await);
            let there = super::bench::names(&store).await;
            for body in ["x-1", "y-1", "z-0"] {
                assert!(there.iter().any(|name| name == body), "{fault:?}: {there:?}");
            }
            if restart {
                drop(store);
                store = bench.open("a").await;
            }
            store.retain(false).await.unwrap();
            check(&store, &["x-1", "y-1", "z-0"]).await;
            check(&bench.open("b").await, &["x-1", "y-1", "z-0"]).await;
        }
    }
}

/// Scenario: the same for an erasure over several files.
/// Guarantees: asking again ends it, and the proof holds.
#[tokio::test]
async fn an_erasure_is_carried_on() {
    for restart in [false, true] {
        for fault in FAULTS {
            let bench = Bench::new(&[]);
            let mut store = bench.open("a").await;
            for (hour, name) in ["ada", "bob", "cyd"].iter().enumerate() {
                bench.write(&store, i64::try_from(hour).unwrap(), name, 2).await;
            }
            bench.faults.inject(fault);
            drop(store.erase(forget("body has -1"), None, &|_| {}).await);
            if restart {
                drop(store);
                store = bench.open("a").await;
            }
            let report = erased(&store, forget("body has -1")).await;
            assert_eq!((report.left, report.leftovers.len()), (0, 0), "{fault:?}");
            check(&store, &["ada-0", "bob-0", "cyd-0"]).await;
            check(&bench.open("b").await, &["ada-0", "bob-0", "cyd-0"]).await;
        }
    }
}

/// Scenario: the answer to the record of a hold, or of a release, is lost or never comes.
/// Guarantees: asking again ends in the state that was asked for.
#[tokio::test]
async fn holds_survive_a_lost_answer() {
    for fault in [Fault::BeforePut("catalog/"), Fault::AfterPut("catalog/")] {
        let bench = Bench::new(&[(24, "")]);
        let store = bench.open("a").await;
        bench.write(&store, 0, "x", 2).await;
        let wish = || super::bench::wish("keep", super::bench::hours(0, 1), "body has -1");
        bench.faults.inject(fault);
        store.hold(wish()).await.unwrap_err();
        store.hold(wish()).await.unwrap();
        assert_eq!(store.holds().await.unwrap().len(), 1, "{fault:?}");
        bench.pass(50);
        store.retain(false).await.unwrap();
        check(&store, &["x-1"]).await;
        let name = "keep".parse().unwrap();
        bench.faults.inject(fault);
        store.release(&name).await.unwrap_err();
        store.release(&name).await.unwrap();
        assert!(bench.open("b").await.holds().await.unwrap().is_empty(), "{fault:?}");
    }
}
