//! The bucket: a few kinds of request over a stack of wrappers.
//!
//! From the outside in: prefix, retrying, metered, over S3 parted, the store itself. So every attempt is counted,
//! and nobody above knows where in the bucket Icecore lives: a copied folder is as good as the
//! original.
//!
//! Invariant: nothing in Icecore puts two contents under one name, but for the signs of life of
//! [`owner`], which exist only where a bucket ignores create-only puts.

mod answers;
#[cfg(test)]
pub(crate) mod faulty;
mod folder;
mod metered;
mod open;
pub(crate) mod owner;
mod parts;
mod probe;
mod retrying;
mod stretches;
mod turn;
mod upload;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::catalog::epochs::{Epoch, Epochs};
use crate::catalog::record::Sequence;
use crate::error::Error;
use crate::model::UnixNanos;

pub(crate) use open::open;
#[cfg(test)]
pub(crate) use open::stack;
pub(crate) use probe::Puts;
pub(crate) use stretches::{FAR_GAP_BYTES_MAX, apart, joined};
pub(crate) use turn::Turn;
pub(crate) use upload::Upload;

/// A bucket that answered.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    objects: Arc<dyn ObjectStore>,
    storage: Arc<str>,
    puts: Puts,
    part_bytes: usize,
    epochs: Arc<RwLock<Arc<Epochs>>>,
    seat: Arc<tokio::sync::Mutex<Option<Seat>>>,
}

/// The right of this process to append where a bucket overwrites.
#[derive(Debug)]
pub(crate) struct Seat {
    /// The epoch of its ownership.
    pub(crate) epoch: Epoch,
    /// The number of the next record of every sequence that has one.
    pub(crate) next: BTreeMap<Sequence, u64>,
}

/// What a create-only put came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// The object is ours.
    New,
    /// Something is there already; perhaps our own, of which the answer was lost.
    Exists,
}

impl Bucket {
    /// A bucket that is known to answer.
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, storage: &str, puts: Puts) -> Self {
        Self {
            objects,
            storage: storage.into(),
            puts,
            part_bytes: upload::PART_BYTES,
            epochs: Arc::default(),
            seat: Arc::default(),
        }
    }

    /// The same with uploads in parts of so many bytes: a simulation has no large files.
    #[cfg(test)]
    pub(crate) fn in_parts_of(self, part_bytes: usize) -> Self {
        Self { part_bytes, ..self }
    }

    /// The store itself, for readers of Parquet.
    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    /// The URL, for messages.
    pub(crate) fn storage(&self) -> &str {
        &self.storage
    }

    /// What the bucket does with a create-only put.
    pub(crate) const fn puts(&self) -> Puts {
        self.puts
    }

    /// Which records count, as far as it is known.
    pub(crate) fn epochs(&self) -> Arc<Epochs> {
        Arc::clone(&self.epochs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these say which records count, if they are newer; whether they are.
    pub(crate) fn follow(&self, epochs: Epochs) -> bool {
        let mut known = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        let newer = epochs.newest() > known.newest();
        if newer {
            *known = Arc::new(epochs);
        }
        newer
    }

    /// Held while a record is appended; none where this process does not own the bucket.
    pub(crate) async fn seat(&self) -> tokio::sync::MutexGuard<'_, Option<Seat>> {
        self.seat.lock().await
    }

    /// Where the record of this number stands, or will.
    pub(crate) fn record_path(&self, sequence: Sequence, number: u64) -> String {
        self.epochs().path(sequence, number)
    }

    /// The numbers of those of these objects that are records of a sequence and count.
    pub(crate) fn record_numbers(&self, sequence: Sequence, listed: &[ObjectMeta]) -> Vec<u64> {
        let epochs = self.epochs();
        let numbers = listed.iter().map(|object| object.location.as_ref());
        numbers.filter_map(|path| epochs.number_at(sequence, path)).collect()
    }

    /// The whole object; `None` where there is none.
    pub(crate) async fn read(&self, path: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.read_dated(path).await?.map(|(bytes, _)| bytes))
    }

    /// The whole object, and when it landed by the bucket's own clock.
    pub(crate) async fn read_dated(&self, path: &str) -> Result<Option<(Bytes, UnixNanos)>, Error> {
        let read = async {
            let answer = self.objects.get(&Path::from(path)).await?;
            let landed = answer.meta.last_modified.timestamp_nanos_opt();
            Ok((answer.bytes().await?, UnixNanos(landed.unwrap_or(0))))
        };
        match read.await {
            Ok(object) => Ok(Some(object)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed("read", path, source)),
        }
    }

    /// What the bucket says of an object; `None` where there is none.
    pub(crate) async fn head(&self, path: &str) -> Result<Option<ObjectMeta>, Error> {
        match self.objects.head(&Path::from(path)).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed("look up", path, source)),
        }
    }

    /// Puts an object where there is none.
    pub(crate) async fn create(&self, path: &str, bytes: Bytes) -> Result<Created, Error> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects.put_opts(&Path::from(path), bytes.into(), options).await {
            Ok(_) => Ok(Created::New),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(Created::Exists),
            Err(source) => Err(failed("write", path, source)),
        }
    }

    /// Every object under a folder, in no order.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>, Error> {
        let listed = self.objects.list(Some(&Path::from(folder))).try_collect().await;
        listed.map_err(|source| failed("list", folder, source))
    }

    /// The objects of a folder from `after` on, without `after`, in no order.
    pub(crate) async fn list_after(
        &self,
        folder: &str,
        after: &str,
    ) -> Result<Vec<ObjectMeta>, Error> {
        let listed = self.objects.list_with_offset(Some(&Path::from(folder)), &Path::from(after));
        listed.try_collect().await.map_err(|source| failed("list", folder, source))
    }

    /// The names of the folders in a folder, in order.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>, Error> {
        Ok(self.entries(folder).await?.0)
    }

    /// The names of the folders in a folder, in order, and the objects right in it, in none.
    pub(crate) async fn entries(
        &self,
        folder: &str,
    ) -> Result<(Vec<String>, Vec<ObjectMeta>), Error> {
        let listed = self.objects.list_with_delimiter(Some(&Path::from(folder))).await;
        let listed = listed.map_err(|source| failed("list", folder, source))?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort_unstable();
        Ok((names, listed.objects))
    }

    /// Deletes objects; one that is gone already counts as deleted.
    pub(crate) async fn delete(&self, paths: Vec<String>) -> Result<u64, Error> {
        let paths = futures::stream::iter(paths.into_iter().map(|path| Ok(Path::from(path))));
        let mut answers = self.objects.delete_stream(paths.boxed());
        let mut deleted = 0;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => deleted += 1,
                Err(source) => return Err(failed("delete", "objects", source)),
            }
        }
        Ok(deleted)
    }
}

fn failed(action: &'static str, path: &str, source: object_store::Error) -> Error {
    Error::Bucket { action, path: path.to_owned(), source }
}
