//! Values of columns, in PostgreSQL's text and binary forms.
//!
//! Invariant: both forms say the same. Times have microseconds there: of the nanoseconds below,
//! nothing is told.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, FieldRef, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::json::writer::EncoderOptions;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Datelike, Timelike};

use super::numeric::write_numeric;
use super::types::{Kind, Type};
use crate::answer::CellWriter;

/// From 1970 to 2000, where PostgreSQL's time begins.
pub(super) const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(super) const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// The cells of one column of a batch.
pub(super) enum Cells<'a> {
    /// Of a type with a binary form of its own.
    Fixed(&'a dyn Array),
    /// Texts.
    Texts(&'a dyn Array),
    /// Of any other type that has a text.
    Shown(Kind, ArrayFormatter<'a>, &'a dyn Array),
    /// As JSON.
    Json(CellWriter<'a>),
    /// Arrays, their values as one column.
    Arrays(&'a ListArray, Kind, Box<Cells<'a>>),
}

impl<'a> Cells<'a> {
    /// Of this column, which has the type that `written_type` names. `marked` is the field as the
    /// engine has it.
    pub(super) fn of(
        marked: &FieldRef,
        field: &'a FieldRef,
        column: &'a ArrayRef,
        options: &'a EncoderOptions,
        shown: &FormatOptions<'a>,
    ) -> Result<Self, ArrowError> {
        let Type { kind, is_array } = Type::of_field(marked);
        if is_array {
            let list = column.as_list_opt::<i32>();
            let list = list.ok_or_else(|| ArrowError::CastError("no list".to_owned()))?;
            let items = Self::of_kind(kind, list.values().as_ref(), shown)?;
            return Ok(Self::Arrays(list, kind, Box::new(items)));
        }
        if kind == Kind::Jsonb && !matches!(column.data_type(), DataType::Utf8) {
            return Ok(Self::Json(CellWriter::new(field, column.as_ref(), options)?));
        }
        Self::of_kind(kind, column.as_ref(), shown)
    }

    fn of_kind(
        kind: Kind,
        column: &'a dyn Array,
        shown: &FormatOptions<'a>,
    ) -> Result<Self, ArrowError> {
        Ok(match (kind, column.data_type()) {
            (Kind::Text, DataType::Utf8) => Self::Texts(column),
            (Kind::Text | Kind::Numeric | Kind::Jsonb, _) => {
                Self::Shown(kind, ArrayFormatter::try_new(column, shown)?, column)
            }
            _ => Self::Fixed(column),
        })
    }

    /// Whether a cell is null.
    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Fixed(column) | Self::Texts(column) | Self::Shown(_, _, column) => {
                column.is_null(row) || *column.data_type() == DataType::Null
            }
            Self::Json(cells) => cells.is_null(row),
            Self::Arrays(list, _, _) => list.is_null(row),
        }
    }

    /// Appends the value of a cell that is not null.
    pub(super) fn write(&mut self, row: usize, binary: bool, out: &mut BytesMut) {
        match self {
            Self::Fixed(column) if binary => write_binary(*column, row, out),
            Self::Fixed(column) => write_text(*column, row, out),
            Self::Texts(column) => out.put_slice(column.as_string::<i32>().value(row).as_bytes()),
            Self::Shown(Kind::Numeric, shown, _) if binary => {
                write_numeric(&shown.value(row).to_string(), out);
            }
            Self::Shown(kind, shown, _) => {
                version(*kind, binary, out);
                show(out, format_args!("{}", shown.value(row)));
            }
            Self::Json(cells) => {
                version(Kind::Jsonb, binary, out);
                let mut json = Vec::new();
                cells.write(row, &mut json);
                out.put_slice(&json);
            }
            Self::Arrays(list, kind, items) => {
                let (from, to) = (list.value_offsets()[row], list.value_offsets()[row + 1]);
                let items_of_row =
                    usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
                if binary {
                    write_array(*kind, items, items_of_row, out);
                } else {
                    show_array(items, items_of_row, out);
                }
            }
        }
    }
}

/// The binary form of `jsonb` says its version before the text.
fn version(kind: Kind, binary: bool, out: &mut BytesMut) {
    if binary && kind == Kind::Jsonb {
        out.put_u8(1);
    }
}

/// Writing to memory does not fail.
fn show(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}

fn write_array(
    kind: Kind,
    items: &mut Cells<'_>,
    rows: std::ops::Range<usize>,
    out: &mut BytesMut,
) {
    let has_nulls = rows.clone().any(|row| items.is_null(row));
    out.put_i32(i32::from(!rows.is_empty()));
    out.put_i32(i32::from(has_nulls));
    out.put_u32(kind.facts().oid);
    if rows.is_empty() {
        return;
    }
    out.put_i32(i32::try_from(rows.len()).unwrap_or(i32::MAX));
    out.put_i32(1);
    for row in rows {
        super::wire::put_sized(out, |out| {
            let value = !items.is_null(row);
            if value {
                items.write(row, true, out);
            }
            value
        });
    }
}

fn show_array(items: &mut Cells<'_>, rows: std::ops::Range<usize>, out: &mut BytesMut) {
    let mut text = BytesMut::new();
    out.put_u8(b'{');
    for (at, row) in rows.enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        if items.is_null(row) {
            out.put_slice(b"NULL");
            continue;
        }
        text.clear();
        items.write(row, false, &mut text);
        show_item(&text, out);
    }
    out.put_u8(b'}');
}

/// An item of an array, quoted where it would else be read as something other than itself.
fn show_item(text: &[u8], out: &mut BytesMut) {
    let special = |byte: &u8| b"{}\",\\".contains(byte) || byte.is_ascii_whitespace();
    if !text.is_empty() && !text.eq_ignore_ascii_case(b"null") && !text.iter().any(special) {
        out.put_slice(text);
        return;
    }
    out.put_u8(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}

fn write_binary(column: &dyn Array, row: usize, out: &mut BytesMut) {
    match column.data_type() {
        DataType::Boolean => out.put_u8(u8::from(column.as_boolean().value(row))),
        DataType::Int16 => out.put_i16(column.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => out.put_i32(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => out.put_i64(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => out.put_f32(column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => out.put_f64(column.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().value(row);
            out.put_i32(days.saturating_sub(EPOCH_DAYS));
        }
        DataType::Timestamp(_, _) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            out.put_i64(micros.saturating_sub(EPOCH_MICROS));
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let Interval { months, days, micros } = interval(column, row);
            out.put_i64(micros);
            out.put_i32(days);
            out.put_i32(months);
        }
        _ => out.put_slice(column.as_binary::<i32>().value(row)),
    }
}

fn write_text(column: &dyn Array, row: usize, out: &mut BytesMut) {
    match column.data_type() {
        DataType::Boolean => out.put_u8(if column.as_boolean().value(row) { b't' } else { b'f' }),
        DataType::Int16 => {
            show(out, format_args!("{}", column.as_primitive::<Int16Type>().value(row)))
        }
        DataType::Int32 => {
            show(out, format_args!("{}", column.as_primitive::<Int32Type>().value(row)))
        }
        DataType::Int64 => {
            show(out, format_args!("{}", column.as_primitive::<Int64Type>().value(row)))
        }
        DataType::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            show_float(value.into(), format_args!("{value}"), format_args!("{value:e}"), out);
        }
        DataType::Float64 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            show_float(value, format_args!("{value}"), format_args!("{value:e}"), out);
        }
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().value(row);
            let time = DateTime::from_timestamp(i64::from(days) * 86_400, 0).unwrap_or_default();
            show(out, format_args!("{:04}-{:02}-{:02}", time.year(), time.month(), time.day()));
        }
        DataType::Timestamp(_, zone) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            show_time(micros, zone.is_some(), out);
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let Interval { months, days, micros } = interval(column, row);
            let (sign, of_day) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
            let (seconds, rest) = (of_day / 1_000_000, of_day % 1_000_000);
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            show(out, format_args!("{months} mons {days} days "));
            show(out, format_args!("{sign}{hours:02}:{minutes:02}:{seconds:02}.{rest:06}"));
        }
        _ => {
            out.put_slice(b"\\x");
            for byte in column.as_binary::<i32>().value(row) {
                show(out, format_args!("{byte:02x}"));
            }
        }
    }
}

fn show_time(micros: i64, zone: bool, out: &mut BytesMut) {
    let time = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    show(out, format_args!("{:04}-{:02}-{:02} ", time.year(), time.month(), time.day()));
    show(out, format_args!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()));
    let rest = micros.rem_euclid(1_000_000);
    if rest > 0 {
        show(out, format_args!(".{rest:06}"));
    }
    out.put_slice(if zone { b"+00" } else { b"" });
}

/// A number in the form that has fewer digits for it.
fn show_float(
    value: f64,
    plain: std::fmt::Arguments<'_>,
    short: std::fmt::Arguments<'_>,
    out: &mut BytesMut,
) {
    let size = value.abs();
    match value {
        value if value.is_nan() => out.put_slice(b"NaN"),
        f64::INFINITY => out.put_slice(b"Infinity"),
        f64::NEG_INFINITY => out.put_slice(b"-Infinity"),
        _ if size != 0.0 && !(1e-5..1e15).contains(&size) => show(out, short),
        _ => show(out, plain),
    }
}

struct Interval {
    months: i32,
    days: i32,
    micros: i64,
}

fn interval(column: &dyn Array, row: usize) -> Interval {
    if let DataType::Duration(_) = column.data_type() {
        let micros = column.as_primitive::<DurationMicrosecondType>().value(row);
        return Interval { months: 0, days: 0, micros };
    }
    let value = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
    let micros = value.nanoseconds.div_euclid(1000);
    Interval { months: value.months, days: value.days, micros }
}
