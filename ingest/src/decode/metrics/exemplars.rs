//! Exemplars of data points.

use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType};
use arrow::error::ArrowError;
use icecore_store::Table;

use super::super::columns::{Ids, Lists, Numbers, PlainTexts};
use super::super::rows::{struct_fields, utc};
use super::super::value::ObjectText;
use super::super::wire::{Broken, Reader, delimited, fields, fixed64};
use super::points::Number;

#[derive(Debug, Default)]
pub(super) struct Exemplar<'a> {
    pub(super) time: u64,
    pub(super) trace_id: &'a [u8],
    pub(super) span_id: &'a [u8],
    value: Option<Number>,
    attributes: Vec<&'a [u8]>,
}

impl<'a> Exemplar<'a> {
    pub(super) fn read(bytes: &'a [u8], limit: u32) -> Result<Self, Broken> {
        const TIME: u32 = fixed64(2);
        const DOUBLE: u32 = fixed64(3);
        const SPAN_ID: u32 = delimited(4);
        const TRACE_ID: u32 = delimited(5);
        const INT: u32 = fixed64(6);
        const ATTRIBUTE: u32 = delimited(7);
        let mut exemplar = Self::default();
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                TIME => exemplar.time = reader.fixed64()?,
                DOUBLE => {
                    exemplar.value = Some(Number::Double(f64::from_bits(reader.fixed64()?)));
                }
                SPAN_ID => exemplar.span_id = reader.bytes()?,
                TRACE_ID => exemplar.trace_id = reader.bytes()?,
                INT => exemplar.value = Some(Number::Int(reader.fixed64()?.cast_signed())),
                ATTRIBUTE => exemplar.attributes.push(reader.message()?),
                _ => reader.skip(key, fields(&[2, 3, 4, 5, 6, 7]))?,
            }
        }
        Ok(exemplar)
    }
}

/// The list column.
#[derive(Debug, Default)]
pub(super) struct Exemplars {
    lists: Lists,
    time: Numbers<TimestampNanosecondType>,
    value: Numbers<Float64Type>,
    value_int: Numbers<Int64Type>,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    attributes: PlainTexts,
    object: ObjectText,
}

impl Exemplars {
    /// The exemplars of one row, looked at before; `limit` is that within them.
    pub(super) fn push(&mut self, exemplars: &[Exemplar<'_>], limit: u32) -> Result<(), Broken> {
        for Exemplar { time, trace_id, span_id, value, attributes } in exemplars {
            self.time.push(time.cast_signed());
            self.value.push_option(value.map(Number::double));
            self.value_int.push_option(value.and_then(Number::int));
            self.trace_id.push((*trace_id).try_into().ok());
            self.span_id.push((*span_id).try_into().ok());
            self.object.push_all(attributes, limit - 1)?;
            self.object.finish(|text| self.attributes.push(text));
        }
        self.lists.push(Some(self.time.len()));
        Ok(())
    }

    pub(super) fn finish(self) -> Result<ArrayRef, ArrowError> {
        let arrays = vec![
            utc(self.time.finish_values()),
            self.value.finish(),
            self.value_int.finish(),
            self.trace_id.finish()?,
            self.span_id.finish()?,
            self.attributes.finish()?,
        ];
        let fields = struct_fields(Table::Metrics, "exemplars");
        self.lists.finish(Arc::new(StructArray::try_new(fields, arrays, None)?))
    }
}
