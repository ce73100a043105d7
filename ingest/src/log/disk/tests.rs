//! One suite for every folder: that of the machine, and the one that tests make fail.

use super::super::faults::FaultyFolder;
use super::*;

/// What the log relies on.
fn check(folder: &dyn Folder) {
    assert_eq!(folder.files().unwrap(), []);
    let mut file = folder.create("one").unwrap();
    file.append(b"first, ").unwrap();
    file.append(b"second").unwrap();
    file.sync().unwrap();
    folder.sync().unwrap();
    assert_eq!(folder.read("one", 0, 100).unwrap(), b"first, second");
    assert_eq!(folder.read("one", 7, 3).unwrap(), b"sec");
    assert_eq!(folder.read("one", 50, 3).unwrap(), b"");
    assert_eq!(folder.files().unwrap(), [("one".to_owned(), 13)]);

    file.cut(7).unwrap();
    assert_eq!(folder.read("one", 0, 100).unwrap(), b"first, ");
    file.append(b"third").unwrap();
    assert_eq!(folder.read("one", 0, 100).unwrap(), b"first, third", "appended at the new end");
    folder.cut("one", 5).unwrap();
    assert_eq!(folder.read("one", 0, 100).unwrap(), b"first");

    folder.remove("one").unwrap();
    for gone in [folder.remove("one").unwrap_err(), folder.read("one", 0, 1).unwrap_err()] {
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }
    assert_eq!(folder.files().unwrap(), []);
}

/// Scenario: files are made, grown, cut, read in parts and removed, on either kind of folder.
/// Guarantees: both behave alike, so that what is proven with faults holds on a disk.
#[test]
fn folders_behave_alike() {
    check(&FaultyFolder::default());
    let dir = tempfile::tempdir().unwrap();
    check(&DiskFolder::open(&dir.path().join("made/on/the/way")).unwrap());
}

/// Scenario: a segment of a name that is there already.
/// Guarantees: refused, so that no segment is ever overwritten.
#[test]
fn a_file_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let folder = DiskFolder::open(dir.path()).unwrap();
    folder.create("one").unwrap().append(b"kept").unwrap();
    assert_eq!(folder.create("one").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(folder.read("one", 0, 10).unwrap(), b"kept");
}

/// Scenario: the lock is taken twice, then let go.
/// Guarantees: one owner at a time.
#[test]
fn a_folder_has_one_lock() {
    let dir = tempfile::tempdir().unwrap();
    let lock = FolderLock::take(dir.path()).unwrap();
    assert!(lock.is_some());
    assert!(FolderLock::take(dir.path()).unwrap().is_none());
    drop(lock);
    assert!(FolderLock::take(dir.path()).unwrap().is_some());
}
