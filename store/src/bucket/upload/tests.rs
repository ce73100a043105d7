//! Uploads to a folder and to memory.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use url::Url;

use super::*;
use crate::bucket::Puts;
use crate::bucket::faulty::{Fault, Faults, Faulty};
use crate::bucket::folder::Folder;
use crate::bucket::open::stack;
use crate::bucket::parts::Parted;
use crate::chance::{Chance, Machine};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::ports::SystemClock;

const PATH: &str = "data/spans/date=2026-11-25/hour=10/x.parquet";

/// Bytes that differ everywhere.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

async fn fill(upload: &mut Upload<'_>, all: &[u8]) -> Result<(), Error> {
    for piece in all.chunks(3_000_001) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    Ok(())
}

fn folder_bucket(folder: &TempDir, faults: &Faults) -> Bucket {
    Faulty::bucket(Folder::open(folder.path()).unwrap(), faults, Puts::CreateOnly)
}

/// What lies in the folder of what is not whole yet.
fn staged(folder: &TempDir) -> usize {
    fs::read_dir(folder.path().join(".uploads")).map_or(0, Iterator::count)
}

/// Scenario: objects shorter than a part, of exactly two, and of some more, in odd pieces, into a
/// folder and into memory.
/// Guarantees: the object is the bytes, and nothing else is left.
#[tokio::test]
async fn an_object_is_its_parts() {
    let folder = TempDir::new().unwrap();
    let memory = Faulty::bucket(InMemory::new(), &Faults::default(), Puts::CreateOnly);
    for bucket in [folder_bucket(&folder, &Faults::default()), memory] {
        for count in [0, 1, PART_BYTES * 2, PART_BYTES * 2 + 5_000_000] {
            let (path, all) = (format!("{PATH}-{count}"), bytes(count));
            let mut upload = Upload::new(&bucket, path.clone());
            fill(&mut upload, &all).await.unwrap();
            upload.finish().await.unwrap();
            assert!(bucket.read(&path).await.unwrap().unwrap() == all, "{count}");
        }
        assert_eq!(bucket.list("data").await.unwrap().len(), 4);
    }
    assert_eq!(staged(&folder), 0);
}

/// Scenario: an upload is given up, is dropped as by a task that was cancelled, or fails at a
/// part and at its end, into a folder.
/// Guarantees: no object, and nothing left beside it.
#[tokio::test]
async fn what_is_not_finished_leaves_nothing() {
    let (folder, faults) = (TempDir::new().unwrap(), Faults::default());
    let bucket = folder_bucket(&folder, &faults);
    let all = bytes(PART_BYTES + 1);
    let mut aborted = Upload::new(&bucket, PATH.to_owned());
    fill(&mut aborted, &all).await.unwrap();
    assert_eq!(staged(&folder), 1);
    aborted.abort().await;
    assert_eq!(staged(&folder), 0);
    let mut dropped = Upload::new(&bucket, PATH.to_owned());
    fill(&mut dropped, &all).await.unwrap();
    drop(dropped);
    assert_eq!(staged(&folder), 0);
    faults.inject(Fault::BeforePut("data/"));
    let mut broken = Upload::new(&bucket, PATH.to_owned());
    assert!(fill(&mut broken, &all).await.unwrap_err().is_retryable());
    broken.abort().await;
    let mut broken = Upload::new(&bucket, PATH.to_owned());
    fill(&mut broken, &all).await.unwrap();
    faults.inject(Fault::BeforePut("data/"));
    assert!(broken.finish().await.unwrap_err().is_retryable());
    assert_eq!((staged(&folder), bucket.list("data").await.unwrap().len()), (0, 0));
}

/// Uploads three parts over a bucket that is far away and fails so at the part of this number, or at the end; what
/// was put, in bytes and requests.
async fn upload_over(faulty: Option<(usize, Fault)>) -> (u64, u64) {
    let (faults, mut registry) = (Faults::default(), Registry::default());
    let metrics = Arc::new(Metrics::register(&mut registry));
    let mut config = Config::new(Url::parse("s3://core").unwrap(), None);
    config.retry_backoff = Duration::from_millis(1);
    let machine = Machine { clock: Arc::new(SystemClock::new()), chance: Chance::seeded(7) };
    let objects = Parted::over(Faulty::over(InMemory::new(), &faults));
    let objects = stack(objects, &config, &machine, &metrics);
    let bucket = Bucket::new(Arc::new(objects), "s3://core", Puts::CreateOnly).in_parts_of(1000);
    let all = bytes(3000);
    let inject = |now: usize| {
        let due = faulty.iter().filter(|(at, _)| *at == now);
        due.for_each(|(_, fault)| faults.inject(*fault));
    };
    let mut upload = Upload::new(&bucket, PATH.to_owned());
    for (at, part) in all.chunks(1000).enumerate() {
        inject(at);
        upload.write(Bytes::copy_from_slice(part)).await.unwrap();
    }
    inject(3);
    upload.finish().await.unwrap();
    assert!(bucket.read(PATH).await.unwrap().unwrap() == all, "{faulty:?}");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let sum = |name: &str| {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    (sum("icecore_store_sent_bytes_total"), sum("icecore_store_requests_total{kind=\"put\""))
}

/// Scenario: over a network each part of an upload is lost on its way, and the answer to each; so is its end.
/// Guarantees: the object is the bytes, in order; what is sent again is that part alone.
#[tokio::test]
async fn a_part_that_fails_is_sent_again_alone() {
    assert_eq!(upload_over(None).await, (3000, 1 + 3 + 1));
    for fault in [Fault::BeforePut("data/"), Fault::AfterPut("data/")] {
        for part in 0..3 {
            assert_eq!(upload_over(Some((part, fault))).await, (4000, 6), "{fault:?}");
        }
        assert_eq!(upload_over(Some((3, fault))).await.0, 3000, "{fault:?}");
    }
}

/// Scenario: a process died in the middle of an upload, just now and long ago; the folder is
/// opened again.
/// Guarantees: what is old goes, what may still be wanted stays.
#[test]
fn what_a_crash_left_is_swept() {
    let folder = TempDir::new().unwrap();
    let uploads = folder.path().join(".uploads");
    fs::create_dir(&uploads).unwrap();
    let old = fs::File::create(uploads.join("old")).unwrap();
    let long_ago = Duration::from_secs(25 * 3600);
    old.set_modified(old.metadata().unwrap().modified().unwrap() - long_ago).unwrap();
    fs::File::create(uploads.join("young")).unwrap();
    Folder::open(folder.path()).unwrap();
    assert!(!uploads.join("old").exists() && uploads.join("young").exists());
}
