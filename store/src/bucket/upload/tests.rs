//! Uploads to a folder and to memory.

use std::fs;

use object_store::memory::InMemory;
use tempfile::TempDir;

use super::*;
use crate::bucket::Puts;
use crate::bucket::faulty::{Fault, Faults, Faulty};
use crate::bucket::folder::Folder;

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

/// Scenario: a process died in the middle of an upload, just now and long ago; the folder is
/// opened again.
/// Guarantees: what is old goes, what may still be wanted stays.
#[test]
fn what_a_crash_left_is_swept() {
    let folder = TempDir::new().unwrap();
    let uploads = folder.path().join(".uploads");
    fs::create_dir(&uploads).unwrap();
    let old = fs::File::create(uploads.join("old")).unwrap();
    let long_ago = std::time::Duration::from_secs(25 * 3600);
    old.set_modified(old.metadata().unwrap().modified().unwrap() - long_ago).unwrap();
    fs::File::create(uploads.join("young")).unwrap();
    Folder::open(folder.path()).unwrap();
    assert!(!uploads.join("old").exists() && uploads.join("young").exists());
}
