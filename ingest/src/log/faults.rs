//! A disk in memory that fails when it is told to, and forgets what was not synced.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Folder, LogFile};

/// A folder on such a disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultyFolder {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<String, Stored>,
    /// How many more bytes can be written; then each write fails.
    pub(crate) room: Option<usize>,
    /// How many of the next syncs fail.
    pub(crate) failing_syncs: usize,
    /// Whether cutting a file fails as well.
    pub(crate) failing_cuts: bool,
}

#[derive(Debug, Default, Clone)]
struct Stored {
    bytes: Vec<u8>,
    synced: usize,
}

#[derive(Debug)]
struct FaultyFile {
    folder: FaultyFolder,
    name: String,
}

impl FaultyFolder {
    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    pub(crate) fn disk_files(&self) -> usize {
        self.disk().files.len()
    }

    /// The machine loses power: of each file what was synced is left, and `kept` bytes more.
    pub(crate) fn lose_power(&self, kept: usize) {
        let mut disk = self.disk();
        for file in disk.files.values_mut() {
            file.bytes.truncate(file.synced + kept);
            file.synced = file.bytes.len();
        }
        *disk = Disk { files: std::mem::take(&mut disk.files), ..Disk::default() };
    }

    /// Changes a file behind the log's back.
    pub(crate) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let file = disk.files.entry(name.to_owned()).or_default();
        change(&mut file.bytes);
        file.synced = file.bytes.len();
    }
}

impl Folder for FaultyFolder {
    fn files(&self) -> io::Result<Vec<(String, u64)>> {
        let disk = self.disk();
        let listed = disk.files.iter().map(|(name, file)| (name.clone(), file.bytes.len() as u64));
        Ok(listed.collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let before = self.disk().files.insert(name.to_owned(), Stored::default());
        assert!(before.is_none(), "positions are never reused, so neither is {name}");
        Ok(Box::new(FaultyFile { folder: self.clone(), name: name.to_owned() }))
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let disk = self.disk();
        let file = disk.files.get(name).ok_or(ErrorKind::NotFound)?;
        let start = usize::try_from(offset).unwrap().min(file.bytes.len());
        let end = (start + len).min(file.bytes.len());
        Ok(file.bytes[start..end].to_vec())
    }

    fn cut(&self, name: &str, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        self.damage(name, |bytes| bytes.truncate(len));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk().files.remove(name).map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl FaultyFile {
    fn with<T>(&self, work: impl FnOnce(&mut Stored) -> T) -> T {
        work(self.folder.disk().files.get_mut(&self.name).unwrap())
    }
}

impl LogFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = {
            let mut disk = self.folder.disk();
            let fits = disk.room.map_or(bytes.len(), |room| room.min(bytes.len()));
            disk.room = disk.room.map(|room| room - fits);
            fits
        };
        self.with(|file| file.bytes.extend_from_slice(&bytes[..fits]));
        if fits < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.folder.disk();
        if disk.failing_syncs > 0 {
            disk.failing_syncs -= 1;
            return Err(io::Error::other("the disk is broken"));
        }
        drop(disk);
        self.with(|file| file.synced = file.bytes.len());
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        if self.folder.disk().failing_cuts {
            return Err(io::Error::other("the disk is broken"));
        }
        let len = usize::try_from(len).unwrap();
        self.with(|file| {
            file.bytes.truncate(len);
            file.synced = file.synced.min(len);
        });
        Ok(())
    }
}
