//! An object of a folder that comes in parts.
//!
//! Invariant: until `complete` there is only a file in a folder of its own that no listing of
//! objects sees; after it, the object is whole on disk under its name. What a crash leaves there
//! goes when the folder is opened a day later.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::{create_folders, generic, sync_folder};

/// The folder of what is not whole yet, in the root.
const STAGED: &str = ".uploads";

/// Nobody uploads one object for so long.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// See the module.
#[derive(Debug)]
pub(super) struct Staged {
    file: Arc<Mutex<File>>,
    staged: PathBuf,
    place: PathBuf,
}

impl Staged {
    /// Begins an object that is to stand at `place`.
    pub(super) fn begin(root: &FilePath, place: PathBuf) -> io::Result<Self> {
        let folder = root.join(STAGED);
        create_folders(&folder)?;
        let staged = folder.join(format!("{:032x}", rand::random::<u128>()));
        let file = Arc::new(Mutex::new(File::create_new(&staged)?));
        Ok(Self { file, staged, place })
    }
}

/// Removes what earlier processes left.
pub(super) fn sweep(root: &FilePath) -> io::Result<()> {
    let listed = match fs::read_dir(root.join(STAGED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    for entry in listed {
        let entry = entry?;
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > ABANDONED_AFTER {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[async_trait]
impl MultipartUpload for Staged {
    /// Parts are written in the order in which they are waited for: wait for each before the next.
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let file = Arc::clone(&self.file);
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                data.iter().try_for_each(|bytes| file.write_all(bytes))
            });
            work.await?.map_err(|source| generic(source.into()))
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (file, staged, place) =
            (Arc::clone(&self.file), self.staged.clone(), self.place.clone());
        let work = tokio::task::spawn_blocking(move || {
            file.lock().unwrap_or_else(PoisonError::into_inner).sync_all()?;
            let Some(folder) = place.parent() else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "an object needs a folder",
                ));
            };
            create_folders(folder)?;
            fs::rename(&staged, &place)?;
            sync_folder(folder)
        });
        work.await?.map_err(|source| generic(source.into()))?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        match fs::remove_file(&self.staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(generic(error.into())),
            _ => Ok(()),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After `complete` it is gone; where it cannot be removed, the next sweep does it.
        drop(fs::remove_file(&self.staged));
    }
}
