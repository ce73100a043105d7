//! Objects that are put part by part over a [`Link`]: parts that are lost or come twice, ends that
//! nobody hears of, and uploads that nobody ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::link::{Change, Link};

/// An upload under way.
#[derive(Debug)]
pub(super) struct Parts {
    link: Link,
    path: String,
    /// Its number in the bucket.
    upload: u64,
    /// Of these each was answered: one that was not is sent again.
    sent: Arc<AtomicUsize>,
}

impl Parts {
    /// Begins one. Where the answer is lost, the bucket has one that nobody knows.
    pub(super) async fn begin(link: &Link, path: String) -> Result<Self> {
        let upload = link.send("begin", Change::Begin { path: path.clone() }).await?;
        Ok(Self { link: link.clone(), path, upload, sent: Arc::default() })
    }
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Self { link, path, upload, sent } = self;
        let bytes: Bytes = data.into();
        let (link, sent) = (link.clone(), Arc::clone(sent));
        let nth = sent.load(Ordering::Relaxed);
        let part = Change::Part { path: path.clone(), upload: *upload, nth, bytes };
        Box::pin(async move {
            link.send("part", part).await?;
            sent.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let Self { link, path, upload, sent } = self;
        let end = Change::Complete {
            path: path.clone(),
            upload: *upload,
            parts: sent.load(Ordering::Relaxed),
        };
        link.send("complete", end).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let (path, upload) = (self.path.clone(), self.upload);
        self.link.send("abort", Change::Abort { path, upload }).await.map(drop)
    }
}
