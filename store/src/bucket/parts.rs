//! An S3 client whose uploads take a part again that failed.
//!
//! The client's own uploads give each try a number of its own, and an object that lacks a number cannot be
//! completed: a part that failed would take all others with it.
//!
//! Invariant: the parts of an object are those that were put, in the order in which they were waited for.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    UploadPart,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Parted<S>(Arc<S>);

impl<S> Parted<S> {
    /// The same objects.
    pub(crate) fn over(inner: S) -> Self {
        Self(Arc::new(inner))
    }
}

/// An upload under way.
struct Parts<S> {
    inner: Arc<S>,
    path: Path,
    id: MultipartId,
    put: Arc<Mutex<Vec<PartId>>>,
}

impl<S> fmt::Debug for Parts<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("path", &self.path).field("id", &self.id).finish()
    }
}

impl<S> Parts<S> {
    fn put(&self) -> Vec<PartId> {
        self.put.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl<S: MultipartStore> MultipartUpload for Parts<S> {
    /// Parts are put in the order in which they are waited for: wait for each before the next. One that failed
    /// counts as never put.
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (inner, path, id) = (Arc::clone(&self.inner), self.path.clone(), self.id.clone());
        let (at, put) = (self.put().len(), Arc::clone(&self.put));
        Box::pin(async move {
            let part = inner.put_part(&path, &id, at, data).await?;
            put.lock().unwrap_or_else(PoisonError::into_inner).push(part);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete_multipart(&self.path, &self.id, self.put()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort_multipart(&self.path, &self.id).await
    }
}

impl<S: fmt::Display> fmt::Display for Parted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore + MultipartStore> ObjectStore for Parted<S> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.0.put_opts(location, payload, options).await
    }

    /// Without options: nobody here has any.
    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let id = self.0.create_multipart(location).await?;
        let (inner, path) = (Arc::clone(&self.0), location.clone());
        Ok(Box::new(Parts { inner, path, id, put: Arc::default() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.0.rename_opts(from, to, options).await
    }
}
