//! Counts every attempt of every request, whatever comes of it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use crate::metrics::{Metrics, RequestKind};

/// See the module.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Metered<S> {
    /// Counts what `inner` is asked.
    pub(crate) const fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    fn count<T>(&self, kind: RequestKind, answer: Result<T>) -> Result<T> {
        self.metrics.request(kind, answer.as_ref().err());
        answer
    }
}

/// Counts the parts of an upload and its end.
#[derive(Debug)]
struct MeteredUpload {
    inner: Box<dyn MultipartUpload>,
    metrics: Arc<Metrics>,
}

#[async_trait]
impl MultipartUpload for MeteredUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.metrics.sent(data.content_length());
        let (part, metrics) = (self.inner.put_part(data), Arc::clone(&self.metrics));
        Box::pin(part.inspect(move |sent| metrics.request(RequestKind::Put, sent.as_ref().err())))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let completed = self.inner.complete().await;
        self.metrics.request(RequestKind::Put, completed.as_ref().err());
        completed
    }

    async fn abort(&mut self) -> Result<()> {
        let aborted = self.inner.abort().await;
        self.metrics.request(RequestKind::Delete, aborted.as_ref().err());
        aborted
    }
}

impl<S: std::fmt::Display> std::fmt::Display for Metered<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

/// A listing counts as one request; its further pages are not seen from here.
fn count_listing(
    metrics: Arc<Metrics>,
    listing: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    metrics.request(RequestKind::List, None);
    let count = move |item: &Result<ObjectMeta>| {
        if let Err(error) = item {
            metrics.request(RequestKind::List, Some(error));
        }
    };
    listing.inspect(count).boxed()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for Metered<S> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.metrics.sent(payload.content_length());
        self.count(RequestKind::Put, self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.inner.put_multipart_opts(location, options).await;
        let inner = self.count(RequestKind::Put, begun)?;
        Ok(Box::new(MeteredUpload { inner, metrics: Arc::clone(&self.metrics) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let answer = self.count(RequestKind::Get, self.inner.get_opts(location, options).await)?;
        self.metrics.received(answer.range.end - answer.range.start);
        Ok(answer)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let answer = self.inner.get_ranges(location, ranges).await;
        let parts = self.count(RequestKind::Get, answer)?;
        self.metrics.received(parts.iter().map(|part| part.len() as u64).sum());
        Ok(parts)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let metrics = Arc::clone(&self.metrics);
        let count = move |answer: &Result<Path>| {
            metrics.request(RequestKind::Delete, answer.as_ref().err());
        };
        self.inner.delete_stream(locations).inspect(count).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        count_listing(Arc::clone(&self.metrics), self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        count_listing(Arc::clone(&self.metrics), self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.count(RequestKind::List, self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.count(RequestKind::Put, self.inner.copy_opts(from, to, options).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.count(RequestKind::Put, self.inner.rename_opts(from, to, options).await)
    }
}
