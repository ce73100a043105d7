//! Footers of files: fetched once, kept for as long as there is room.
//!
//! A file never changes and its id is never reused, so a footer kept is always right.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};

use super::metadata::FileMetadata;
use crate::error::Error;
use crate::model::FileId;
use crate::schema::text_type;

/// Memory for footers in this process. One of a file with 100 columns and 8 row groups takes
/// about 200 KB.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// What is read at the end of a file in the hope that it holds the whole footer.
const TAIL_BYTES: u64 = 128 << 10;

/// The footer of one file.
#[derive(Debug)]
pub(super) struct Footer {
    /// Row groups, statistics, page indexes, and the types to decode into.
    pub(super) reader: ArrowReaderMetadata,
    /// Icecore's own description.
    pub(super) description: FileMetadata,
}

impl Footer {
    /// Takes up to milliseconds for a large footer: call it off the runtime.
    fn new(metadata: ParquetMetaData, path: &str) -> Result<Self, Error> {
        let description =
            FileMetadata::from_key_values(metadata.file_metadata().key_value_metadata())
                .map_err(|reason| Error::Damaged { path: path.to_owned(), reason })?;
        let reader =
            with_dictionaries(Arc::new(metadata)).map_err(|source| failed(path, source))?;
        Ok(Self { reader, description })
    }
}

/// Decodes text into dictionaries where the row shape has them.
fn with_dictionaries(metadata: Arc<ParquetMetaData>) -> Result<ArrowReaderMetadata, ParquetError> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let plain = ArrowReaderMetadata::try_new(Arc::clone(&metadata), options.clone())?;
    let fields = plain.schema().fields().iter().map(|field| {
        let plain_in_row_shape = matches!(field.name().as_str(), "attributes" | "body");
        if *field.data_type() == DataType::Utf8 && !plain_in_row_shape {
            Arc::new(Field::new(field.name(), text_type(), field.is_nullable()))
        } else {
            Arc::clone(field)
        }
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    ArrowReaderMetadata::try_new(metadata, options.with_schema(Arc::new(schema)))
}

/// The footer of a file, from memory where it is there.
pub(super) async fn footer(
    bucket: &Arc<dyn ObjectStore>,
    id: FileId,
    path: &str,
    file_bytes: u64,
) -> Result<Arc<Footer>, Error> {
    if let Some(kept) = KEPT.with(|kept| kept.find(id)) {
        return Ok(kept);
    }
    let footer = Arc::new(fetch_footer(bucket, path, file_bytes).await?);
    KEPT.with(|kept| kept.keep(id, &footer));
    Ok(footer)
}

/// The footer of a file, from the bucket: one request where it is not longer than usual.
pub(super) async fn fetch_footer(
    bucket: &Arc<dyn ObjectStore>,
    path: &str,
    file_bytes: u64,
) -> Result<Footer, Error> {
    let decoder = ParquetMetaDataPushDecoder::try_new(file_bytes)
        .map_err(|source| failed(path, source))?
        .with_page_index_policy(PageIndexPolicy::Optional);
    let tail = file_bytes.saturating_sub(TAIL_BYTES)..file_bytes;
    let mut wanted = Vec::from([tail]);
    let mut decoder = Some(decoder);
    // The tail, what the footer is longer, the page index: never more rounds than that.
    while let Some(mut decoding) = decoder.take() {
        let fetched = fetch(bucket, path, &wanted).await?;
        let name = path.to_owned();
        let work = move || -> Result<_, Error> {
            decoding.push_ranges(wanted, fetched).map_err(|source| failed(&name, source))?;
            Ok(match decoding.try_decode().map_err(|source| failed(&name, source))? {
                DecodeResult::NeedsData(ranges) => Progress::Wants(decoding, ranges),
                DecodeResult::Data(metadata) => Progress::Done(Footer::new(metadata, &name)?),
                DecodeResult::Finished => Progress::Ended,
            })
        };
        match off_runtime("decoding a footer", work).await? {
            Progress::Done(footer) => return Ok(footer),
            Progress::Ended => break,
            Progress::Wants(decoding, ranges) => {
                decoder = Some(decoding);
                wanted = ranges;
            }
        }
    }
    Err(Error::Damaged { path: path.to_owned(), reason: "it has no footer".to_owned() })
}

enum Progress {
    Done(Footer),
    Wants(ParquetMetaDataPushDecoder, Vec<Range<u64>>),
    Ended,
}

/// The length of an object.
pub(super) async fn length(bucket: &Arc<dyn ObjectStore>, path: &str) -> Result<u64, Error> {
    let head = bucket.head(&Path::from(path)).await;
    let head = head.map_err(|source| bucket_failed(path, source))?;
    Ok(head.size)
}

/// Stretches of a file, those that lie close together in one request.
pub(super) async fn fetch(
    bucket: &Arc<dyn ObjectStore>,
    path: &str,
    ranges: &[Range<u64>],
) -> Result<Vec<Bytes>, Error> {
    let fetched = bucket.get_ranges(&Path::from(path), ranges).await;
    fetched.map_err(|source| bucket_failed(path, source))
}

/// Runs work that takes longer than a runtime thread may be held.
pub(crate) async fn off_runtime<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|source| Error::Interrupted { work: name, source })?
}

pub(super) fn failed(path: &str, source: ParquetError) -> Error {
    Error::Parquet { action: "read", path: path.to_owned(), source }
}

fn bucket_failed(path: &str, source: object_store::Error) -> Error {
    Error::Bucket { action: "read", path: path.to_owned(), source }
}

/// Footers used lately.
static KEPT: LazyLock<Kept> = LazyLock::new(Kept::default);

#[derive(Debug, Default)]
struct Kept(Mutex<Footers>);

impl Kept {
    fn with<T>(&self, work: impl FnOnce(&mut Footers) -> T) -> T {
        // A footer is put in whole or not at all, so that a panic elsewhere leaves nothing torn.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug, Default)]
struct Footers {
    kept: HashMap<FileId, (Arc<Footer>, u64)>,
    bytes: usize,
    uses: u64,
}

impl Footers {
    fn find(&mut self, id: FileId) -> Option<Arc<Footer>> {
        self.uses += 1;
        let (footer, used) = self.kept.get_mut(&id)?;
        *used = self.uses;
        Some(Arc::clone(footer))
    }

    fn keep(&mut self, id: FileId, footer: &Arc<Footer>) {
        let weight = weight(footer);
        if weight > KEPT_BYTES_MAX || self.kept.contains_key(&id) {
            return;
        }
        while self.bytes + weight > KEPT_BYTES_MAX {
            let oldest = self.kept.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(id, _)| *id) else { break };
            if let Some((gone, _)) = self.kept.remove(&oldest) {
                self.bytes -= self::weight(&gone);
            }
        }
        self.uses += 1;
        self.bytes += weight;
        self.kept.insert(id, (Arc::clone(footer), self.uses));
    }
}

fn weight(footer: &Footer) -> usize {
    footer.reader.metadata().memory_size()
}
