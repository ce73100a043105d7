//! Where queries put what memory has no room for.
//!
//! Invariant: each process has a folder of its own, which goes with it; what one that was killed left
//! is removed by the next that starts, and of one that lives nothing is. A query that puts nothing on
//! disk touches none. What one query puts there has a bound, and so has what all do together (`room.rs`).

mod room;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::{SpillFile, TempFileFactory};

pub(crate) use self::room::NoRoom;
use self::room::Room;
use crate::metrics::Spilled;

/// Held by whoever makes and removes folders here.
const LOCK: &str = "lock";
/// In the folder of a process: held for as long as it lives.
const OWNED: &str = "owned";

/// The folder of this process.
#[derive(Debug)]
pub(crate) struct SpillFolder {
    path: PathBuf,
    room: Arc<Room>,
    _owned: File,
}

impl SpillFolder {
    /// Makes it in `base`, for at most so many bytes of all queries together, and removes the folders
    /// of processes that are gone.
    pub(crate) fn open(base: &Path, bytes_max: u64, figures: Spilled) -> io::Result<Self> {
        let room = Arc::new(Room::new(bytes_max, figures));
        std::fs::create_dir_all(base)?;
        let lock = File::create(base.join(LOCK))?;
        lock.lock()?;
        for entry in std::fs::read_dir(base)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && !lives(&entry.path()) {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        let names = (0_u64..).map(|nth| base.join(format!("{}-{nth}", std::process::id())));
        for path in names {
            match std::fs::create_dir(&path) {
                Ok(()) => {
                    let owned = File::create(path.join(OWNED))?;
                    owned.lock()?;
                    return Ok(Self { path, room, _owned: owned });
                }
                // Of a process that lives in another place with other numbers, or of this one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// For the files of one query, at most so many bytes of them.
    pub(crate) fn of_query(&self, bytes_max: u64) -> Arc<dyn TempFileFactory> {
        let (folder, room) = (self.path.clone(), Arc::clone(&self.room));
        Arc::new(OfQuery { folder, bytes_max, room, files: OnceLock::new() })
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // What cannot be deleted now is found at the next start.
        drop(std::fs::remove_dir_all(&self.path));
    }
}

/// Whether the process whose folder this is may hold its lock: it has gone where the lock can be had, or
/// was never made, and nothing else says so.
fn lives(folder: &Path) -> bool {
    match File::open(folder.join(OWNED)) {
        Ok(file) => file.try_lock().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Makes a folder with the first file.
#[derive(Debug)]
struct OfQuery {
    folder: PathBuf,
    bytes_max: u64,
    room: Arc<Room>,
    files: OnceLock<Arc<DiskManager>>,
}

impl OfQuery {
    fn files(&self) -> Result<&Arc<DiskManager>> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let files = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![self.folder.clone()]))
            .with_max_temp_directory_size(self.bytes_max)
            .build()?;
        // Of two that come at once one made its folder for nothing.
        Ok(self.files.get_or_init(|| Arc::new(files)))
    }
}

impl TempFileFactory for OfQuery {
    fn create_temp_file(&self, description: &str) -> Result<Arc<dyn SpillFile>> {
        Ok(self.room.hold(self.files()?.create_tmp_file(description)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a process was killed, two live and use one folder; one of them ends.
    /// Guarantees: what was left is removed, what is in use is not, and what ends takes its own along.
    #[test]
    fn what_others_use_stays() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(base.path().join("7-0/datafusion-left")).unwrap();
        let one = SpillFolder::open(base.path(), 1, Spilled::default()).unwrap();
        assert!(!base.path().join("7-0").exists());
        let kept = one.path.join("kept");
        std::fs::write(&kept, "rows").unwrap();
        let two = SpillFolder::open(base.path(), 1, Spilled::default()).unwrap();
        assert!(kept.exists() && one.path != two.path);
        drop(one);
        assert!(!kept.exists() && two.path.exists());
    }
}
