//! CSV as RFC 4180 has it, with a line of names.
//!
//! Invariant: a null is an empty field and an empty text is `""`, so that they can be told apart.
//! What is no plain value (lists, structs, maps) is one field of JSON.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::EncoderOptions;

use super::value::{CellWriter, options};
use super::{Encode, Stats};

/// Writes CSV.
pub(super) struct CsvEncoder {
    schema: SchemaRef,
    options: EncoderOptions,
}

impl CsvEncoder {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self { schema: SchemaRef::clone(schema), options: options() }
    }
}

impl Encode for CsvEncoder {
    fn begin(&mut self) -> Result<Vec<u8>, ArrowError> {
        let mut out = Vec::new();
        for (at, field) in self.schema.fields().iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            append_text(&mut out, field.name().as_bytes());
        }
        out.push(b'\n');
        Ok(out)
    }

    fn rows(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let texts = rows.columns().iter().map(|column| match column.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                cast(column, &DataType::Utf8View).map(Some)
            }
            _ => Ok(None),
        });
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let fields = self.schema.fields().iter().zip(rows.columns());
        let cells = fields.map(|(field, column)| CellWriter::new(field, column, &self.options));
        let mut cells = cells.collect::<Result<Vec<_>, _>>()?;
        let (mut out, mut json) = (Vec::new(), Vec::new());
        for row in 0..rows.num_rows() {
            for (at, (text, cell)) in texts.iter().zip(&mut cells).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                match text {
                    _ if cell.is_null(row) => {}
                    Some(text) => {
                        append_text(&mut out, text.as_string_view().value(row).as_bytes())
                    }
                    None => {
                        json.clear();
                        cell.write(row, &mut json);
                        append_json(&mut out, &json);
                    }
                }
            }
            out.push(b'\n');
        }
        Ok(out)
    }

    fn end(&mut self, _stats: &Stats) -> Result<Vec<u8>, ArrowError> {
        Ok(Vec::new())
    }
}

/// A value by its JSON: a number as it is, a time or bytes without their quotes, null as nothing.
fn append_json(out: &mut Vec<u8>, json: &[u8]) {
    match json {
        b"null" => {}
        [b'"', plain @ .., b'"'] => append_text(out, plain),
        json => append_text(out, json),
    }
}

fn append_text(out: &mut Vec<u8>, text: &[u8]) {
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    if !text.is_empty() && !text.iter().any(special) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}
