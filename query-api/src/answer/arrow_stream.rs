//! An Arrow IPC stream, in types that every reader knows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;

use super::{Encode, Stats};

/// Writes the stream.
pub(super) struct ArrowEncoder {
    schema: SchemaRef,
    writer: StreamWriter<Vec<u8>>,
}

impl ArrowEncoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        let schema = plain_schema(schema);
        Ok(Self { writer: StreamWriter::try_new(Vec::new(), &schema)?, schema })
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }
}

impl Encode for ArrowEncoder {
    fn piece_rows_max(&self) -> usize {
        usize::MAX
    }

    fn begin(&mut self) -> Result<Vec<u8>, ArrowError> {
        Ok(self.take())
    }

    fn rows(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        self.writer.write(&plain_rows(rows, &self.schema)?)?;
        Ok(self.take())
    }

    fn end(&mut self, _stats: &Stats) -> Result<Vec<u8>, ArrowError> {
        self.writer.finish()?;
        Ok(self.take())
    }
}

/// The schema with `Utf8` for every text, because not every reader knows views, and without marks.
pub(crate) fn plain_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(plain_field).collect::<Vec<_>>()))
}

/// The rows under the schema of [`plain_schema`].
pub(crate) fn plain_rows(
    rows: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

fn plain_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), plain_type(field.data_type()), field.is_nullable()))
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::List(item) => DataType::List(plain_field(item)),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(plain_field).collect::<Fields>())
        }
        other => other.clone(),
    }
}

fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::List(item) => {
            let list: &ListArray = array.as_list();
            let values = plain(list.values())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(plain_field(item), offsets, values, nulls)?))
        }
        DataType::Struct(fields) => {
            let rows = array.as_struct();
            let columns = rows.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
            let fields = fields.iter().map(plain_field).collect::<Fields>();
            let nulls = rows.nulls().cloned();
            Ok(Arc::new(StructArray::try_new_with_length(fields, columns, nulls, rows.len())?))
        }
        data_type => {
            let wanted = plain_type(data_type);
            if wanted == *data_type { Ok(Arc::clone(array)) } else { cast(array, &wanted) }
        }
    }
}
