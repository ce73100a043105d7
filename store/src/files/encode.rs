//! A file under construction: row groups one after the other, each column by column.
//!
//! Invariant: beside its input, one column of one row group is held unencoded, and nothing more; of
//! texts a dictionary and a step.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::encoding::properties;
use super::shape;
use super::texts::{TextChunk, TextColumn, steps};
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
        Ok(Self { writer: file_writer(&schema, Arc::new(properties))? })
    }

    /// Adds a row group: the chunks of every column, in order.
    pub(super) fn append(&mut self, chunks: Vec<Chunk>) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for chunk in chunks {
            match chunk {
                Chunk::Arrow(chunk) => chunk.append_to_row_group(&mut group)?,
                Chunk::Texts(TextChunk { bytes, close }) => group.append_column(&bytes, close)?,
            }
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
    properties: Arc<WriterProperties>,
) -> Result<SerializedFileWriter<Vec<u8>>> {
    // No Arrow schema in the footer: every engine sees plain Parquet types, and no dictionaries.
    let types = ArrowSchemaConverter::new().convert(schema)?;
    SerializedFileWriter::new(Vec::new(), types.root_schema_ptr(), properties)
}

/// What is encoded of one leaf in one row group, and not in a file yet.
pub(super) enum Chunk {
    /// By Parquet's own writer.
    Arrow(ArrowColumnChunk),
    /// By ours.
    Texts(TextChunk),
}

impl Chunk {
    fn bytes(&self) -> usize {
        match self {
            Self::Arrow(chunk) => {
                usize::try_from(chunk.close().bytes_written).unwrap_or(usize::MAX)
            }
            Self::Texts(chunk) => chunk.bytes.len(),
        }
    }
}

/// One column of a file in one row group.
pub(super) struct ColumnEncoder {
    field: FieldRef,
    /// What column writers are made from.
    alone: ColumnAlone,
    values: Values,
}

/// The values so far.
enum Values {
    /// In the writer of each leaf.
    Leaves(Vec<ArrowColumnWriter>),
    /// Texts that repeat, as places.
    Texts(Box<TextColumn>),
}

/// A file of one column alone, which is never written.
struct ColumnAlone {
    schema: SchemaRef,
    properties: Arc<WriterProperties>,
    file: SerializedFileWriter<Vec<u8>>,
}

impl ColumnAlone {
    fn new(field: &FieldRef, properties: WriterProperties) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![Arc::clone(field)]));
        let properties = Arc::new(properties);
        let file = file_writer(&schema, Arc::clone(&properties))?;
        Ok(Self { schema, properties, file })
    }

    /// Texts in the way that takes fewer bytes. To read one text of a dictionary all of it is
    /// unpacked, and it is longer than plain texts where many of them are new.
    fn texts(&self, field: &FieldRef, texts: &TextColumn) -> Result<Vec<Chunk>> {
        let column = self.file.schema_descr().column(0);
        let properties = &self.properties;
        let shared = texts.encode(&column, properties)?;
        if properties.writer_version() == WriterVersion::PARQUET_2_0 && texts.seldom_repeat() {
            let mut leaves = Self::new(field, self.plain())?.leaves()?;
            write_leaves(field, &mut leaves, &texts.rows()?)?;
            let plain = closed(leaves)?;
            if plain.iter().map(Chunk::bytes).sum::<usize>() <= shared.bytes.len() {
                return Ok(plain);
            }
        }
        Ok(vec![Chunk::Texts(shared)])
    }

    /// The writers of Parquet's own for texts that are more than a dictionary takes, with those so
    /// far: plain where they seldom repeat, else with a dictionary for as long as it lasts.
    fn outgrown(&mut self, field: &FieldRef, texts: &TextColumn) -> Result<Vec<ArrowColumnWriter>> {
        if texts.seldom_repeat() {
            *self = Self::new(field, self.plain())?;
        }
        let mut leaves = self.leaves()?;
        write_leaves(field, &mut leaves, &texts.rows()?)?;
        Ok(leaves)
    }

    /// As this, without a dictionary.
    fn plain(&self) -> WriterProperties {
        let column = self.file.schema_descr().column(0);
        let plain = self.properties.as_ref().clone().into_builder();
        plain.set_column_dictionary_enabled(column.path().clone(), false).build()
    }

    fn dictionary_bytes_max(&self) -> usize {
        let column = self.file.schema_descr().column(0);
        self.properties.column_dictionary_page_size_limit(column.path())
    }

    fn leaves(&self) -> Result<Vec<ArrowColumnWriter>> {
        let factory = ArrowRowGroupWriterFactory::new(&self.file, Arc::clone(&self.schema));
        factory.create_column_writers(0)
    }
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
        let schema = Schema::new(vec![Arc::clone(field)]);
        let properties =
            properties(table, &schema, values.map_or(&[], std::slice::from_ref), rows_max);
        let alone = ColumnAlone::new(field, properties)?;
        let path = ColumnPath::from(field.name().as_str());
        let values = match field.data_type() {
            DataType::Dictionary(_, _) if alone.properties.dictionary_enabled(&path) => {
                Values::Texts(Box::default())
            }
            _ => Values::Leaves(alone.leaves()?),
        };
        Ok(Self { field: Arc::clone(field), alone, values })
    }

    /// Encodes further rows.
    pub(super) fn write(&mut self, values: &ArrayRef) -> Result<()> {
        steps(values)
            .into_iter()
            .try_for_each(|rows| self.step(&values.slice(rows.start, rows.len())))
    }

    fn step(&mut self, values: &ArrayRef) -> Result<()> {
        let written = match &mut self.values {
            Values::Leaves(leaves) => write_leaves(&self.field, leaves, values)?,
            Values::Texts(texts) => {
                let written = texts.write(values).is_some();
                if !texts.fits(self.alone.dictionary_bytes_max()) {
                    self.values = Values::Leaves(self.alone.outgrown(&self.field, texts)?);
                }
                written
            }
        };
        if written {
            return Ok(());
        }
        let name = self.field.name();
        Err(ParquetError::General(format!("`{name}` is not of its column's type")))
    }

    /// Ends the row group.
    pub(super) fn finish(self) -> Result<Vec<Chunk>> {
        let Self { field, alone, values } = self;
        match values {
            Values::Leaves(leaves) => closed(leaves),
            Values::Texts(texts) => alone.texts(&field, &texts),
        }
    }
}

fn closed(leaves: Vec<ArrowColumnWriter>) -> Result<Vec<Chunk>> {
    leaves.into_iter().map(|leaf| leaf.close().map(Chunk::Arrow)).collect()
}

/// Whether the values are of the type that there are leaves for.
fn write_leaves(
    field: &FieldRef,
    leaves: &mut [ArrowColumnWriter],
    values: &ArrayRef,
) -> Result<bool> {
    let parts = compute_leaves(field, values)?;
    if parts.len() != leaves.len() {
        return Ok(false);
    }
    parts.iter().zip(leaves).try_for_each(|(part, leaf)| leaf.write(part))?;
    Ok(true)
}
