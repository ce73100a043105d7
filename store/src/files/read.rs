//! Columns of one file, pruned before bytes are fetched.
//!
//! Invariant: a row that matches the request comes back once. Bytes are fetched on the runtime;
//! they are decoded on blocking threads, some batches a turn, so that a reader that stops asking
//! stops the work.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, Schema};
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, RowFilter};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::bloom_filter::Sbbf;
use parquet::schema::types::SchemaDescriptor;

use super::footer::{Footer, failed, fetch, fetch_footer, footer, length, off_runtime};
use super::prune::{Wanted, leaf};
use super::shape::{from_file, remainder_name};
use super::{FileOrigin, ReadColumn, ReadRequest, RowStream, project::project};
use crate::catalog::{FileEntry, FileLayout};
use crate::error::Error;
use crate::model::{TimeRange, TraceId};
use crate::schema::{MapColumn, fixed_fields};

/// Rows of one batch.
const BATCH_ROWS: usize = 8_192;

/// Batches decoded in one turn on a blocking thread, and held at most.
const BATCHES_A_TURN: usize = 4;

/// Projected columns of one file.
pub(crate) fn read(bucket: Arc<dyn ObjectStore>, request: ReadRequest) -> RowStream {
    let ReadRequest { file, columns, time, trace_id, service_name } = request;
    let fixed = fixed_fields(file.table);
    let wanted = |name: &str| needs(&file, &columns, name);
    let fixed = fixed.into_iter().filter(|field| wanted(field.name())).collect();
    let attributes =
        file.layout.attributes.iter().map(|attribute| attribute.map.column(&attribute.key));
    let attributes = attributes.filter(|name| wanted(name)).collect();
    let wanted = Wanted { time, service_name };
    let job = Job { bucket, file, fixed, attributes, columns: Some(columns), wanted, trace_id };
    job.stream()
}

/// Whole rows of one file in row shape. The two conditions only skip row groups and pages.
pub(crate) fn read_rows(
    bucket: Arc<dyn ObjectStore>,
    file: &Arc<FileEntry>,
    time: TimeRange,
    trace_id: Option<TraceId>,
) -> RowStream {
    let attributes =
        file.layout.attributes.iter().map(|attribute| attribute.map.column(&attribute.key));
    let job = Job {
        bucket,
        fixed: fixed_fields(file.table),
        attributes: attributes.collect(),
        file: Arc::clone(file),
        columns: None,
        wanted: Wanted { time, service_name: None },
        trace_id,
    };
    job.stream()
}

/// The origin in a file's key-value metadata; `None` where there is no such file.
pub(crate) async fn read_origin(
    bucket: Arc<dyn ObjectStore>,
    path: &str,
) -> Result<Option<FileOrigin>, Error> {
    let file_bytes = match length(&bucket, path).await {
        Err(Error::Bucket { source: object_store::Error::NotFound { .. }, .. }) => return Ok(None),
        other => other?,
    };
    let footer = fetch_footer(&bucket, path, file_bytes).await?;
    Ok(Some(footer.description.origin()))
}

/// Whether some column that is asked for is made from this column of the row shape.
fn needs(file: &FileEntry, columns: &[ReadColumn], name: &str) -> bool {
    columns.iter().any(|column| match column {
        ReadColumn::Fixed(fixed) => fixed == name,
        ReadColumn::Map(map) => {
            *map.name() == *name || MapColumn::parse(name).is_some_and(|(of, _)| of == *map)
        }
        ReadColumn::Attribute { map, key, .. } => {
            MapColumn::parse(name) == Some((*map, key))
                || (*map.name() == *name && may_overflow(file, *map, key))
        }
    })
}

fn may_overflow(file: &FileEntry, map: MapColumn, key: &str) -> bool {
    let FileLayout { attributes, overflow, overflow_listed } = &*file.layout;
    match attributes.iter().find(|column| column.map == map && column.key == key) {
        Some(column) => !column.whole,
        None => !overflow_listed || overflow.iter().any(|it| it.map == map && it.key == key),
    }
}

/// What one turn gives: batches, and the decoder where there may be more.
type Turn = Option<(Vec<RecordBatch>, Option<Box<ParquetPushDecoder>>)>;

enum Decoded {
    Batches(Vec<RecordBatch>, Option<Box<ParquetPushDecoder>>),
    Wants(Box<ParquetPushDecoder>, Vec<std::ops::Range<u64>>),
}

/// One reading of one file.
#[derive(Debug)]
struct Job {
    bucket: Arc<dyn ObjectStore>,
    file: Arc<FileEntry>,
    /// The columns of the row shape to decode.
    fixed: Vec<FieldRef>,
    attributes: Vec<String>,
    /// What to make of them; none for whole rows.
    columns: Option<Vec<ReadColumn>>,
    wanted: Wanted,
    trace_id: Option<TraceId>,
}

impl Job {
    fn stream(self) -> RowStream {
        let job = Arc::new(self);
        let begin = async move {
            let decoder = job.begin().await?;
            Ok::<_, Error>(stream::try_unfold(decoder, move |decoder| {
                let job = Arc::clone(&job);
                async move {
                    match decoder {
                        None => Ok(None),
                        Some(decoder) => job.turn(decoder).await,
                    }
                }
            }))
        };
        let turns = stream::once(begin).try_flatten();
        turns.map_ok(|batches| stream::iter(batches.into_iter().map(Ok))).try_flatten().boxed()
    }

    /// A decoder for what is left after pruning; none where that is nothing.
    async fn begin(&self) -> Result<Option<Box<ParquetPushDecoder>>, Error> {
        let file = &self.file;
        let footer = footer(&self.bucket, file.id, &file.path(), file.bytes).await?;
        let metadata = footer.reader.metadata();
        let row_groups = self.wanted.row_groups(file.table, metadata);
        let row_groups = row_groups.map_err(|source| failed(&file.path(), source))?;
        let row_groups = self.bloom(&footer, row_groups).await?;
        if row_groups.is_empty() {
            return Ok(None);
        }
        let decoder = self.decoder(&footer, row_groups);
        decoder
            .map(|decoder| Some(Box::new(decoder)))
            .map_err(|source| failed(&file.path(), source))
    }

    /// Those row groups whose bloom filter does not rule out the trace.
    async fn bloom(&self, footer: &Footer, groups: Vec<usize>) -> Result<Vec<usize>, Error> {
        let Some(trace_id) = self.trace_id else { return Ok(groups) };
        let metadata = footer.reader.metadata();
        let Some(column) = leaf(metadata.file_metadata().schema_descr(), "trace_id") else {
            return Ok(groups);
        };
        let range = |group: usize| {
            let column = metadata.row_group(group).column(column);
            let start = u64::try_from(column.bloom_filter_offset()?).ok()?;
            let length = u64::try_from(column.bloom_filter_length()?).ok()?;
            Some(start..start + length)
        };
        let Some(ranges) = groups.iter().map(|group| range(*group)).collect::<Option<Vec<_>>>()
        else {
            return Ok(groups);
        };
        let filters = fetch(&self.bucket, &self.file.path(), &ranges).await?;
        let mut kept = Vec::with_capacity(groups.len());
        for (group, filter) in groups.into_iter().zip(filters) {
            let filter =
                Sbbf::from_bytes(&filter).map_err(|source| failed(&self.file.path(), source))?;
            if filter.check(&trace_id.0[..]) {
                kept.push(group);
            }
        }
        Ok(kept)
    }

    fn decoder(
        &self,
        footer: &Footer,
        row_groups: Vec<usize>,
    ) -> Result<ParquetPushDecoder, parquet::errors::ParquetError> {
        let metadata = footer.reader.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let pages = self.wanted.pages(self.file.table, metadata, &row_groups)?;
        let mut builder = ParquetPushDecoderBuilder::new_with_metadata(footer.reader.clone())
            .with_batch_size(BATCH_ROWS)
            .with_row_groups(row_groups)
            .with_projection(self.projection(schema));
        if let Some(pages) = pages {
            builder = builder.with_row_selection(pages);
        }
        if let Some((trace_id, column)) = self.trace_id.zip(leaf(schema, "trace_id")) {
            // Ids first: of the other columns only pages with a row of the trace are fetched.
            let ids = ProjectionMask::leaves(schema, [column]);
            let of_trace = ArrowPredicateFn::new(ids, move |batch: RecordBatch| {
                let ids = batch.column(0).as_fixed_size_binary();
                Ok(ids.iter().map(|id| Some(id == Some(&trace_id.0[..]))).collect::<BooleanArray>())
            });
            builder = builder.with_row_filter(RowFilter::new(vec![Box::new(of_trace)]));
        }
        builder.build()
    }

    fn projection(&self, schema: &SchemaDescriptor) -> ProjectionMask {
        let remainders = self.fixed.iter().map(|field| remainder_name(field.name()));
        let fixed = self.fixed.iter().map(|field| field.name().clone());
        let names: std::collections::HashSet<String> =
            fixed.chain(remainders).chain(self.attributes.iter().cloned()).collect();
        let roots = schema.root_schema().get_fields().iter().enumerate();
        let roots = roots.filter(|(_, root)| names.contains(root.name())).map(|(at, _)| at);
        ProjectionMask::roots(schema, roots)
    }

    /// Decodes some batches, fetching what the decoder asks for first.
    async fn turn(self: Arc<Self>, mut decoder: Box<ParquetPushDecoder>) -> Result<Turn, Error> {
        loop {
            let job = Arc::clone(&self);
            let work = move || job.decode(decoder);
            match off_runtime("decoding rows", work).await? {
                Decoded::Batches(batches, rest) => return Ok(Some((batches, rest))),
                Decoded::Wants(back, ranges) => {
                    decoder = back;
                    let fetched = fetch(&self.bucket, &self.file.path(), &ranges).await?;
                    let pushed = decoder.push_ranges(ranges, fetched);
                    pushed.map_err(|source| failed(&self.file.path(), source))?;
                }
            }
        }
    }

    fn decode(&self, mut decoder: Box<ParquetPushDecoder>) -> Result<Decoded, Error> {
        let mut batches = Vec::with_capacity(BATCHES_A_TURN);
        while batches.len() < BATCHES_A_TURN {
            let next = decoder.try_decode().map_err(|source| failed(&self.file.path(), source))?;
            match next {
                DecodeResult::Data(batch) => batches.push(self.finish(&batch)?),
                DecodeResult::Finished => return Ok(Decoded::Batches(batches, None)),
                // What is decoded goes out first; the decoder will ask again.
                DecodeResult::NeedsData(_) if !batches.is_empty() => break,
                DecodeResult::NeedsData(ranges) => return Ok(Decoded::Wants(decoder, ranges)),
            }
        }
        Ok(Decoded::Batches(batches, Some(decoder)))
    }

    /// A batch of the file as rows in row shape, or as the columns asked for.
    fn finish(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let table = self.file.table;
        let rows = self.row_shape(batch)?;
        match &self.columns {
            None => Ok(rows),
            Some(columns) => project(&rows, table, columns),
        }
    }

    fn row_shape(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let arrow_failed = |source| Error::Arrow {
            action: format!("bring rows of `{}` into row shape", self.file.path()),
            source,
        };
        let find = |name: &str| batch.column_by_name(name);
        let mut fields = Vec::with_capacity(self.fixed.len() + self.attributes.len());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(fields.capacity());
        for field in &self.fixed {
            let column = from_file(field, &find).map_err(arrow_failed)?;
            let column = column.ok_or_else(|| self.damaged(field.name()))?;
            fields.push(Arc::clone(field));
            columns.push(column);
        }
        for name in &self.attributes {
            let (at, field) =
                batch.schema_ref().fields().find(name).ok_or_else(|| self.damaged(name))?;
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(batch.column(at)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(arrow_failed)
    }

    fn damaged(&self, column: &str) -> Error {
        Error::Damaged { path: self.file.path(), reason: format!("it has no column `{column}`") }
    }
}
