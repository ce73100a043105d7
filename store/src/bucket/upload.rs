//! An object that is put part by part while it is still being made.
//!
//! Invariant: the object is there whole after [`Upload::finish`] returned `Ok`, and not at all
//! before. What is held is less than two parts. Whoever dies in between leaves nothing in a
//! folder, and on S3 parts that only a lifecycle rule of the bucket removes.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tracing::warn;

use crate::bucket::Bucket;
use crate::error::Error;

/// Of every part but the last: some stores want equal parts, all want 5 MiB at least.
pub(super) const PART_BYTES: usize = 8 << 20;

/// See the module. The path must be new: an object that is there already is replaced.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    bucket: &'a Bucket,
    path: String,
    /// None until the first part is full: what is shorter goes in one put.
    parts: Option<Box<dyn MultipartUpload>>,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    /// Of the parts that were sent.
    sent_bytes: u64,
}

impl<'a> Upload<'a> {
    /// Nothing is sent yet.
    pub(crate) const fn new(bucket: &'a Bucket, path: String) -> Self {
        Self { bucket, path, parts: None, waiting: Vec::new(), waiting_bytes: 0, sent_bytes: 0 }
    }

    /// Adds bytes; sends parts that are full.
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        let part_bytes = self.bucket.part_bytes;
        while self.waiting_bytes + bytes.len() >= part_bytes {
            let rest = bytes.split_off(part_bytes - self.waiting_bytes);
            self.hold(bytes);
            bytes = rest;
            self.send().await?;
        }
        self.hold(bytes);
        Ok(())
    }

    fn hold(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.waiting_bytes += bytes.len();
            self.waiting.push(bytes);
        }
    }

    async fn send(&mut self) -> Result<(), Error> {
        self.sent_bytes += self.waiting_bytes as u64;
        self.waiting_bytes = 0;
        let part: PutPayload = std::mem::take(&mut self.waiting).into_iter().collect();
        if self.parts.is_none() {
            let begun = self.bucket.objects.put_multipart(&Path::from(self.path.as_str())).await;
            self.parts = Some(begun.map_err(|source| self.failed(source))?);
        }
        let sent = match &mut self.parts {
            Some(parts) => parts.put_part(part).await,
            None => Ok(()),
        };
        sent.map_err(|source| self.failed(source))
    }

    /// Sends what is left and makes the object appear.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        if self.parts.is_none() {
            let whole: Vec<u8> = self.waiting.concat();
            return self.bucket.create(&self.path, whole.into()).await.map(drop);
        }
        let sent = match self.waiting.is_empty() {
            true => Ok(()),
            false => self.send().await,
        };
        let completed = match (sent, &mut self.parts) {
            (Err(failed), _) => Err(failed),
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(parts)) => match parts.complete().await {
                Ok(_) => Ok(()),
                Err(_) if is_there(self.bucket, &self.path, self.sent_bytes).await => Ok(()),
                Err(source) => Err(self.failed(source)),
            },
        };
        if completed.is_err() {
            self.abort().await;
        }
        completed
    }

    /// Takes back what was sent.
    pub(crate) async fn abort(self) {
        let Some(mut parts) = self.parts else { return };
        if let Err(failed) = parts.abort().await {
            warn!(path = self.path, %failed, "could not take back an unfinished upload");
        }
    }

    fn failed(&self, source: object_store::Error) -> Error {
        let source = match source {
            // Of the upload, not of an object: whoever begins anew gets another one.
            object_store::Error::NotFound { source, .. } => {
                object_store::Error::Generic { store: "an unfinished upload", source }
            }
            other => other,
        };
        Error::Bucket { action: "write", path: self.path.clone(), source }
    }
}

/// Whether the object is there whole: then only the answer was lost. No other has its name.
async fn is_there(bucket: &Bucket, path: &str, bytes: u64) -> bool {
    let found = bucket.head(path).await;
    found.is_ok_and(|found| found.is_some_and(|object| object.size == bytes))
}

#[cfg(test)]
mod tests;
