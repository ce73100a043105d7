//! Tries a request again where the fault may pass, a bounded number of times.
//!
//! Invariant: what is tried again is safe to be done twice. A create-only put that meets its own
//! object answers "exists": whoever creates compares what is there before calling it a conflict.

mod upload;

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};
use tracing::debug;

use self::upload::RetryingUpload;
use crate::bucket::answers::{answered_whole, may_pass};
use crate::bucket::stretches::{apart, slice};
use crate::bucket::turn::Turn;
use crate::chance::{Chance, Machine};
use crate::config::Config;

/// How often and how patiently.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    /// Attempts after the first.
    pub(crate) retries_max: u32,
    /// The first wait; doubles.
    pub(crate) backoff: Duration,
    /// The longest wait.
    pub(crate) backoff_max: Duration,
    /// Whether each stretch of an object is a request of its own, as it is over a network.
    pub(crate) apart: bool,
}

impl Retry {
    /// What the settings say.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            retries_max: config.retries_max,
            backoff: config.retry_backoff,
            backoff_max: config.retry_backoff_max,
            apart: config.storage.scheme() != "file",
        }
    }

    /// The wait before attempt `attempt` (1 is the first further one), spread over half to all of
    /// it, so that many processes do not come back at once.
    fn wait(&self, attempt: u32, chance: &Chance) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        doubled.min(self.backoff_max).mul_f64(chance.within(0.5..1.0))
    }

    async fn run<T, F>(
        &self,
        machine: &Machine,
        (what, location): (&str, &Path),
        request: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut attempt = 0;
        loop {
            match request().await {
                Err(error) if attempt < self.retries_max && may_pass(&error) => {
                    attempt += 1;
                    let wait = self.wait(attempt, &machine.chance);
                    debug!(what, %location, attempt, ?wait, %error, "request failed, trying again");
                    machine.clock.sleep(wait).await;
                }
                answer => return answer,
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Retrying<S> {
    inner: Arc<S>,
    retry: Retry,
    machine: Machine,
}

impl<S> Retrying<S> {
    /// Tries again what `inner` failed at.
    pub(crate) fn new(inner: S, retry: Retry, machine: Machine) -> Self {
        Self { inner: Arc::new(inner), retry, machine }
    }
}

impl<S: ObjectStore> Retrying<S> {
    /// Reads a listing to its end within the attempt: one that breaks off half-way is begun anew,
    /// and nobody above sees an object twice. Whoever lists holds the whole listing anyway.
    fn listing(
        &self,
        location: Path,
        list: impl Fn(&S) -> BoxStream<'static, Result<ObjectMeta>> + Send + Sync + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, retry, machine) = (Arc::clone(&self.inner), self.retry, self.machine.clone());
        let listed = async move {
            let attempt = || list(&inner).try_collect::<Vec<_>>();
            retry.run(&machine, ("list", &location), attempt).await
        };
        let listed = futures::stream::once(listed);
        listed.map_ok(|objects| futures::stream::iter(objects).map(Ok)).try_flatten().boxed()
    }

    /// Each stretch by a request of its own, which is tried again alone.
    async fn stretches(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = async |range: Range<u64>| {
            let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
            let get =
                async || with_body(self.inner.get_opts(location, options.clone()).await?).await;
            self.retry.run(&self.machine, ("get", location), get).await?.bytes().await
        };
        apart(ranges, get).await
    }

    async fn whole(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let whole = self.inner.get_opts(location, GetOptions::default()).await?;
        let whole = whole.bytes().await?;
        ranges.iter().map(|range| slice(&whole, range.clone())).collect()
    }

    /// Reads the whole object where the server gives nothing less, and cuts the range out.
    async fn get_part(&self, location: &Path, options: &GetOptions) -> Result<GetResult> {
        let mut unranged = options.clone();
        let range = unranged.range.take();
        let whole = self.inner.get_opts(location, unranged).await?;
        let GetResult { meta, attributes, .. } = &whole;
        let (meta, attributes) = (meta.clone(), attributes.clone());
        let range = match range {
            Some(GetRange::Bounded(range)) => range.start..range.end.min(meta.size),
            Some(GetRange::Offset(start)) => start..meta.size,
            Some(GetRange::Suffix(bytes)) => meta.size.saturating_sub(bytes)..meta.size,
            None => 0..meta.size,
        };
        let part = slice(&whole.bytes().await?, range.clone())?;
        let payload = GetResultPayload::Stream(futures::stream::iter([Ok(part)]).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }
}

impl<S: std::fmt::Display> std::fmt::Display for Retrying<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

/// Reads the body within the attempt, so that a connection that breaks half-way is tried again.
/// Bodies are catalog records and column chunks: both are held in memory whole anyway.
async fn with_body(answer: GetResult) -> Result<GetResult> {
    let GetResult { payload, meta, range, attributes } = answer;
    let payload = match payload {
        GetResultPayload::Stream(_) => {
            let answer = GetResult {
                payload,
                meta: meta.clone(),
                range: range.clone(),
                attributes: attributes.clone(),
            };
            let body = answer.bytes().await?;
            GetResultPayload::Stream(futures::stream::iter([Ok(body)]).boxed())
        }
        GetResultPayload::File(file, path) => GetResultPayload::File(file, path),
    };
    Ok(GetResult { payload, meta, range, attributes })
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for Retrying<S> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let put = || self.inner.put_opts(location, payload.clone(), options.clone());
        self.retry.run(&self.machine, ("put", location), put).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begin = || self.inner.put_multipart_opts(location, options.clone());
        if !self.retry.apart {
            return begin().await;
        }
        // One whose answer was lost is left to the bucket's rules, as those are that nobody ends.
        let upload = self.retry.run(&self.machine, ("begin", location), begin).await?;
        let machine = self.machine.clone();
        Ok(Box::new(RetryingUpload::new(upload, location.clone(), self.retry, machine)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let get = async || match self.inner.get_opts(location, options.clone()).await {
            Err(error) if answered_whole(&error) => self.get_part(location, &options).await,
            answer => {
                let answer = answer?;
                if let Some(turn) = options.extensions.get::<Turn>() {
                    turn.come().await;
                }
                with_body(answer).await
            }
        };
        self.retry.run(&self.machine, ("get", location), get).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = async || match self.inner.get_ranges(location, ranges).await {
            Err(error) if answered_whole(&error) => self.whole(location, ranges).await,
            answer => answer,
        };
        if !self.retry.apart {
            return self.retry.run(&self.machine, ("get", location), get).await;
        }
        match self.stretches(location, ranges).await {
            Err(error) if answered_whole(&error) => {
                let whole = async || self.whole(location, ranges).await;
                self.retry.run(&self.machine, ("get", location), whole).await
            }
            answer => answer,
        }
    }

    /// Not tried again: what garbage collection leaves, its next pass finds.
    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        let location = prefix.clone().unwrap_or_default();
        self.listing(location, move |inner| inner.list(prefix.as_ref()))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        let location = prefix.clone().unwrap_or_default();
        self.listing(location, move |inner| inner.list_with_offset(prefix.as_ref(), &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let location = prefix.cloned().unwrap_or_default();
        let list = || self.inner.list_with_delimiter(prefix);
        self.retry.run(&self.machine, ("list", &location), list).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copy = || self.inner.copy_opts(from, to, options.clone());
        self.retry.run(&self.machine, ("copy", from), copy).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests;
