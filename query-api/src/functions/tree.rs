//! `span_tree(span_id, parent_span_id, start_time, end_time)`: a trace as a tree, and where its
//! time went.
//!
//! Invariants: every span id of the group is in the answer once, whatever its parents say: a cycle
//! is cut, and a span whose parent is missing is a root. The critical times of all spans together
//! are at most the time from the first start to the last end.

mod walk;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, ListArray, StringViewArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int64Type, TimeUnit, TimestampNanosecondType};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Signature, Volatility};

use self::walk::{Placed, Span, place};
use super::collect::bytes::{Reader, Write};
use super::collect::{self, Collect};

/// The spans of one trace.
#[derive(Debug, Default)]
pub(crate) struct SpanTree {
    spans: Vec<Span>,
}

/// The function.
pub(crate) fn function() -> Arc<datafusion::logical_expr::AggregateUDF> {
    collect::function::<SpanTree>()
}

/// A span id in hex as a number; 0, which no span has, where it is none.
pub(super) fn id_of(hex: Option<&str>) -> u64 {
    hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default()
}

fn fields() -> Fields {
    let number = |name| Field::new(name, DataType::Int64, false);
    Fields::from(vec![
        Field::new("span_id", DataType::Utf8View, false),
        number("place"),
        number("depth"),
        number("offset_ns"),
        number("self_ns"),
        number("critical_offset_ns"),
        number("critical_ns"),
    ])
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), true))
}

impl Collect for SpanTree {
    const NAME: &'static str = "span_tree";
    const ARGUMENTS_SHOWN: usize = 4;

    fn signature() -> Signature {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let types = vec![DataType::Utf8View, DataType::Utf8View, time.clone(), time];
        Signature::exact(types, Volatility::Immutable)
    }

    fn answer_type() -> DataType {
        DataType::List(item())
    }

    fn add(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let (ids, parents) = (columns[0].as_string_view(), columns[1].as_string_view());
        let starts = columns[2].as_primitive::<TimestampNanosecondType>();
        let ends = columns[3].as_primitive::<TimestampNanosecondType>();
        let rows = ids.iter().zip(parents).zip(starts.iter().zip(ends));
        self.spans.extend(rows.map(|((id, parent), (start, end))| {
            let start = start.unwrap_or_default();
            // A clock that stepped back makes no negative time.
            let end = end.unwrap_or_default().max(start);
            Span { id: id_of(id), parent: id_of(parent), start, end }
        }));
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        for Span { id, parent, start, end } in &self.spans {
            out.u64(*id);
            out.u64(*parent);
            out.i64(*start);
            out.i64(*end);
        }
    }

    fn read(&mut self, bytes: &mut Reader<'_>) -> Result<()> {
        while !bytes.is_empty() {
            let (id, parent) = (bytes.u64()?, bytes.u64()?);
            self.spans.push(Span { id, parent, start: bytes.i64()?, end: bytes.i64()? });
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<ScalarValue> {
        let placed = place(std::mem::take(&mut self.spans));
        Ok(ScalarValue::List(Arc::new(listed(&placed)?)))
    }

    fn bytes(&self) -> usize {
        self.spans.capacity() * size_of::<Span>()
    }
}

fn listed(placed: &[Placed]) -> Result<ListArray> {
    let numbers = |value: fn(&Placed) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(placed.iter().map(value)))
    };
    let ids = placed.iter().map(|one| format!("{:016x}", one.id));
    let places = (0_i64..).take(placed.len());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(ids)),
        Arc::new(arrow::array::PrimitiveArray::<Int64Type>::from_iter_values(places)),
        numbers(|one| one.depth),
        numbers(|one| one.offset),
        numbers(|one| one.own),
        numbers(|one| one.critical_offset),
        numbers(|one| one.critical),
    ];
    let rows = StructArray::try_new(fields(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths([placed.len()]);
    Ok(ListArray::try_new(item(), offsets, Arc::new(rows), None)?)
}
