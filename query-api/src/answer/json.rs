//! JSON: one object with columns, rows and stats; or one object a row and line.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::writer::EncoderOptions;
use icecore_store::model::value::write_string;

use super::value::{CellWriter, options, type_name};
use super::{Encode, Stats};
use crate::Error;
use crate::http::ErrorBody;

/// `{"columns":[…],"rows":[[…],…],"stats":{…}}`; an answer that broke off has an `error` beside
/// its `stats`.
pub(super) struct JsonEncoder {
    schema: SchemaRef,
    options: EncoderOptions,
    empty: bool,
}

impl JsonEncoder {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self { schema: SchemaRef::clone(schema), options: options(), empty: true }
    }

    fn close(stats: &Stats, error: Option<ErrorBody>) -> Result<Vec<u8>, ArrowError> {
        let mut out = b"],\"stats\":".to_vec();
        append_json(&mut out, stats)?;
        if let Some(error) = error {
            out.extend_from_slice(b",\"error\":");
            append_json(&mut out, &error)?;
        }
        out.extend_from_slice(b"}\n");
        Ok(out)
    }
}

impl Encode for JsonEncoder {
    fn begin(&mut self) -> Result<Vec<u8>, ArrowError> {
        let mut out = String::from("{\"columns\":[");
        for (at, field) in self.schema.fields().iter().enumerate() {
            out.push_str(if at > 0 { ",{\"name\":" } else { "{\"name\":" });
            write_string(&mut out, field.name());
            out.push_str(",\"type\":");
            write_string(&mut out, &type_name(field));
            out.push('}');
        }
        out.push_str("],\"rows\":[");
        Ok(out.into_bytes())
    }

    fn rows(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let mut cells = cells(&self.schema, rows, &self.options)?;
        let mut out = Vec::new();
        for row in 0..rows.num_rows() {
            out.extend_from_slice(if self.empty { b"\n[" } else { b",\n[" });
            self.empty = false;
            for (at, cell) in cells.iter_mut().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                cell.write(row, &mut out);
            }
            out.push(b']');
        }
        Ok(out)
    }

    fn end(&mut self, stats: &Stats) -> Result<Vec<u8>, ArrowError> {
        Self::close(stats, None)
    }

    fn fail(&mut self, error: &Error, stats: &Stats) -> Option<Vec<u8>> {
        Self::close(stats, Some(ErrorBody::of(error))).ok()
    }
}

/// One object a row, each on its own line; one that broke off ends with `{"error":{…}}`.
pub(crate) struct JsonLinesEncoder {
    schema: SchemaRef,
    options: EncoderOptions,
    names: Vec<Vec<u8>>,
}

impl JsonLinesEncoder {
    /// Writes rows of `schema`.
    pub(crate) fn new(schema: &SchemaRef) -> Self {
        let names = schema.fields().iter().enumerate().map(|(at, field)| {
            let mut name = String::from(if at > 0 { "," } else { "" });
            write_string(&mut name, field.name());
            name.push(':');
            name.into_bytes()
        });
        Self { names: names.collect(), schema: SchemaRef::clone(schema), options: options() }
    }
}

impl Encode for JsonLinesEncoder {
    fn rows(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let mut cells = cells(&self.schema, rows, &self.options)?;
        let mut out = Vec::new();
        for row in 0..rows.num_rows() {
            out.push(b'{');
            for (name, cell) in self.names.iter().zip(&mut cells) {
                out.extend_from_slice(name);
                cell.write(row, &mut out);
            }
            out.extend_from_slice(b"}\n");
        }
        Ok(out)
    }

    fn end(&mut self, _stats: &Stats) -> Result<Vec<u8>, ArrowError> {
        Ok(Vec::new())
    }

    fn fail(&mut self, error: &Error, _stats: &Stats) -> Option<Vec<u8>> {
        let mut out = b"{\"error\":".to_vec();
        append_json(&mut out, &ErrorBody::of(error)).ok()?;
        out.extend_from_slice(b"}\n");
        Some(out)
    }
}

fn cells<'a>(
    schema: &'a SchemaRef,
    rows: &'a RecordBatch,
    options: &'a EncoderOptions,
) -> Result<Vec<CellWriter<'a>>, ArrowError> {
    let columns = schema.fields().iter().zip(rows.columns());
    columns.map(|(field, column)| CellWriter::new(field, column, options)).collect()
}

fn append_json(out: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<(), ArrowError> {
    serde_json::to_writer(out, value).map_err(|error| ArrowError::ExternalError(Box::new(error)))
}
