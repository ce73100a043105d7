//! A file under construction: row groups one after the other, each column by column.
//!
//! Invariant: beside its input, one column of one row group is held unencoded, and nothing more.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use super::encoding::properties;
use super::shape;
use crate::model::Table;

/// The columns of a file that stand for these columns of the row shape.
pub(super) fn file_fields(row_fields: &[FieldRef]) -> Vec<FieldRef> {
    let mut columns = Vec::new();
    for field in row_fields {
        shape::to_file(field, &new_empty_array(field.data_type()), &mut columns);
    }
    columns.into_iter().map(|(field, _)| field).collect()
}

/// A file whose bytes gather in memory until somebody takes them.
pub(super) struct FileEncoder {
    writer: SerializedFileWriter<Vec<u8>>,
}

impl FileEncoder {
    /// A file of these columns without a row.
    pub(super) fn new(table: Table, fields: &[FieldRef], rows_max: usize) -> Result<Self> {
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let properties = properties(table, &schema, &[], rows_max);
        Ok(Self { writer: file_writer(&schema, properties)? })
    }

    /// Adds a row group: the chunks of every column, in order.
    pub(super) fn append(&mut self, chunks: Vec<ArrowColumnChunk>) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close().map(drop)
    }

    /// The bytes since the last time.
    pub(super) fn take_bytes(&mut self) -> Result<Vec<u8>> {
        self.writer.flush()?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }

    /// Ends the file with what it says of itself, and returns the bytes since the last time.
    pub(super) fn finish(mut self, description: KeyValue) -> Result<Vec<u8>> {
        self.writer.append_key_value_metadata(description);
        self.writer.into_inner()
    }
}

fn file_writer(
    schema: &SchemaRef,
    properties: WriterProperties,
) -> Result<SerializedFileWriter<Vec<u8>>> {
    // No Arrow schema in the footer: every engine sees plain Parquet types, and no dictionaries.
    let types = ArrowSchemaConverter::new().convert(schema)?;
    SerializedFileWriter::new(Vec::new(), types.root_schema_ptr(), Arc::new(properties))
}

/// One column of a file in one row group.
pub(super) struct ColumnEncoder {
    field: FieldRef,
    /// One a leaf.
    leaves: Vec<ArrowColumnWriter>,
}

impl ColumnEncoder {
    /// For a column whose encoding depends on its values, `values` are all of the row group; for
    /// others any part of them will do, or none.
    pub(super) fn new(
        table: Table,
        field: &FieldRef,
        values: Option<&ArrayRef>,
        rows_max: usize,
    ) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![Arc::clone(field)]));
        let properties =
            properties(table, &schema, values.map_or(&[], std::slice::from_ref), rows_max);
        // A file of this column alone, never written, is what column writers are made from.
        let alone = file_writer(&schema, properties)?;
        let leaves = ArrowRowGroupWriterFactory::new(&alone, schema).create_column_writers(0)?;
        Ok(Self { field: Arc::clone(field), leaves })
    }

    /// Encodes further rows.
    pub(super) fn write(&mut self, values: &ArrayRef) -> Result<()> {
        let parts = compute_leaves(&self.field, values)?;
        if parts.len() != self.leaves.len() {
            let name = self.field.name();
            return Err(ParquetError::General(format!("`{name}` is not of its column's type")));
        }
        parts.iter().zip(&mut self.leaves).try_for_each(|(part, leaf)| leaf.write(part))
    }

    /// Ends the row group.
    pub(super) fn finish(self) -> Result<Vec<ArrowColumnChunk>> {
        self.leaves.into_iter().map(ArrowColumnWriter::close).collect()
    }
}
