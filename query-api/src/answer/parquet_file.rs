//! A Parquet file, written a row group at a time.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
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
        let schema = plain_schema(schema);
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
        self.writer.write(&plain_rows(rows, &self.schema)?).map_err(arrow_error)?;
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

fn arrow_error(error: ParquetError) -> ArrowError {
    ArrowError::ParquetError(error.to_string())
}
