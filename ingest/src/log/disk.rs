//! The few file operations that the log needs, behind a trait so that tests can make each fail.
//!
//! Invariant: nothing else under `log/` touches the file system.

use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A segment that is being written.
pub(crate) trait LogFile: Debug + Send {
    /// Writes all of `bytes` at the end. After an error an unknown part of them is there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything appended is on disk (`fdatasync`).
    fn sync(&mut self) -> io::Result<()>;

    /// Drops everything from `len` on.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

/// The folder that the segments are in.
pub(crate) trait Folder: Debug + Send + Sync {
    /// The names of the files, and how many bytes each has.
    fn files(&self) -> io::Result<Vec<(String, u64)>>;

    /// A new, empty file; one of that name must not be there.
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>>;

    /// At most `len` bytes from `offset` on; fewer only where the file ends.
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>>;

    /// Drops everything from `len` on, durably.
    fn cut(&self, name: &str, len: u64) -> io::Result<()>;

    /// Deletes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns once the names of new files are on disk.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the machine's file system.
#[derive(Debug)]
pub(crate) struct DiskFolder {
    path: PathBuf,
}

impl DiskFolder {
    /// The folder at `path`, made when missing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self { path: path.to_owned() })
    }
}

impl LogFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

impl Folder for DiskFolder {
    fn files(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            // A name that is not text is not one of ours.
            if let Ok(name) = entry.file_name().into_string() {
                files.push((name, entry.metadata()?.len()));
            }
        }
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let options = OpenOptions::new().append(true).create_new(true).to_owned();
        Ok(Box::new(options.open(self.path.join(name))?))
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path.join(name))?;
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn cut(&self, name: &str, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path.join(name))?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Keeps other processes out of a log folder for as long as it lives; the system lets go of it
/// when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// `None` where another process has the folder.
    pub(crate) fn take(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
