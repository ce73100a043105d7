//! A bucket that fails on demand: before a request reaches it, or after it was carried out.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};

use crate::bucket::{Bucket, Puts};

/// Which request fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The next put whose path contains the text never reaches the bucket.
    BeforePut(&'static str),
    /// The next put whose path contains the text is carried out, and its answer is lost.
    AfterPut(&'static str),
    /// The next listing of a folder whose path contains the text breaks off after one object.
    InList(&'static str),
    /// The next read of an object whose path contains the text is not answered.
    InGet(&'static str),
}

/// Where a test says what is to fail next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    /// One more fault, to happen once.
    pub(crate) fn inject(&self, fault: Fault) {
        self.0.lock().unwrap().push(fault);
    }

    fn before(&self, path: &str) -> Result<()> {
        let hits = |fault: &Fault| matches!(fault, Fault::BeforePut(text) if path.contains(text));
        if self.take(hits) { Err(broken()) } else { Ok(()) }
    }

    fn get(&self, path: &str) -> Result<()> {
        let hits = |fault: &Fault| matches!(fault, Fault::InGet(text) if path.contains(text));
        if self.take(hits) { Err(broken()) } else { Ok(()) }
    }

    fn after(&self, path: &str) -> Result<()> {
        let hits = |fault: &Fault| matches!(fault, Fault::AfterPut(text) if path.contains(text));
        if self.take(hits) { Err(broken()) } else { Ok(()) }
    }

    fn take(&self, hits: impl Fn(&Fault) -> bool) -> bool {
        let mut faults = self.0.lock().unwrap();
        let place = faults.iter().position(hits);
        place.map(|place| faults.remove(place)).is_some()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Faulty<S> {
    inner: S,
    faults: Faults,
}

impl<S: ObjectStore> Faulty<S> {
    /// `inner`, failing as `faults` says.
    pub(crate) fn over(inner: S, faults: &Faults) -> Self {
        Self { inner, faults: faults.clone() }
    }

    /// A bucket over `inner` that fails as `faults` says.
    pub(crate) fn bucket(inner: S, faults: &Faults, puts: Puts) -> Bucket {
        let objects = Arc::new(Self::over(inner, faults));
        Bucket::new(objects, "memory:///", puts)
    }
}

impl<S: std::fmt::Display> std::fmt::Display for Faulty<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl<S> Faulty<S> {
    fn break_off(
        &self,
        prefix: Option<&Path>,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = prefix.map_or("", AsRef::as_ref);
        if self.faults.take(|fault| matches!(fault, Fault::InList(text) if folder.contains(text))) {
            return listing.take(1).chain(futures::stream::iter([Err(broken())])).boxed();
        }
        listing
    }
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "the connection broke".into() }
}

/// Every part of an upload, and its end, is a put that may fail.
#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    faults: Faults,
    path: String,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (faults, path) = (self.faults.clone(), self.path.clone());
        let part = self.inner.put_part(data);
        Box::pin(async move {
            faults.before(&path)?;
            part.await?;
            faults.after(&path)
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.faults.before(&self.path)?;
        let answer = self.inner.complete().await?;
        self.faults.after(&self.path)?;
        Ok(answer)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

/// The same where parts have numbers.
#[async_trait]
impl<S: MultipartStore> MultipartStore for Faulty<S> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.inner.create_multipart(path).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        at: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        self.faults.before(path.as_ref())?;
        let part = self.inner.put_part(path, id, at, data).await?;
        self.faults.after(path.as_ref())?;
        Ok(part)
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.faults.before(path.as_ref())?;
        let answer = self.inner.complete_multipart(path, id, parts).await?;
        self.faults.after(path.as_ref())?;
        Ok(answer)
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.inner.abort_multipart(path, id).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for Faulty<S> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.faults.before(location.as_ref())?;
        let answer = self.inner.put_opts(location, payload, options).await?;
        self.faults.after(location.as_ref())?;
        Ok(answer)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        let (faults, path) = (self.faults.clone(), location.to_string());
        Ok(Box::new(FaultyUpload { inner, faults, path }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.faults.get(location.as_ref())?;
        let mut answer = self.inner.get_opts(location, options).await?;
        // It knows nothing of the time: tests bring their own clocks, and the machine's is not one.
        answer.meta.last_modified = DateTime::UNIX_EPOCH;
        Ok(answer)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.break_off(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.break_off(prefix, self.inner.list_with_offset(prefix, offset))
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
