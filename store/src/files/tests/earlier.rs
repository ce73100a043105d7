//! Files as earlier builds wrote them.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};

use super::generate::{Generator, canonical};
use super::*;
use crate::files::ints;

/// The file as schema version 1 has it: the ints of points in a column of their own.
pub(crate) fn of_version_1(file: &mut WrittenFile) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.bytes.clone()).unwrap();
    let mut said = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let text = said[0].value.as_mut().unwrap();
    assert!(text.contains("\"schema_version\":2"), "{text}");
    *text = text.replace("\"schema_version\":2", "\"schema_version\":1");
    let batches: Vec<_> = reader.build().unwrap().map(|batch| earlier(&batch.unwrap())).collect();
    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true);
    let schema = batches[0].schema();
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    said.into_iter().for_each(|said| writer.append_key_value_metadata(said));
    file.bytes = Bytes::from(writer.into_inner().unwrap());
    file.entry.bytes = file.bytes.len() as u64;
}

fn earlier(batch: &RecordBatch) -> RecordBatch {
    let ints = ints::join(&|name: &str| batch.column_by_name(name)).unwrap();
    let schema = batch.schema();
    let columns = schema.fields().iter().cloned().zip(batch.columns().iter().cloned());
    let mut columns: Vec<(Arc<Field>, ArrayRef)> =
        columns.filter(|(field, _)| !ints::is_part(field.name())).collect();
    columns.push((Arc::new(Field::new(ints::INTS, DataType::Int64, true)), ints));
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Scenario: points in a file that an earlier build wrote.
/// Guarantees: the same rows, ints and all.
#[tokio::test]
async fn a_file_of_version_1_is_read() {
    let points = Generator::new(900).batch(Table::Metrics, 500);
    let mut file = written(Table::Metrics, vec![points.clone()], 200);
    of_version_1(&mut file);
    assert_eq!(
        canonical(Table::Metrics, &all_rows(&file).await),
        canonical(Table::Metrics, &[points])
    );
}
