//! The index is a cache: deleted, torn, foreign or shared, the answers are the same.

use std::fs;
use std::path::Path;

use icecore_store::{RebuildProgress, Store, Table, TimeRange};
use url::Url;

use crate::bench::{Bench, check, scrape, writer};
use crate::sample::{HOUR, commit};

async fn fill(store: &Store, number: u128, names: &[&str]) {
    store.register_writer(writer(number)).await.unwrap();
    for (turn, name) in (0u64..).zip(names) {
        let rows = commit(writer(number), turn * 10, turn * 10 + 10, HOUR, name, 2);
        store.commit(rows).await.unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Scenario: a start with the index of the last one, with none, with rubbish, and a rebuild by
/// hand.
/// Guarantees: equal answers; only the first start reads no old record again.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_can_be_deleted_or_torn() {
    let bench = Bench::folder();
    let parts = [("a", 2), ("b", 2), ("c", 2)];
    fill(&*bench.open("a").await, 1, &["a", "b", "c"]).await;
    let (store, registry) = bench.try_open("a").await.unwrap();
    assert!(!scrape(&registry).contains("icecore_store_index_rebuilds_total{"));
    check(&store, &parts).await;
    store.rebuild_index(|_| ()).await.unwrap();
    check(&store, &parts).await;
    drop(store);
    fs::remove_dir_all(bench.index("a")).unwrap();
    let (store, registry) = bench.try_open("a").await.unwrap();
    let scraped = scrape(&registry);
    assert!(
        scraped.contains("icecore_store_index_rebuilds_total{reason=\"missing\"} 1"),
        "{scraped}"
    );
    check(&store, &parts).await;
    drop(store);
    for damage in [
        (|index| fs::write(index.join("catalog/db"), b"").unwrap()) as fn(&Path),
        |index| fs::write(index.join("catalog/db"), b"rubbish").unwrap(),
        |index| fs::write(index.join("catalog/conf"), b"rubbish").unwrap(),
    ] {
        damage(&bench.index("a"));
        check(&*bench.open("a").await, &parts).await;
    }
}

/// Scenario: an index is used with another bucket, and with an older copy of its own.
/// Guarantees: it is found out, and only the bucket's rows are there.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_another_bucket_is_not_believed() {
    let (one, mut two) = (Bench::folder(), Bench::folder());
    fill(&*one.open("a").await, 1, &["a", "b"]).await;
    let old = one.local.path().join("old");
    copy(&one.local.path().join("bucket"), &old);
    fill(&*two.open("a").await, 1, &["x", "y", "z"]).await;
    fill(&*one.open("a").await, 1, &["a", "b", "c"]).await;
    copy(&one.index("a"), &two.index("b"));
    check(&*two.open("b").await, &[("x", 2), ("y", 2), ("z", 2)]).await;
    copy(&one.index("a"), &two.index("c"));
    two.storage = Url::from_directory_path(&old).unwrap();
    check(&*two.open("c").await, &[("a", 2), ("b", 2)]).await;
}

/// Scenario: a bucket is copied away and opened elsewhere, without any index.
/// Guarantees: the same files, and the log position up to which a writer is covered.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_bucket_is_whole() {
    let mut bench = Bench::folder();
    let store = bench.open("a").await;
    fill(&store, 1, &["a", "b"]).await;
    let copied = bench.local.path().join("copied");
    copy(&bench.local.path().join("bucket"), &copied);
    bench.storage = Url::from_directory_path(&copied).unwrap();
    let other = bench.open("b").await;
    check(&other, &[("a", 2), ("b", 2)]).await;
    let covered = |store: &Store| store.snapshot().covered_to(writer(1));
    assert_eq!(covered(&other), covered(&store));
    let files = |store: &Store| store.snapshot().files(Table::Logs, TimeRange::ALL);
    assert_eq!(files(&other), files(&store));
}

/// Scenario: two processes share an index folder by mistake.
/// Guarantees: the second goes without an index and answers the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_index_folder_harms_nobody() {
    let bench = Bench::folder();
    let first = bench.open("a").await;
    fill(&first, 1, &["a", "b"]).await;
    let second = bench.open("a").await;
    check(&second, &[("a", 2), ("b", 2)]).await;
    check(&first, &[("a", 2), ("b", 2)]).await;
}

/// Scenario: the index folder is deleted under a running store.
/// Guarantees: it goes on, and the next start makes the index anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_can_be_deleted_while_it_is_used() {
    let bench = Bench::folder();
    let store = bench.open("a").await;
    fill(&store, 1, &["a"]).await;
    fs::remove_dir_all(bench.index("a")).unwrap();
    let rows = commit(writer(1), 10, 20, HOUR, "b", 2);
    store.commit(rows).await.unwrap();
    check(&store, &[("a", 2), ("b", 2)]).await;
    drop(store);
    check(&*bench.open("a").await, &[("a", 2), ("b", 2)]).await;
}

/// Scenario: the index is made anew while commits go on; then the process starts again. A second
/// process asks for the same with the folder of the first.
/// Guarantees: progress is told up to the last record; no commit is lost, here or in the index; who
/// has no index is told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_goes_on_beside_commits() {
    let bench = Bench::folder();
    let store = bench.open("a").await;
    let names = ["a", "b", "c", "d", "e", "f"];
    fill(&store, 1, &names[..3]).await;
    let told = std::sync::Mutex::new(Vec::new());
    let rebuild = store.rebuild_index(|progress| told.lock().unwrap().push(progress));
    let commits = async {
        for (turn, name) in (3u64..).zip(&names[3..]) {
            let rows = commit(writer(1), turn * 10, turn * 10 + 10, HOUR, name, 2);
            store.commit(rows).await.unwrap();
        }
    };
    let (rebuilt, ()) = tokio::join!(rebuild, commits);
    rebuilt.unwrap();
    let told = told.into_inner().unwrap();
    let all = |progress: &RebuildProgress| match *progress {
        RebuildProgress::Records { read, of } => read == of && of >= 3,
        _ => false,
    };
    assert!(told.iter().any(all), "{told:?}");
    let parts = names.map(|name| (name, 2));
    check(&store, &parts).await;
    let second = bench.open("a").await;
    let refused = second.rebuild_index(|_| ()).await.unwrap_err().to_string();
    assert!(refused.contains("rebuild the index"), "{refused}");
    drop((store, second));
    let (store, registry) = bench.try_open("a").await.unwrap();
    check(&store, &parts).await;
    let scraped = scrape(&registry);
    assert!(!scraped.contains("icecore_store_index_rebuilds_total{"), "{scraped}");
}
