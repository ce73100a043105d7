//! Sorted files of one table and hour become one, window by window.
//!
//! First footers and overflows decide which keys have a column. Then one layer of rows follows the
//! other: the keys that rows are sorted by are merged as far as a window reaches; then each column
//! of that window is decoded from all lanes, spliced and encoded, one column after the other.
//!
//! Invariants: the rows of the output are those of the inputs that stay, each once, those of a
//! row group in the order of `order.rs`; what is held does not grow with the inputs' rows but with
//! what a window is allowed, and of each input it is the footer.

mod attributes;
mod input;
mod keys;
mod lanes;
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
use super::encoding::is_encoded_by_values;
use super::metadata::FileMetadata;
use super::overflow::KeysSeen;
use super::write::attribute_field;
use super::{FileOrigin, layout};
use crate::catalog::{FileAttribute, FileEntry, FileLayout};
use crate::error::Error;
use crate::index::TracePrints;
use crate::model::{FileId, Table, TimeRange, UnixNanos};
use crate::schema::{MapColumn, as_stored, fixed_fields};
use crate::work::off_runtime;
use attributes::{Chosen, Make, decide};
use input::{Input, Stretches};
use keys::{Group, KeyMerge, Window};
use lanes::{Lane, Layer, layers, within};
use splice::{Source, Splicer};

/// Requests to the bucket at once.
const FETCHES_PARALLEL: usize = 8;

/// Of the memory that a merge may use, the part that what is held of its files all the time may
/// take: with more of them than that, some are left for another merge.
const FILES_SHARE: u64 = 2;

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
    /// Rows of a row group that a flush makes.
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
    /// What comes after the layer at hand.
    layers: std::vec::IntoIter<Layer>,
    layer: Option<LayerMerge>,
    encoder: Option<Encoder>,
    /// The times of the rows of the layers before, and how many they are.
    taken: (Option<TimeRange>, u64),
}

/// A layer under way.
struct LayerMerge {
    keys: KeyMerge,
    lanes: Arc<Vec<Lane>>,
    group_rows: usize,
    groups: usize,
}

/// The columns of the output.
struct Columns {
    fields: Vec<FieldRef>,
    chosen: Chosen,
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
        let layers = layers(&inputs, &request);
        let rows_max = layers.as_slice().iter().map(|layer| layer.group_rows).max();
        let file = FileEncoder::new(table, &columns.fields, rows_max.unwrap_or(1))
            .map_err(|source| write_failed(&path, source))?;
        Ok(Self {
            layers,
            layer: None,
            taken: (None, 0),
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
        let Some(mut encoder) = self.encoder.take() else {
            let reason = "it failed before".to_owned();
            return Err(Error::Rows { table: self.table, reason });
        };
        let Some((window, lanes)) = self.window().await? else {
            self.encoder = Some(encoder);
            return Ok(None);
        };
        let fetched = fetch(&self.bucket, &self.inputs, &lanes, &window).await?;
        let (inputs, columns) = (Arc::clone(&self.inputs), Arc::clone(&self.columns));
        let work = move || {
            let from = From { inputs: &inputs, lanes: &lanes, fetched: &fetched };
            let bytes = encoder.encode(&columns, &from, &window)?;
            Ok((encoder, bytes))
        };
        let (encoder, bytes) = off_runtime("merging rows", work).await?;
        self.encoder = Some(encoder);
        Ok(Some(bytes))
    }

    /// The next window, and what it is of; none after the last layer.
    async fn window(&mut self) -> Result<Option<(Window, Arc<Vec<Lane>>)>, Error> {
        loop {
            let layer =
                self.layer.take().or_else(|| self.layers.next().map(|next| self.begin(next)));
            let Some(layer) = layer else { return Ok(None) };
            let LayerMerge { keys, lanes, group_rows, groups } = layer;
            let (keys, window) = keys.advance(&self.bucket, groups, group_rows).await?;
            if let Some(window) = window {
                let of = Arc::clone(&lanes);
                self.layer = Some(LayerMerge { keys, lanes, group_rows, groups });
                return Ok(Some((window, of)));
            }
            let (time, rows) = keys.taken();
            let before = self.taken;
            let both = before.0.zip(time).map(|(before, time)| before.union(&time));
            self.taken = (both.or(before.0).or(time), before.1 + rows);
        }
    }

    fn begin(&self, layer: Layer) -> LayerMerge {
        let Layer { lanes, group_rows, groups } = layer;
        let lanes = Arc::new(lanes);
        let (inputs, keep) = (Arc::clone(&self.inputs), self.request.keep.clone());
        let keys = KeyMerge::new(self.table, inputs, Arc::clone(&lanes), keep);
        LayerMerge { keys, lanes, group_rows, groups }
    }

    /// The last bytes and the file's entry; none where no row stayed. `rows` that went in are all
    /// accounted for: they are in the file, or they were not to stay.
    pub(crate) fn finish(self) -> Result<Option<MergedFile>, Error> {
        let (table, hour, path) = (self.table, self.hour, self.path());
        let (Some(time), rows) = self.taken else { return Ok(None) };
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

/// Every column of the rows that a window takes.
async fn fetch(
    bucket: &Arc<dyn ObjectStore>,
    inputs: &[Input],
    lanes: &[Lane],
    window: &Window,
) -> Result<Vec<Stretches>, Error> {
    let fetches = lanes.iter().zip(&window.rows);
    let fetches: Vec<_> =
        fetches.map(|(lane, rows)| inputs[lane.input].fetch(bucket, rows, |_| true)).collect();
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
        let mut rows: Vec<FieldRef> = fixed_fields(table).into_iter().chain(attributes).collect();
        as_stored(table, &mut rows, |field| field.name());
        Self { fields: file_fields(&rows), chosen }
    }
}

/// Where a window's rows come from.
struct From<'a> {
    inputs: &'a [Input],
    lanes: &'a [Lane],
    /// One a lane.
    fetched: &'a [Stretches],
}

impl<'a> From<'a> {
    /// What each lane has of a column; none where it has nothing of it.
    fn sources(
        &self,
        field: &FieldRef,
        chosen: &Chosen,
        window: &Window,
    ) -> Result<Vec<Option<Source<'a>>>, Error> {
        let lanes = self.lanes.iter().zip(self.fetched).zip(&window.rows);
        let sources = lanes.map(|((lane, fetched), rows)| {
            let input = &self.inputs[lane.input];
            let Some(make) = Make::of(input, field, chosen).filter(|_| !rows.is_empty()) else {
                return Ok(None);
            };
            let reader = input.decode(fetched, rows, &make.roots())?;
            Ok(Some(Source::new(input, make, reader, field.data_type())))
        });
        sources.collect()
    }
}

impl Encoder {
    /// Encodes a window, column by column, and returns its bytes.
    fn encode(
        &mut self,
        columns: &Columns,
        from: &From<'_>,
        window: &Window,
    ) -> Result<Vec<Bytes>, Error> {
        let mut chunks: Vec<Vec<Chunk>> = Vec::new();
        chunks.resize_with(window.groups.len(), Vec::new);
        for field in &columns.fields {
            let sources = from.sources(field, &columns.chosen, window)?;
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
