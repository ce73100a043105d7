//! The index on a disk that is full.

use std::process::Command;

use super::*;

/// A file system of a few megabytes, gone with its folder.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where this process may not mount.
    pub(crate) fn mount(size: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let size = format!("size={size}");
        let mount = ["-t", "tmpfs", "-o", &size, "none"];
        let mounted = Command::new("mount").args(mount).arg(folder.path()).output();
        let done = mounted.is_ok_and(|output| output.status.success());
        if !done {
            eprintln!("SKIPPED: a full disk needs the right to mount a tmpfs");
        }
        done.then_some(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn grow(&self) {
        let grow = ["-o", "remount,size=64m"];
        assert!(Command::new("mount").args(grow).arg(self.path()).status().unwrap().success());
    }

    pub(crate) fn fill(&self) {
        let mut file = File::create(self.path().join("filler")).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

/// Scenario: a disk is full before the index is opened, or becomes full while it is written; later
/// there is room, and the process starts again.
/// Guarantees: an index that cannot be opened or written is off, and says so; nothing waits for it,
/// and what it says at the next start is what was written, or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_turns_the_index_off() {
    let Some(disk) = SmallDisk::mount("3m") else { return };
    let counted = metrics();
    let (index, _) = open(disk.path(), Arc::clone(&counted)).await;
    let (state, changes) = state(20_000);
    let mut written = 0;
    for some in changes.chunks(100) {
        index.write(some.to_vec()).await;
        if !index.is_on() {
            break;
        }
        written += some.len() as u64;
        disk_is_full_in_the_end(&disk, written);
    }
    assert!(!index.is_on(), "three megabytes were enough for {written} records");
    index.write(changes[..1].to_vec()).await;
    drop(index);

    let (index, _) = open(disk.path(), metrics()).await;
    drop(index);
    disk.grow();
    let (index, found) = reopen(disk.path()).await;
    assert!(found.snapshot().records() <= state.snapshot().records());
    if found.sequences().is_empty() {
        index.fill(state.clone()).await;
        drop(index);
        let (_index, found) = reopen(disk.path()).await;
        assert_eq!(found.snapshot().id(), state.snapshot().id());
    }
}

/// What else is on the disk takes the rest of it after a while.
fn disk_is_full_in_the_end(disk: &SmallDisk, written: u64) {
    if written == 1000 {
        disk.fill();
    }
}
