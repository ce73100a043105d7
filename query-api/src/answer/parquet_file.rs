//! A Parquet file, written a row group at a time.
//!
//! Invariant: what Parquet has no type for is text, so that every answer can be written.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::arrow_stream::{plain_rows, plain_schema};
use super::{Encode, Stats};

/// What a row group may hold in memory before it is handed on.
const ROW_GROUP_BYTES_MAX: usize = 16 << 20;

/// Writes the file.
pub(super) struct ParquetEncoder {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
}

impl ParquetEncoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        let schema = storable_schema(&plain_schema(schema));
        let zstd = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder().set_compression(zstd).build();
        let writer = ArrowWriter::try_new(Vec::new(), SchemaRef::clone(&schema), Some(properties));
        Ok(Self { writer: writer.map_err(arrow_error)?, schema })
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.inner_mut())
    }
}

impl Encode for ParquetEncoder {
    fn piece_rows_max(&self) -> usize {
        usize::MAX
    }

    fn rows(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let plain = plain_rows(rows, &plain_schema(&rows.schema()))?;
        self.writer.write(&storable_rows(&plain, &self.schema)?).map_err(arrow_error)?;
        if self.writer.in_progress_size() > ROW_GROUP_BYTES_MAX {
            self.writer.flush().map_err(arrow_error)?;
        }
        Ok(self.take())
    }

    fn end(&mut self, _stats: &Stats) -> Result<Vec<u8>, ArrowError> {
        self.writer.finish().map_err(arrow_error)?;
        Ok(self.take())
    }
}

/// Spans of months, days and nanoseconds are text.
fn storable_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Interval(_) => {
            Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable()))
        }
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn storable_rows(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let fields = schema.fields().iter().zip(rows.columns());
    let columns = fields.map(|(field, column)| cast(column, field.data_type()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns.collect::<Result<Vec<_>, _>>()?,
        &options,
    )
}

fn arrow_error(error: ParquetError) -> ArrowError {
    ArrowError::ParquetError(error.to_string())
}
