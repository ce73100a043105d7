//! The right to be forgotten.

use super::bench::{Bench, check, erased, forget};
use crate::catalog::append::read_record;
use crate::catalog::collect::list_data;
use crate::catalog::record::Body;
use crate::model::Table;
use crate::retention::EraseRequest;
use crate::retention::erase::erasure_digest;

/// Scenario: rows of one name in one file of three; a trial first, then at once.
/// Guarantees: a trial changes nothing; then they are gone and the others are not; the proof read
/// the bucket; the old file is absent; the record says what was done and not of whom.
#[tokio::test]
async fn what_is_erased_is_gone_from_the_bucket() {
    let bench = Bench::new(&[]);
    let store = bench.open("a").await;
    bench.write(&store, 0, "ada", 2).await;
    bench.write(&store, 1, "bob", 3).await;
    bench.write(&store, 2, "cyd", 1).await;
    let everybody = ["ada-0", "ada-1", "bob-0", "bob-1", "bob-2", "cyd-0"];
    let trial = erased(&store, EraseRequest { trial: true, ..forget("body has bob-1") }).await;
    assert_eq!((trial.deleted.rows(), trial.left, trial.record), ((1, 0), 1, None));
    check(&store, &everybody).await;
    let before = list_data(&store.bucket).await.unwrap();
    let report = erased(&store, forget("body has bob-1")).await;
    assert_eq!((report.deleted.rows(), report.deleted.files()), ((1, 0), 1));
    assert_eq!((report.left, report.held, report.tables), (0, 0, vec![Table::Logs]));
    assert!(report.proof_files >= 3 && report.leftovers.is_empty() && report.unreadable.is_empty());
    let after = list_data(&store.bucket).await.unwrap();
    let gone: Vec<_> = before.iter().filter(|path| !after.contains(path)).cloned().collect();
    assert_eq!(gone, report.absent);
    check(&store, &["ada-0", "ada-1", "bob-0", "bob-2", "cyd-0"]).await;
    check(&bench.open("b").await, &["ada-0", "ada-1", "bob-0", "bob-2", "cyd-0"]).await;
    let (path, salt) = (report.record.unwrap(), report.salt.unwrap());
    let text = store.bucket.read(&path).await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&text).contains("bob"));
    let Body::Erasure(written) = read_record(&store.bucket, &path).await.unwrap().unwrap().body
    else {
        panic!("{path} is no erasure");
    };
    assert_eq!((written.rows, written.by.as_str()), (1, "a test"));
    assert_eq!(written.digest, erasure_digest(&salt, "body has bob-1"));
    assert_ne!(written.digest, erasure_digest("other", "body has bob-1"));
}

/// Scenario: an erasure that leaves the old files their grace; the grace passes.
/// Guarantees: until then the old file is named and when it goes; afterwards it is absent, and
/// erasing again says so.
#[tokio::test]
async fn old_files_have_their_grace() {
    let bench = Bench::new(&[]);
    let store = bench.open("a").await;
    bench.write(&store, 0, "ada", 2).await;
    let gently = || EraseRequest { now: false, ..forget("body has ada-1") };
    let report = erased(&store, gently()).await;
    assert_eq!((report.left, report.leftovers.len(), report.absent.len()), (0, 1, 0));
    assert_eq!(report.leftovers[0].rows, 1);
    assert!(report.gone_by.is_some_and(|by| by.0 > crate::sample::HOUR));
    bench.pass(1);
    assert_eq!(store.collect_garbage().await.unwrap(), 1);
    let again = erased(&store, gently()).await;
    assert_eq!((again.deleted.rows(), again.left, again.leftovers.len()), ((0, 0), 0, 0));
    check(&store, &["ada-0"]).await;
}

/// Scenario: objects that count no more hold such rows: the inputs of a merge, an orphan of a commit
/// that died; one whose record may still come.
/// Guarantees: those that can never count are found and deleted; the other is named and left alone.
#[tokio::test]
async fn what_counts_no_more_is_found_as_well() {
    let bench = Bench::new(&[]);
    let store = bench.open("a").await;
    bench.write(&store, 0, "ada", 2).await;
    bench.write(&store, 0, "bob", 2).await;
    bench.pass(1);
    assert_eq!(store.compact().await.unwrap().merges, 1);
    bench.faults.inject(crate::bucket::faulty::Fault::BeforePut("catalog/"));
    let writer = crate::model::WriterId(ulid::Ulid::from_parts(1, 1));
    let hour = crate::sample::HOUR;
    let dying = crate::sample::commit(writer, 20, 30, hour, "ada-late", 1);
    store.commit(dying.clone()).await.unwrap_err();
    let report = erased(&store, forget("body has ada")).await;
    assert_eq!((report.deleted.rows(), report.left), ((2, 0), 0));
    assert_eq!(report.absent.len(), 2, "the input of the merge, and its output");
    assert_eq!(report.leftovers.len(), 1, "its writer may still be at it");
    assert_eq!(report.leftovers[0].gone_by, None);
    store.commit(dying).await.unwrap();
    let report = erased(&store, forget("body has ada")).await;
    assert_eq!((report.deleted.rows(), report.leftovers.len()), ((1, 0), 0));
    check(&store, &["bob-0", "bob-1"]).await;
}

/// Scenario: a condition that no table understands.
/// Guarantees: nothing is touched, and the condition is told.
#[tokio::test]
async fn an_erasure_must_be_understood() {
    let bench = Bench::new(&[]);
    let store = bench.open("a").await;
    bench.write(&store, 0, "ada", 2).await;
    let refused = store.erase(forget("nonsense"), None, &|_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("nonsense"), "{refused}");
    check(&store, &["ada-0", "ada-1"]).await;
}
