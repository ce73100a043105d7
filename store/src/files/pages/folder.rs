//! The folder of the cache: whose it is, and what is in it at a start.
//!
//! Invariant: one process has it at a time. What is in it and is not ours goes; what is of another version
//! goes as well, unless a process has it.

use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::disk::open as open_file;
use super::shelf::Name;

/// The folder of this version; one of another is not looked at.
const FOLDER: &str = "pages-1";
const ANY_VERSION: &str = "pages-";

/// Held by the process that has the folder.
const LOCK: &str = "lock";

/// The folder in `base`, for as long as the lock is held; `None` where another process has it.
pub(super) fn open(base: &Path) -> Result<Option<(PathBuf, File)>> {
    let folder = base.join(FOLDER);
    std::fs::create_dir_all(&folder)?;
    // What a link leads to would be tidied up as if it were ours.
    if !std::fs::symlink_metadata(&folder)?.is_dir() {
        return Err(Error::new(ErrorKind::NotADirectory, "it is a link"));
    }
    let Some(lock) = locked(&folder)? else { return Ok(None) };
    remove_others(base, |name| name != FOLDER)?;
    Ok(Some((folder, lock)))
}

/// Removes what is in `base` of any version, unless a process has it.
pub(super) fn clear(base: &Path) -> Result<()> {
    match remove_others(base, |_| true) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn locked(folder: &Path) -> Result<Option<File>> {
    let mut options = File::options();
    let lock = open_file(&folder.join(LOCK), options.write(true).create(true).truncate(false))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn remove_others(base: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    for entry in std::fs::read_dir(base)?.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_str().filter(|name| name.starts_with(ANY_VERSION) && wanted(name));
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if name.is_some()
            && is_folder
            && let Err(error) = remove_unheld(&path)
        {
            warn!(folder = %path.display(), %error, "a page cache of before cannot be removed");
        }
    }
    Ok(())
}

fn remove_unheld(folder: &Path) -> Result<()> {
    match locked(folder)? {
        Some(_lock) => std::fs::remove_dir_all(folder),
        None => Ok(()),
    }
}

/// What is in the folder, and of how many bytes, the one written longest ago first. Files that are none of
/// the cache's are removed.
pub(super) fn list(folder: &Path) -> Result<Vec<(Name, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // Of a link it is that of the link.
        let (name, about) = (entry.file_name(), entry.metadata()?);
        match name.to_str().and_then(Name::parse) {
            Some(name) if about.is_file() => found.push((about.modified()?, name, about.len())),
            _ if name.to_str() == Some(LOCK) => {}
            // A folder, a link or a pipe in the place of a file would be opened as one.
            _ if about.is_dir() => std::fs::remove_dir_all(entry.path())?,
            _ => std::fs::remove_file(entry.path())?,
        }
    }
    found.sort_by_key(|(modified, ..)| *modified);
    Ok(found.into_iter().map(|(_, name, bytes)| (name, bytes)).collect())
}
