//! A folder keeps what a bucket promises.

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use tempfile::TempDir;

use super::*;

fn create() -> PutOptions {
    PutOptions { mode: PutMode::Create, ..PutOptions::default() }
}

/// Scenario: an object is created, created again, overwritten, read, and listed, in new folders.
/// Guarantees: a second create is refused and changes nothing; nothing half-written is listed.
#[tokio::test]
async fn a_folder_refuses_a_second_create() {
    let root = TempDir::new().unwrap();
    let folder = Folder::open(&root.path().join("not/yet/there")).unwrap();
    let path = Path::from("a/b/c.json");
    folder.put_opts(&path, "one".into(), create()).await.unwrap();
    let again = folder.put_opts(&path, "two".into(), create()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(&folder.get(&path).await.unwrap().bytes().await.unwrap()[..], b"one");
    folder.put(&path, "three".into()).await.unwrap();
    assert_eq!(&folder.get(&path).await.unwrap().bytes().await.unwrap()[..], b"three");
    let listed: Vec<ObjectMeta> = folder.list(None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    let files = fs::read_dir(root.path().join("not/yet/there/a/b")).unwrap();
    assert_eq!(files.count(), 1, "nothing is left beside it");
}

/// Scenario: sixteen tasks create one object at the same moment.
/// Guarantees: one wins.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_creates_one_wins() {
    let root = TempDir::new().unwrap();
    let folder = Arc::new(Folder::open(root.path()).unwrap());
    let creates = (0..16).map(|number| {
        let folder = Arc::clone(&folder);
        tokio::spawn(async move {
            let path = Path::from("x/one");
            folder.put_opts(&path, number.to_string().into(), create()).await.is_ok()
        })
    });
    let answers = futures::future::join_all(creates).await;
    assert_eq!(answers.into_iter().filter(|won| *won.as_ref().unwrap()).count(), 1);
}
