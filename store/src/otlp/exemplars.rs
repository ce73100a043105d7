//! The exemplars of a metric row.

use arrow::array::ListArray;
use arrow::datatypes::{Float64Type, Int64Type};
use opentelemetry_proto::tonic::metrics::v1::Exemplar;
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value;

use super::attributes::text_attributes;
use super::rows::{Ids, Numbers, Rows, Times, item_range};
use crate::error::Error;
use crate::files::cells::Texts;

pub(super) struct ExemplarReader<'a> {
    list: &'a ListArray,
    time: Times<'a>,
    value: Numbers<'a, Float64Type>,
    value_int: Numbers<'a, Int64Type>,
    trace_id: Ids<'a>,
    span_id: Ids<'a>,
    attributes: Texts<'a>,
}

impl<'a> ExemplarReader<'a> {
    pub(super) fn new(rows: &Rows<'a>) -> Result<Self, Error> {
        let (list, items) = rows.items("exemplars")?;
        Ok(Self {
            list,
            time: items.times("time")?,
            value: items.numbers("value")?,
            value_int: items.numbers("value_int")?,
            trace_id: items.ids("trace_id")?,
            span_id: items.ids("span_id")?,
            attributes: items.texts("attributes")?,
        })
    }

    pub(super) fn get(&self, row: usize) -> Result<Vec<Exemplar>, Error> {
        let exemplars = item_range(self.list, row).map(|at| {
            let int = self.value_int.get(at).map(Value::AsInt);
            Ok(Exemplar {
                filtered_attributes: text_attributes(self.attributes.get(at))?,
                time_unix_nano: self.time.get(at),
                span_id: self.span_id.get(at),
                trace_id: self.trace_id.get(at),
                value: int.or_else(|| self.value.get(at).map(Value::AsDouble)),
            })
        });
        exemplars.collect()
    }
}
