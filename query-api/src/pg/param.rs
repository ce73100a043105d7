//! Values that clients bind, as expressions of the type that they were bound as.
//!
//! Invariant: a value becomes a literal, never SQL that a client wrote; nonsense is an error that
//! says what it is.

use arrow::datatypes::DataType;
use bytes::{Buf, Bytes};
use chrono::DateTime;
use datafusion::sql::sqlparser::ast::{Array, Expr, Value};
use serde_json::Value as Json;

use super::cell::{EPOCH_DAYS, EPOCH_MICROS};
use super::numeric::read_numeric;
use super::types::{Kind, Type};
use crate::expand::{Params, expr_of, literal, text_literal};

/// Items that an array may have.
const ITEMS_MAX: usize = 100_000;

/// A value in its text or binary form; where it is none, why.
pub(super) fn value(of: Type, binary: bool, bytes: Option<&Bytes>) -> Result<Expr, String> {
    let Some(bytes) = bytes else { return null(of) };
    match (of.is_array, binary) {
        (false, false) => text_value(of.kind, &text_of(bytes)?),
        (false, true) => binary_value(of.kind, bytes),
        (true, false) => text_array(of.kind, &text_of(bytes)?),
        (true, true) => binary_array(of.kind, bytes.clone()),
    }
}

/// No value, of this type.
fn null(of: Type) -> Result<Expr, String> {
    let kind = arrow_type(of.kind);
    let name = if of.is_array { DataType::new_list(kind, true) } else { kind };
    typed("NULL", Params::default(), &name)
}

/// The Arrow type that values of a kind have in queries.
fn arrow_type(kind: Kind) -> DataType {
    match kind {
        Kind::Bool => DataType::Boolean,
        Kind::Bytea => DataType::Binary,
        Kind::Int2 => DataType::Int16,
        Kind::Int4 => DataType::Int32,
        Kind::Int8 | Kind::Oid => DataType::Int64,
        Kind::Float4 => DataType::Float32,
        Kind::Float8 | Kind::Numeric => DataType::Float64,
        Kind::Date => DataType::Date32,
        Kind::Timestamp => DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None),
        Kind::Timestamptz => {
            DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, Some("UTC".into()))
        }
        Kind::Interval => DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        _ => DataType::Utf8,
    }
}

/// SQL of ours, as a type of the engine.
fn typed(sql: &str, params: Params, to: &DataType) -> Result<Expr, String> {
    let mut params = params;
    params.put("type", text_literal(&to.to_string()));
    expr_of(&format!("arrow_cast({sql}, $type)"), &params).map_err(|error| error.to_string())
}

fn text_as(text: &str, kind: Kind) -> Result<Expr, String> {
    let mut params = Params::default();
    params.put("value", text_literal(text));
    typed("$value", params, &arrow_type(kind))
}

fn text_of(bytes: &Bytes) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_bytes| "a text is not UTF-8".to_owned())?;
    Ok(text.to_owned())
}

fn number(text: &str) -> Result<Expr, String> {
    let number = serde_json::from_str(text).ok().filter(Json::is_number);
    number.as_ref().and_then(literal).ok_or_else(|| format!("`{text}` is no number"))
}

fn whole(text: &str) -> Result<Expr, String> {
    let value: i64 = text.parse().map_err(|_odd| format!("`{text}` is no whole number"))?;
    number(&value.to_string())
}

fn float(value: f64) -> Result<Expr, String> {
    if value.is_finite() {
        number(&format!("{value:?}"))
    } else {
        text_as(&value.to_string(), Kind::Float8)
    }
}

fn text_value(kind: Kind, text: &str) -> Result<Expr, String> {
    let trimmed = text.trim();
    match kind {
        Kind::Int2 | Kind::Int4 | Kind::Int8 | Kind::Oid => whole(trimmed),
        Kind::Float4 | Kind::Float8 => {
            float(trimmed.parse().map_err(|_odd| format!("`{text}` is no number"))?)
        }
        Kind::Numeric => number(trimmed),
        Kind::Bool => match trimmed.to_ascii_lowercase().as_str() {
            "t" | "true" | "1" | "on" | "y" | "yes" => Ok(literal_bool(true)),
            "f" | "false" | "0" | "off" | "n" | "no" => Ok(literal_bool(false)),
            _ => Err(format!("`{text}` is no boolean")),
        },
        Kind::Bytea => {
            let hex =
                text.strip_prefix("\\x").filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
            bytes_literal(hex.ok_or_else(|| "bytes are written \\x and in hex".to_owned())?)
        }
        Kind::Date | Kind::Timestamp | Kind::Timestamptz | Kind::Interval => text_as(trimmed, kind),
        _ => Ok(text_literal(text)),
    }
}

fn literal_bool(value: bool) -> Expr {
    Expr::value(Value::Boolean(value))
}

fn bytes_literal(hex: &str) -> Result<Expr, String> {
    expr_of(&format!("X'{hex}'"), &Params::default()).map_err(|error| error.to_string())
}

fn binary_value(kind: Kind, bytes: &Bytes) -> Result<Expr, String> {
    let odd = || format!("{} bytes are no {}", bytes.len(), kind.facts().sql_name);
    let mut rest = bytes.clone();
    let value = match kind {
        Kind::Bool => literal_bool(rest.try_get_u8().map_err(|_short| odd())? != 0),
        Kind::Int2 => whole(&rest.try_get_i16().map_err(|_short| odd())?.to_string())?,
        Kind::Int4 => whole(&rest.try_get_i32().map_err(|_short| odd())?.to_string())?,
        Kind::Int8 => whole(&rest.try_get_i64().map_err(|_short| odd())?.to_string())?,
        Kind::Oid => whole(&rest.try_get_u32().map_err(|_short| odd())?.to_string())?,
        Kind::Float4 => float(rest.try_get_f32().map_err(|_short| odd())?.into())?,
        Kind::Float8 => float(rest.try_get_f64().map_err(|_short| odd())?)?,
        Kind::Numeric => number(&read_numeric(rest.split_off(0)).ok_or_else(odd)?)?,
        Kind::Date => {
            let days =
                i64::from(rest.try_get_i32().map_err(|_short| odd())?) + i64::from(EPOCH_DAYS);
            let time = DateTime::from_timestamp(days * 86_400, 0).ok_or_else(odd)?;
            text_as(&time.format("%Y-%m-%d").to_string(), kind)?
        }
        Kind::Timestamp | Kind::Timestamptz => {
            let micros = rest.try_get_i64().map_err(|_short| odd())?;
            let time = micros.checked_add(EPOCH_MICROS).and_then(DateTime::from_timestamp_micros);
            let zone = if kind == Kind::Timestamptz { "Z" } else { "" };
            let text = time.ok_or_else(odd)?.format("%Y-%m-%dT%H:%M:%S%.6f");
            text_as(&format!("{text}{zone}"), kind)?
        }
        Kind::Interval => {
            let micros = rest.try_get_i64().map_err(|_short| odd())?;
            let days = rest.try_get_i32().map_err(|_short| odd())?;
            let months = rest.try_get_i32().map_err(|_short| odd())?;
            text_as(&format!("{months} months {days} days {micros} microseconds"), kind)?
        }
        Kind::Bytea => {
            let hex: String = rest.split_off(0).iter().map(|byte| format!("{byte:02x}")).collect();
            bytes_literal(&hex)?
        }
        Kind::Uuid => uuid(&rest.split_off(0)).ok_or_else(odd)?,
        Kind::Jsonb if rest.first() == Some(&1) => {
            rest.advance(1);
            text_literal(&text_of(&rest.split_off(0))?)
        }
        _ => text_literal(&text_of(&rest.split_off(0))?),
    };
    if rest.is_empty() { Ok(value) } else { Err(odd()) }
}

/// As it is written: ids are texts here.
fn uuid(bytes: &Bytes) -> Option<Expr> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts =
        [hex.get(..8)?, hex.get(8..12)?, hex.get(12..16)?, hex.get(16..20)?, hex.get(20..32)?];
    (bytes.len() == 16).then(|| text_literal(&parts.join("-")))
}

fn array(items: Vec<Expr>) -> Expr {
    Expr::Array(Array { elem: items, named: true })
}

/// The items of an array that are none. The first says of which type they are: that takes a hundred
/// times the room.
#[derive(Debug, Default)]
struct Nulls {
    typed: bool,
}

impl Nulls {
    fn next(&mut self, kind: Kind) -> Result<Expr, String> {
        if std::mem::replace(&mut self.typed, true) {
            return Ok(Expr::value(Value::Null));
        }
        null(Type::one(kind))
    }
}

fn binary_array(kind: Kind, mut bytes: Bytes) -> Result<Expr, String> {
    let odd = || "an array is cut off, or has more than one dimension".to_owned();
    let dimensions = bytes.try_get_i32().map_err(|_short| odd())?;
    let _has_nulls = bytes.try_get_i32().map_err(|_short| odd())?;
    let oid = bytes.try_get_u32().map_err(|_short| odd())?;
    // The items may be of another type than the parameter was said to be of.
    let kind = Type::of_oid(oid).filter(|of| !of.is_array).map_or(kind, |of| of.kind);
    if dimensions == 0 {
        return null_items(kind);
    }
    let items = bytes.try_get_i32().map_err(|_short| odd())?;
    let _first = bytes.try_get_i32().map_err(|_short| odd())?;
    let items = usize::try_from(items).ok().filter(|items| *items <= ITEMS_MAX && dimensions == 1);
    let mut values = Vec::new();
    let mut nulls = Nulls::default();
    for _ in 0..items.ok_or_else(odd)? {
        let length = bytes.try_get_i32().map_err(|_short| odd())?;
        values.push(match usize::try_from(length) {
            Err(_null) => nulls.next(kind)?,
            Ok(length) if length <= bytes.len() => binary_value(kind, &bytes.split_to(length))?,
            Ok(_) => return Err(odd()),
        });
    }
    Ok(array(values))
}

/// An array without items, of the type that it would have with some.
fn null_items(kind: Kind) -> Result<Expr, String> {
    typed("make_array()", Params::default(), &DataType::new_list(arrow_type(kind), true))
}

fn text_array(kind: Kind, text: &str) -> Result<Expr, String> {
    let odd = || format!("`{text}` is no array such as {{a,\"b c\",NULL}}");
    let inside = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let inside = inside.ok_or_else(odd)?;
    if inside.trim().is_empty() {
        return null_items(kind);
    }
    let mut values = Vec::new();
    let mut nulls = Nulls::default();
    let mut rest = inside.chars().peekable();
    loop {
        let item = next_item(&mut rest).ok_or_else(odd)?;
        if values.len() == ITEMS_MAX {
            return Err(format!("an array has at most {ITEMS_MAX} items"));
        }
        values.push(match item {
            (item, false) if item.eq_ignore_ascii_case("null") => nulls.next(kind)?,
            (item, _) => text_value(kind, &item)?,
        });
        match rest.next() {
            None => return Ok(array(values)),
            Some(',') => {}
            Some(_) => return Err(odd()),
        }
    }
}

/// The text of an item, and whether it is quoted.
fn next_item(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<(String, bool)> {
    let mut item = String::new();
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
    if rest.next_if_eq(&'"').is_none() {
        while let Some(c) = rest.next_if(|c| !matches!(c, ',' | '{' | '}' | '"')) {
            item.push(if c == '\\' { rest.next()? } else { c });
        }
        let item = item.trim_end().to_owned();
        return (!item.is_empty()).then_some((item, false));
    }
    loop {
        match rest.next()? {
            '"' => break,
            '\\' => item.push(rest.next()?),
            c => item.push(c),
        }
    }
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
    Some((item, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(kind: Kind, binary: bool, bytes: &[u8]) -> Result<String, String> {
        let bytes = Bytes::copy_from_slice(bytes);
        value(Type::one(kind), binary, Some(&bytes)).map(|expr| expr.to_string())
    }

    /// Scenario: values of each type in both forms, values that would end a text, and nonsense of every
    /// length.
    /// Guarantees: literals of the type that was said; nonsense is refused, never a panic.
    #[test]
    fn values_become_literals() {
        let check = |of, binary, bytes: &[u8], sql: &str| {
            assert_eq!(kind(of, binary, bytes).as_deref(), Ok(sql), "{of:?} {bytes:?}");
        };
        check(Kind::Int8, false, b" -5 ", "(-5)");
        check(Kind::Int8, true, &i64::MAX.to_be_bytes(), "9223372036854775807");
        check(Kind::Int2, true, &[0xff, 0xfe], "(-2)");
        check(Kind::Float8, true, &0.5_f64.to_be_bytes(), "0.5");
        check(Kind::Float8, false, b"NaN", "arrow_cast('NaN', 'Float64')");
        check(Kind::Bool, false, b"T", "true");
        check(Kind::Text, true, b"it's", "'it''s'");
        check(Kind::Bytea, false, b"\\x00fF", "X'00fF'");
        check(Kind::Bytea, true, &[0, 255], "X'00ff'");
        check(Kind::Numeric, true, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 7], "7");
        check(Kind::Date, true, &0_i32.to_be_bytes(), "arrow_cast('2000-01-01', 'Date32')");
        let zoned = "arrow_cast('2000-01-01T00:00:00.000001Z', 'Timestamp(ns, \"UTC\")')";
        check(Kind::Timestamptz, true, &1_i64.to_be_bytes(), zoned);
        check(Kind::Jsonb, true, b"\x01{}", "'{}'");
        let uuid: Vec<u8> = (0..16).collect();
        check(Kind::Uuid, true, &uuid, "'00010203-0405-0607-0809-0a0b0c0d0e0f'");
        for of in [Kind::Int2, Kind::Int4, Kind::Int8, Kind::Float8, Kind::Bool, Kind::Numeric] {
            assert!(kind(of, false, b"1; DROP TABLE spans").is_err(), "{of:?}");
        }
        assert!(kind(Kind::Bytea, false, b"\\x'0").is_err());
        for facts in super::super::types::KINDS {
            for length in 0..24 {
                let garbage = vec![0xf7; length];
                for (is_array, binary) in
                    [(false, true), (true, true), (true, false), (false, false)]
                {
                    let of = Type { kind: facts.kind, is_array };
                    drop(value(of, binary, Some(&Bytes::from(garbage.clone()))));
                }
            }
        }
    }

    /// Scenario: arrays in both forms, with nulls, quotes, brackets, and cut off at every byte.
    /// Guarantees: each item as it is; what is cut off is refused.
    #[test]
    fn arrays_are_read_item_by_item() {
        let of = |kind, binary, bytes: &[u8]| {
            let of = Type { kind, is_array: true };
            value(of, binary, Some(&Bytes::copy_from_slice(bytes))).map(|expr| expr.to_string())
        };
        let text = of(Kind::Text, false, br#"{a, "b \"c\" {},", NULL, "null", d\,e}"#);
        let null = "arrow_cast(NULL, 'Utf8')";
        let expected = format!("ARRAY['a', 'b \"c\" {{}},', {null}, 'null', 'd,e']");
        assert_eq!(text, Ok(expected));
        assert_eq!(of(Kind::Int8, false, b"{1,-2}").as_deref(), Ok("ARRAY[1, (-2)]"));
        for wrong in ["", "1,2", "{1", "{1,}", "{{1}}", "{a\"b}", "{\"a}"] {
            assert!(of(Kind::Text, false, wrong.as_bytes()).is_err(), "{wrong}");
        }
        let mut binary = Vec::new();
        for word in [1_i32, 1, 23, 2, 1, 4, 7, -1] {
            binary.extend(word.to_be_bytes());
        }
        let whole = "ARRAY[7, arrow_cast(NULL, 'Int32')]";
        assert_eq!(of(Kind::Int8, true, &binary).as_deref(), Ok(whole));
        for end in 0..binary.len() {
            assert!(of(Kind::Int8, true, &binary[..end]).is_err(), "{end}");
        }
        binary[12..16].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(of(Kind::Int8, true, &binary).is_err());
    }
}
