//! An upload whose parts are tried again alone, and whose end is.
//!
//! Invariant: what is below takes a part again that failed, as [`crate::bucket::parts`] does: it counts as never
//! put. An end that was carried out and whose answer was lost fails: whoever uploads looks whether the object is there.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use tokio::sync::Mutex;

use super::Retry;
use crate::chance::Machine;

/// See the module.
#[derive(Debug)]
pub(super) struct RetryingUpload {
    inner: Arc<Mutex<Box<dyn MultipartUpload>>>,
    path: Path,
    retry: Retry,
    machine: Machine,
}

impl RetryingUpload {
    pub(super) fn new(
        inner: Box<dyn MultipartUpload>,
        path: Path,
        retry: Retry,
        machine: Machine,
    ) -> Self {
        Self { inner: Arc::new(Mutex::new(inner)), path, retry, machine }
    }
}

#[async_trait]
impl MultipartUpload for RetryingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (inner, path) = (Arc::clone(&self.inner), self.path.clone());
        let (retry, machine) = (self.retry, self.machine.clone());
        Box::pin(async move {
            let put = async || {
                let part = inner.lock().await.put_part(data.clone());
                part.await
            };
            retry.run(&machine, ("put a part of", &path), put).await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let complete = async || self.inner.lock().await.complete().await;
        self.retry.run(&self.machine, ("complete", &self.path), complete).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.lock().await.abort().await
    }
}
