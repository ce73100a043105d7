//! Objects that are put part by part over a [`Link`]: parts that are lost or come twice, ends that
//! nobody hears of, and uploads that nobody ends.

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
    sent: usize,
}

impl Parts {
    /// Begins one. Where the answer is lost, the bucket has one that nobody knows.
    pub(super) async fn begin(link: &Link, path: String) -> Result<Self> {
        let upload = link.send("begin", Change::Begin { path: path.clone() }).await?;
        Ok(Self { link: link.clone(), path, upload, sent: 0 })
    }
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Self { link, path, upload, sent } = self;
        let bytes: Bytes = data.into();
        let part = Change::Part { path: path.clone(), upload: *upload, nth: *sent, bytes };
        *sent += 1;
        let link = link.clone();
        Box::pin(async move { link.send("part", part).await.map(drop) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let Self { link, path, upload, sent } = self;
        let end = Change::Complete { path: path.clone(), upload: *upload, parts: *sent };
        link.send("complete", end).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let (path, upload) = (self.path.clone(), self.upload);
        self.link.send("abort", Change::Abort { path, upload }).await.map(drop)
    }
}
