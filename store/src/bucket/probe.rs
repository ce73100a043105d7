//! Finds out, before anything is served, whether the bucket answers, lets us in, and honours
//! create-only puts.
//!
//! Some S3-compatible servers answer 200 to a create-only put and overwrite: nothing in the answer
//! says so. Two writers would then lose each other's records without an error.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use ulid::Ulid;

use crate::bucket::answers::{status, was_unreachable};
use crate::error::Error;

/// What the bucket does with a create-only put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Puts {
    /// Refuses it where something is: any number of writers.
    CreateOnly,
    /// Overwrites: one writer, guarded by the owner object.
    Overwrite,
    /// Refuses puts altogether: a reader's key.
    Refused,
}

/// Where a bucket is, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The storage URL.
    pub(crate) storage: &'a str,
    /// The server or folder.
    pub(crate) endpoint: &'a str,
}

/// Lists, which any key must be able to do, then creates one random object twice.
pub(crate) async fn probe(
    objects: &dyn ObjectStore,
    place: Place<'_>,
    key: Ulid,
) -> Result<Puts, Error> {
    let listed = objects.list_with_delimiter(Some(&Path::from("catalog"))).await;
    listed.map_err(|source| explain(place, "list", source))?;
    let path = Path::from(format!("probe/{key}"));
    let create = async |text: &'static str| {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        objects.put_opts(&path, text.into(), options).await
    };
    match create("first").await {
        Ok(_) => {}
        // The answer to our own first attempt was lost; the second put below still tells.
        Err(object_store::Error::AlreadyExists { .. }) => {}
        Err(object_store::Error::PermissionDenied { .. }) => return Ok(Puts::Refused),
        Err(source) => return Err(explain(place, "write to", source)),
    }
    let puts = match create("second").await {
        Ok(_) => Puts::Overwrite,
        Err(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
        ) => Puts::CreateOnly,
        Err(source) => return Err(explain(place, "write to", source)),
    };
    // A key that may not delete leaves a few bytes behind at each start.
    drop(objects.delete(&path).await);
    Ok(puts)
}

/// The first failure of a start, in words that say what to mend.
fn explain(place: Place<'_>, action: &'static str, source: object_store::Error) -> Error {
    let storage = place.storage.to_owned();
    match (&source, status(&source)) {
        (
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. },
            _,
        )
        | (_, Some(401 | 403)) => Error::Credentials { storage, source },
        (object_store::Error::NotFound { .. }, _) | (_, Some(404)) => {
            Error::MissingBucket { storage, source }
        }
        (other, _) if was_unreachable(other) => {
            Error::Unreachable { storage, endpoint: place.endpoint.to_owned(), source }
        }
        (_, _) => Error::Bucket { action, path: storage, source },
    }
}
