//! What rules take, and when.

use super::bench::{Bench, check};

/// Scenario: one rule for all rows; the clock passes an hour's end, then its age, then both.
/// Guarantees: a file goes whole, unread, once all of its hour is old enough, and no sooner; a trial
/// says the same and takes nothing.
#[tokio::test]
async fn a_file_goes_when_all_of_it_is_old_enough() {
    let bench = Bench::new(&[(48, "")]);
    let store = bench.open("a").await;
    bench.write(&store, 0, "old", 3).await;
    bench.write(&store, 2, "young", 1).await;
    bench.pass(48);
    assert_eq!(store.retain(false).await.unwrap().rows(), (0, 0), "its last second is too young");
    bench.pass(1);
    let trial = store.retain(true).await.unwrap();
    assert_eq!((trial.rows(), trial.looked), ((3, 0), 0));
    check(&store, &["old-0", "old-1", "old-2", "young-0"]).await;
    let done = store.retain(false).await.unwrap();
    assert_eq!((done.rows(), done.files(), done.looked), ((3, 0), 1, 0));
    check(&store, &["young-0"]).await;
    check(&bench.open("b").await, &["young-0"]).await;
    assert_eq!(store.collect_garbage().await.unwrap(), 0, "the old file has its grace");
    bench.pass(1);
    assert_eq!(store.collect_garbage().await.unwrap(), 1);
    check(&store, &["young-0"]).await;
}

/// Scenario: rows with `-1` are kept for longer, those with `-2` for ever.
/// Guarantees: a row stays for the longest age of the rules that select it; a file is read once an
/// age, and not again while nothing changes.
#[tokio::test]
async fn the_longest_age_counts() {
    let bench = Bench::new(&[(24, ""), (96, "body has -1"), (0, "body has -2")]);
    let store = bench.open("a").await;
    bench.write(&store, 0, "x", 4).await;
    bench.pass(25);
    let report = store.retain(false).await.unwrap();
    assert_eq!((report.rows(), report.looked, report.tables[0].rewritten), ((2, 0), 1, 1));
    check(&store, &["x-1", "x-2"]).await;
    for _ in 0..3 {
        bench.pass(10);
        assert_eq!(store.retain(false).await.unwrap().looked, 0, "nothing changed");
    }
    bench.pass(60);
    assert_eq!(store.retain(false).await.unwrap().rows(), (1, 0));
    check(&store, &["x-2"]).await;
    bench.pass(100_000);
    assert_eq!(store.retain(false).await.unwrap().rows(), (0, 0));
    check(&bench.open("b").await, &["x-2"]).await;
}

/// Scenario: the only rule selects some rows; late rows join an hour that was dealt with.
/// Guarantees: rows that no rule selects stay for ever; late rows are looked at as any others.
#[tokio::test]
async fn what_no_rule_selects_stays() {
    let bench = Bench::new(&[(24, "body has -0")]);
    let store = bench.open("a").await;
    bench.write(&store, 0, "x", 2).await;
    bench.pass(200);
    assert_eq!(store.retain(false).await.unwrap().rows(), (1, 0));
    bench.write(&store, 0, "late", 2).await;
    bench.pass(1);
    assert_eq!(store.compact().await.unwrap().merges, 1);
    assert_eq!(store.retain(false).await.unwrap().rows(), (1, 0));
    check(&store, &["late-1", "x-1"]).await;
}

/// Scenario: a rule whose condition nobody understands.
/// Guarantees: the start is refused, by the rule's own words.
#[tokio::test]
async fn a_rule_must_be_understood() {
    let bench = Bench::new(&[(24, "body has -0")]);
    let store = bench.open("a").await;
    assert!(store.check_rules().is_ok());
    let bad = Bench::new(&[(24, "severity < 3")]);
    let opened = std::panic::AssertUnwindSafe(bad.open("a"));
    let refused = futures::FutureExt::catch_unwind(opened).await.unwrap_err();
    let said = refused.downcast_ref::<String>().unwrap();
    assert!(said.contains("severity < 3") && said.contains("RetentionRule"), "{said}");
}
