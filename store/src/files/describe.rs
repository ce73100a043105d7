//! What the catalog would say of a file, from the file alone.

use std::sync::Arc;

use object_store::ObjectStore;

use super::fetch::Bare;
use super::footer::{description, fetch_metadata, length};
use crate::catalog::FileEntry;
use crate::error::Error;
use crate::model::FileId;

/// The entry of the file at `path`; `None` where there is none. One that is torn or not ours is
/// an error.
pub(crate) async fn describe(
    bucket: Arc<dyn ObjectStore>,
    id: FileId,
    path: &str,
) -> Result<Option<FileEntry>, Error> {
    let file_bytes = match length(&bucket, path).await {
        Err(Error::Bucket { source: object_store::Error::NotFound { .. }, .. }) => return Ok(None),
        other => other?,
    };
    let metadata = fetch_metadata(Bare::new(&bucket).of(path), file_bytes).await?;
    let entry = description(&metadata, path)?.entry(id, file_bytes);
    if entry.path() == path {
        return Ok(Some(entry));
    }
    let reason = format!("it says that it belongs at `{}`", entry.path());
    Err(Error::Damaged { path: path.to_owned(), reason })
}
