//! Sorted files of one table and hour become one, window by window.
//!
//! First footers and overflows decide which keys have a column. Then the keys that rows are sorted
//! by are merged as far as a window reaches; then each column of that window is decoded from all
//! inputs, spliced and encoded, one column after the other.
//!
//! Invariants: the rows of the output are those of the inputs that stay, each once, in the order
//! of `order.rs`; what is held does not grow with the inputs' rows but with their number and with
//! what a window is allowed.

mod attributes;
mod input;
mod keys;
mod splice;

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::FieldRef;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::errors::ParquetError;

use super::columns::{AttributePlan, describe};
use super::encode::{Chunk, ColumnEncoder, FileEncoder, file_fields};
use super::encoding::{is_encoded_by_values, row_group_rows};
use super::metadata::FileMetadata;
use super::overflow::KeysSeen;
use super::write::attribute_field;
use super::{FileOrigin, layout};
use crate::catalog::{FileAttribute, FileEntry, FileLayout};
use crate::error::Error;
use crate::index::TracePrints;
use crate::model::{FileId, Table, UnixNanos};
use crate::schema::{MapColumn, fixed_fields};
use crate::work::off_runtime;
use attributes::{Chosen, Make, decide};
use input::{Input, Stretches};
use keys::{Group, KeyMerge, Window, key_roots};
use splice::{Source, Splicer};

/// Requests to the bucket at once.
const FETCHES_PARALLEL: usize = 8;

/// About what the rows of a row group may take when they are decoded.
const GROUP_BYTES_MAX: u64 = 64 << 20;

/// Of the memory that a merge may use, the part that what is held of its files all the time may
/// take: with more of them than that, some are left for another merge.
const FILES_SHARE: u64 = 2;

/// Of the memory that a merge may use, the part that a window's encoded input may take: its output
/// takes as much, twice for a moment.
const WINDOW_SHARE: u64 = 16;

/// Which rows stay. Asked on threads that may block.
pub(crate) trait Keep: Debug + Send + Sync {
    /// For each row of a batch in row shape whether it stays; null counts as no.
    fn keeps(&self, rows: &RecordBatch) -> Result<BooleanArray, Error>;
}

/// What is to become one file.
#[derive(Debug, Clone)]
pub(crate) struct MergeRequest {
    /// Files of one table and hour, at least one.
    pub(crate) inputs: Vec<Arc<FileEntry>>,
    /// Which rows stay; all of them where it is not given. With it every column is read twice.
    pub(crate) keep: Option<Arc<dyn Keep>>,
    /// The name of the output.
    pub(crate) id: FileId,
    /// What the key-value metadata says about where the file came from.
    pub(crate) origin: FileOrigin,
    /// Rows of a row group.
    pub(crate) row_group_rows_max: usize,
    /// What is held at most, about.
    pub(crate) memory_bytes_max: u64,
    /// Whether somebody keeps which traces are in the file.
    pub(crate) traced: bool,
}

/// A merge under way: its bytes come window by window.
pub(crate) struct Merger {
    bucket: Arc<dyn ObjectStore>,
    request: MergeRequest,
    table: Table,
    hour: UnixNanos,
    inputs: Arc<Vec<Input>>,
    columns: Arc<Columns>,
    keys: Option<KeyMerge>,
    encoder: Option<Encoder>,
    shape: WindowShape,
}

/// The columns of the output.
struct Columns {
    fields: Vec<FieldRef>,
    chosen: Chosen,
}

/// How much goes into a row group and into a window.
#[derive(Debug, Clone, Copy)]
struct WindowShape {
    group_rows: usize,
    groups: usize,
}

/// The file so far.
struct Encoder {
    table: Table,
    path: String,
    file: FileEncoder,
    seen: KeysSeen,
    /// The traces so far; none where nobody keeps them.
    prints: Option<TracePrints>,
    bytes: u64,
}

/// A file whose last bytes were made.
#[derive(Debug)]
pub(crate) struct MergedFile {
    /// Its last bytes.
    pub(crate) last: Vec<u8>,
    /// What the catalog is to say about it.
    pub(crate) entry: FileEntry,
    /// The traces in it, for the local index.
    pub(crate) trace_prints: Vec<u64>,
}

impl Merger {
    /// Reads footers and decides the columns.
    pub(crate) async fn open(
        bucket: Arc<dyn ObjectStore>,
        request: MergeRequest,
    ) -> Result<Self, Error> {
        let Some(first) = request.inputs.first() else {
            let path = request.origin.record;
            return Err(Error::Damaged { path, reason: "it merges nothing".to_owned() });
        };
        let (table, hour) = (first.table, first.hour);
        let opened = request.inputs.iter().cloned().map(|entry| Input::open(&bucket, entry));
        let opened: Vec<_> = opened.collect();
        let inputs = stream::iter(opened).buffered(FETCHES_PARALLEL).try_collect::<Vec<_>>();
        let inputs = Arc::new(within(inputs.await?, &request));
        let chosen = decide(&bucket, &inputs).await?;
        let columns = Arc::new(Columns::new(table, chosen));
        let path = layout::path(table, hour, request.id);
        let file = FileEncoder::new(
            table,
            &columns.fields,
            row_group_rows(table, request.row_group_rows_max),
        )
        .map_err(|source| write_failed(&path, source))?;
        let shape = WindowShape::new(table, &inputs, &request);
        Ok(Self {
            keys: Some(KeyMerge::new(table, Arc::clone(&inputs), request.keep.clone())),
            encoder: Some(Encoder {
                table,
                path,
                file,
                seen: KeysSeen::default(),
                prints: (request.traced && table == Table::Spans).then(TracePrints::default),
                bytes: 0,
            }),
            bucket,
            request,
            table,
            hour,
            inputs,
            columns,
            shape,
        })
    }

    /// The files that are merged: the first of those that were asked for, as many as the memory
    /// is enough for.
    pub(crate) fn inputs(&self) -> Vec<Arc<FileEntry>> {
        self.inputs.iter().map(|input| Arc::clone(&input.entry)).collect()
    }

    /// The path of the output.
    pub(crate) fn path(&self) -> String {
        layout::path(self.table, self.hour, self.request.id)
    }

    /// The next bytes of the file, a row group each; none where all rows are in, and only the
    /// footer is missing.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        let (Some(keys), Some(mut encoder)) = (self.keys.take(), self.encoder.take()) else {
            let reason = "it failed before".to_owned();
            return Err(Error::Rows { table: self.table, reason });
        };
        let WindowShape { group_rows, groups } = self.shape;
        let (keys, window) = keys.advance(&self.bucket, groups, group_rows).await?;
        self.keys = Some(keys);
        let Some(window) = window else {
            self.encoder = Some(encoder);
            return Ok(None);
        };
        let fetched = fetch(&self.bucket, &self.inputs, &window).await?;
        let (inputs, columns) = (Arc::clone(&self.inputs), Arc::clone(&self.columns));
        let work = move || {
            let bytes = encoder.encode(&columns, &inputs, &fetched, &window)?;
            Ok((encoder, bytes))
        };
        let (encoder, bytes) = off_runtime("merging rows", work).await?;
        self.encoder = Some(encoder);
        Ok(Some(bytes))
    }

    /// The last bytes and the file's entry; none where no row stayed. `rows` that went in are all
    /// accounted for: they are in the file, or they were not to stay.
    pub(crate) fn finish(self) -> Result<Option<MergedFile>, Error> {
        let (table, hour, path) = (self.table, self.hour, self.path());
        let taken = self.keys.map(|keys| keys.taken());
        let Some((Some(time), rows)) = taken else { return Ok(None) };
        let Some(Encoder { file, seen, prints, bytes, .. }) = self.encoder else { return Ok(None) };
        let chosen = self.columns.chosen.clone();
        let plan = describe(chosen, seen);
        let metadata = FileMetadata::new(table, rows, time, &self.request.origin, &plan);
        let last = file.finish(metadata.to_key_value());
        let last = last.map_err(|source| write_failed(&path, source))?;
        let AttributePlan { columns, overflow, overflow_listed } = plan;
        let entry = FileEntry {
            id: self.request.id,
            table,
            bytes: bytes + last.len() as u64,
            rows,
            time,
            hour: hour.hour(),
            layout: Arc::new(FileLayout { attributes: columns, overflow, overflow_listed }),
        };
        let trace_prints = prints.map(TracePrints::finish).unwrap_or_default();
        Ok(Some(MergedFile { last, entry, trace_prints }))
    }
}

/// The first files, two at least, of which no more is held all the time than there is memory for.
fn within(mut inputs: Vec<Input>, request: &MergeRequest) -> Vec<Input> {
    let mut held = 0;
    let fits = |input: &&Input| {
        held += input.held_bytes(&key_roots(input, request.keep.is_some()));
        held <= request.memory_bytes_max / FILES_SHARE
    };
    let fitting = inputs.iter().take_while(fits).count();
    inputs.truncate(fitting.max(2));
    inputs
}

/// Every column of the rows that a window takes.
async fn fetch(
    bucket: &Arc<dyn ObjectStore>,
    inputs: &[Input],
    window: &Window,
) -> Result<Vec<Stretches>, Error> {
    let fetches = inputs.iter().zip(&window.rows);
    let fetches: Vec<_> =
        fetches.map(|(input, rows)| input.fetch(bucket, rows, |_| true)).collect();
    stream::iter(fetches).buffered(FETCHES_PARALLEL).try_collect().await
}

/// Reads the footer of a file that was just put: it has the rows that its entry says.
pub(crate) async fn verify(bucket: &Arc<dyn ObjectStore>, entry: &FileEntry) -> Result<(), Error> {
    Input::open(bucket, Arc::new(entry.clone())).await.map(drop)
}

fn write_failed(path: &str, source: ParquetError) -> Error {
    Error::Parquet { action: "write", path: path.to_owned(), source }
}

impl Columns {
    fn new(table: Table, chosen: Chosen) -> Self {
        let attributes = chosen.iter().map(|((map, key), kind)| {
            let (map, key) = (*map, key.clone());
            attribute_field(&FileAttribute { map, key, kind: *kind, whole: true })
        });
        let rows: Vec<FieldRef> = fixed_fields(table).into_iter().chain(attributes).collect();
        Self { fields: file_fields(&rows), chosen }
    }
}

impl WindowShape {
    fn new(table: Table, inputs: &[Input], request: &MergeRequest) -> Self {
        let rows: u64 = inputs.iter().map(|input| input.entry.rows).sum::<u64>().max(1);
        let bytes: u64 = inputs.iter().map(|input| input.entry.bytes).sum();
        let decoded: u64 = inputs.iter().map(Input::decoded_bytes_all).sum();
        let memory = request.memory_bytes_max;
        let by_bytes = GROUP_BYTES_MAX.min(memory / 2) * rows / decoded.max(1);
        let most = row_group_rows(table, request.row_group_rows_max) as u64;
        let most = most.min(by_bytes).max(1);
        // As many as come closest: a few rows more or less, and no row group of a few rows.
        let groups_all = ((rows + most / 2) / most).max(1);
        let group_rows = rows.div_ceil(groups_all);
        let groups = memory / WINDOW_SHARE * rows / bytes.max(1) / group_rows;
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self { group_rows: count(group_rows), groups: count(groups).max(1) }
    }
}

impl Encoder {
    /// Encodes a window, column by column, and returns its bytes.
    fn encode(
        &mut self,
        columns: &Columns,
        inputs: &[Input],
        fetched: &[Stretches],
        window: &Window,
    ) -> Result<Vec<Bytes>, Error> {
        let mut chunks: Vec<Vec<Chunk>> = Vec::new();
        chunks.resize_with(window.groups.len(), Vec::new);
        for field in &columns.fields {
            let mut sources = Vec::with_capacity(inputs.len());
            for ((input, fetched), rows) in inputs.iter().zip(fetched).zip(&window.rows) {
                sources.push(match Make::of(input, field, &columns.chosen) {
                    Some(make) if rows.start < rows.end => {
                        let reader = input.decode(fetched, rows, &make.roots())?;
                        Some(Source::new(input, make, reader, field.data_type()))
                    }
                    _ => None,
                });
            }
            let mut splicer = Splicer::new(field.data_type(), sources);
            for (group, chunks) in window.groups.iter().zip(&mut chunks) {
                chunks.extend(self.column(field, &mut splicer, group)?);
            }
        }
        let mut pieces = Vec::with_capacity(chunks.len());
        for chunks in chunks {
            let piece = self.file.append(chunks).and_then(|()| self.file.take_bytes());
            let piece = piece.map_err(|source| write_failed(&self.path, source))?;
            self.bytes += piece.len() as u64;
            pieces.push(piece.into());
        }
        Ok(pieces)
    }

    /// One column of one row group.
    fn column(
        &mut self,
        field: &FieldRef,
        splicer: &mut Splicer<'_>,
        group: &Group,
    ) -> Result<Vec<Chunk>, Error> {
        let failed = |source| write_failed(&self.path, source);
        let steps: Vec<_> = group.steps.iter().map(Vec::as_slice).collect();
        if is_encoded_by_values(self.table, field) {
            let values = splicer.take(&steps)?;
            note_traces(&mut self.prints, field, &values);
            let mut encoder =
                ColumnEncoder::new(self.table, field, Some(&values), group.rows).map_err(failed)?;
            encoder.write(&values).map_err(failed)?;
            return encoder.finish().map_err(failed);
        }
        let overflow = MapColumn::ALL.into_iter().find(|map| map.name() == field.name());
        let mut encoder: Option<ColumnEncoder> = None;
        for step in steps {
            let values = splicer.take(&[step])?;
            note_traces(&mut self.prints, field, &values);
            if let Some(map) = overflow {
                self.seen.scan(map, &values)?;
            }
            let begun = match encoder.take() {
                Some(begun) => begun,
                None => ColumnEncoder::new(self.table, field, Some(&values), group.rows)
                    .map_err(failed)?,
            };
            encoder.insert(begun).write(&values).map_err(failed)?;
        }
        encoder.map_or(Ok(Vec::new()), ColumnEncoder::finish).map_err(failed)
    }
}

fn note_traces(prints: &mut Option<TracePrints>, field: &FieldRef, values: &ArrayRef) {
    if field.name() != "trace_id" {
        return;
    }
    if let (Some(prints), Some(ids)) = (prints, values.as_fixed_size_binary_opt()) {
        prints.add(ids);
    }
}
