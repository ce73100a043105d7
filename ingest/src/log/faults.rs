//! A disk in memory that fails when it is told to, and forgets what was not synced.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::RngExt;
use rand::rngs::StdRng;

use super::disk::{Folder, LogFile};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 16;

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
    /// How many of the next writes fail when half of it is written.
    pub(crate) failing_writes: usize,
    /// How many of the next syncs of the folder fail.
    pub(crate) failing_folder_syncs: usize,
    /// How many of the next syncs do nothing and say that they did.
    pub(crate) lying_syncs: usize,
    /// Files that were removed, until the folder is synced.
    removed: BTreeMap<String, Stored>,
}

#[derive(Debug, Default, Clone)]
struct Stored {
    bytes: Vec<u8>,
    synced: usize,
    /// What is on the platter.
    durable: Vec<u8>,
    /// Whether its name is.
    named: bool,
}

impl Stored {
    fn settle(&mut self) {
        self.synced = self.bytes.len();
        self.durable = self.bytes.clone();
    }

    /// What a power failure leaves: the cut that nobody synced may be undone, and of appended
    /// sectors any may be there or be zeros.
    fn tear(&mut self, numbers: &mut StdRng) {
        let kept = if self.bytes.len() < self.durable.len() && numbers.random_bool(0.5) {
            self.durable.clone()
        } else {
            let mut kept = self.durable.clone();
            kept.truncate(self.bytes.len());
            let appended = &self.bytes[kept.len()..];
            let left = numbers.random_range(0..=appended.len());
            for sector in appended[..left].chunks(SECTOR_BYTES) {
                let there = numbers.random_bool(0.7);
                kept.extend(sector.iter().map(|byte| if there { *byte } else { 0 }));
            }
            kept
        };
        self.bytes = kept;
        self.settle();
    }
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
            file.settle();
        }
        *disk = Disk { files: std::mem::take(&mut disk.files), ..Disk::default() };
    }

    /// The machine loses power as machines do: names that were not synced may be gone or back,
    /// and files are torn.
    pub(crate) fn pull_plug(&self, numbers: &mut StdRng) {
        let mut disk = self.disk();
        let Disk { mut files, removed, .. } = std::mem::take(&mut *disk);
        for (name, file) in removed {
            if numbers.random_bool(0.5) {
                files.entry(name).or_insert(file);
            }
        }
        files.retain(|_, file| file.named || numbers.random_bool(0.5));
        for file in files.values_mut() {
            file.tear(numbers);
            file.named = true;
        }
        disk.files = files;
    }

    /// Changes a file behind the log's back.
    pub(crate) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let file = disk.files.entry(name.to_owned()).or_default();
        change(&mut file.bytes);
        file.settle();
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
        let mut disk = self.disk();
        let file = disk.files.remove(name).ok_or(ErrorKind::NotFound)?;
        disk.removed.insert(name.to_owned(), file);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.failing_folder_syncs > 0 {
            disk.failing_folder_syncs -= 1;
            return Err(io::Error::other("the disk is broken"));
        }
        disk.removed.clear();
        disk.files.values_mut().for_each(|file| file.named = true);
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
        let (fits, failed) = {
            let mut disk = self.folder.disk();
            let fits = disk.room.map_or(bytes.len(), |room| room.min(bytes.len()));
            disk.room = disk.room.map(|room| room - fits);
            if disk.failing_writes > 0 {
                disk.failing_writes -= 1;
                (fits / 2, Some(io::Error::other("the disk is broken")))
            } else {
                (fits, (fits < bytes.len()).then(|| ErrorKind::StorageFull.into()))
            }
        };
        self.with(|file| file.bytes.extend_from_slice(&bytes[..fits]));
        failed.map_or(Ok(()), Err)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.folder.disk();
        if disk.failing_syncs > 0 {
            disk.failing_syncs -= 1;
            return Err(io::Error::other("the disk is broken"));
        }
        if disk.lying_syncs > 0 {
            disk.lying_syncs -= 1;
            return Ok(());
        }
        drop(disk);
        self.with(Stored::settle);
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
