//! The folder of the cache: whose it is, and what is in it at a start.
//!
//! Invariant: one process has it at a time. What is in it and is not ours goes; what is of another version
//! goes as well, unless a process has it.

use std::fs::{File, TryLockError};
use std::io::Result;
use std::path::{Path, PathBuf};

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
    let Some(lock) = locked(&folder)? else { return Ok(None) };
    remove_others(base)?;
    Ok(Some((folder, lock)))
}

fn locked(folder: &Path) -> Result<Option<File>> {
    let lock = File::create(folder.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn remove_others(base: &Path) -> Result<()> {
    for entry in std::fs::read_dir(base)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(ANY_VERSION) && name != FOLDER && locked(&path)?.is_some() {
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// What is in the folder, and of how many bytes, the one written longest ago first. Files that are none of
/// the cache's are removed.
pub(super) fn list(folder: &Path) -> Result<Vec<(Name, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (name, about) = (entry.file_name(), entry.metadata()?);
        match name.to_str().and_then(Name::parse) {
            Some(name) if about.is_file() => found.push((about.modified()?, name, about.len())),
            _ if about.is_file() && name.to_str() != Some(LOCK) => {
                std::fs::remove_file(entry.path())?;
            }
            _ => {}
        }
    }
    found.sort_by_key(|(modified, ..)| *modified);
    Ok(found.into_iter().map(|(_, name, bytes)| (name, bytes)).collect())
}
