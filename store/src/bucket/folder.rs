//! A local folder as a bucket whose puts survive a power cut.
//!
//! `object_store` moves a finished file into place but never syncs it. A commit is what allows the
//! log to be trimmed, so a put here returns only when the file and its folders are on disk.
//!
//! Invariant: after `put_opts` returned `Ok`, the object is whole on disk under its name.

mod stretches;
mod upload;

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

use stretches::Spare;
use upload::Staged;

/// See the module.
#[derive(Debug)]
pub(crate) struct Folder {
    inner: LocalFileSystem,
    root: PathBuf,
    spare: Arc<Spare>,
}

impl Folder {
    /// The bucket in `root`, which is made where it is missing.
    pub(crate) fn open(root: &FilePath) -> Result<Self, Error> {
        fs::create_dir_all(root).map_err(|source| generic(source.into()))?;
        upload::sweep(root).map_err(|source| generic(source.into()))?;
        let inner = LocalFileSystem::new_with_prefix(root)?;
        Ok(Self { inner, root: root.to_owned(), spare: Arc::default() })
    }
}

impl std::fmt::Display for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Folder {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let path = self.inner.path_to_filesystem(location)?;
        let name = location.to_string();
        let work = tokio::task::spawn_blocking(move || put(&path, &payload, &options.mode));
        match work.await? {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: name, source: source.into() })
            }
            Err(source) => Err(generic(source.into())),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let place = self.inner.path_to_filesystem(location)?;
        let root = self.root.clone();
        let begun = tokio::task::spawn_blocking(move || Staged::begin(&root, place)).await?;
        Ok(Box::new(begun.map_err(|source| generic(source.into()))?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let path = self.inner.path_to_filesystem(location)?;
        let (ranges, spare) = (ranges.to_vec(), Arc::clone(&self.spare));
        let read = tokio::task::spawn_blocking(move || stretches::read(&path, &ranges, &spare));
        read.await?.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                Error::NotFound { path: location.to_string(), source: source.into() }
            }
            _ => generic(source.into()),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

/// Writes and syncs the object beside its place, then moves it there.
fn put(path: &FilePath, payload: &PutPayload, mode: &PutMode) -> io::Result<()> {
    let Some(folder) = path.parent() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an object needs a folder"));
    };
    create_folders(folder)?;
    let staged = staged_path(path);
    let moved = write_synced(&staged, payload).and_then(|()| match mode {
        // A hard link is the one move that fails where something is.
        PutMode::Create => fs::hard_link(&staged, path),
        PutMode::Overwrite => fs::rename(&staged, path),
        PutMode::Update(_) => Err(io::ErrorKind::Unsupported.into()),
    });
    // After a rename it is gone, after a failure it is in the way; a failure here only leaves it.
    drop(fs::remove_file(&staged));
    moved?;
    sync_folder(folder)
}

/// Listings skip names that end in `#` and digits, so a half-written object is never seen.
fn staged_path(path: &FilePath) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("#{}", rand::random::<u64>()));
    PathBuf::from(name)
}

fn write_synced(path: &FilePath, payload: &PutPayload) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    payload.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()
}

/// Makes the missing folders, and syncs each that got a new entry.
fn create_folders(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(parent) = folder.parent() else { return Ok(()) };
    create_folders(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(parent),
    }
}

fn sync_folder(folder: &FilePath) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic { store: "local folder", source }
}

#[cfg(test)]
mod tests;
