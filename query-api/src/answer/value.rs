//! Values as JSON, and types as names.
//!
//! Invariant: what is written is one JSON value on one line. Ints are numbers of all their digits,
//! NaN and the infinities, for which JSON has no number, are the texts `"NaN"`, `"Infinity"` and
//! `"-Infinity"` as in OTLP, times are RFC 3339 with nine decimals (in UTC, unless the query
//! asks for another zone: then with its offset), bytes are hex, and text that is marked as JSON
//! stands as the value that it is.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, Float64Array, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::value::RawValue;

use crate::table::columns::is_json;

const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.9fZ";
/// Of times that a query has put into another zone than UTC.
const ZONED_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.9f%:z";
/// What UTC is called in types.
const UTC_NAMES: [&str; 6] = ["UTC", "Z", "+00:00", "+0000", "Etc/UTC", "GMT"];

/// How every value is written.
pub(crate) fn options() -> EncoderOptions {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_timestamp_format(TIME_FORMAT.to_owned())
        .with_timestamp_tz_format(TIME_FORMAT.to_owned())
        .with_encoder_factory(Arc::new(OwnForms))
}

/// Writes the cells of one column.
pub(crate) struct CellWriter<'a>(NullableEncoder<'a>);

impl<'a> CellWriter<'a> {
    /// For one column of one batch.
    pub(crate) fn new(
        field: &'a FieldRef,
        column: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        make_encoder(field, column, options).map(Self)
    }

    /// Appends one cell.
    pub(crate) fn write(&mut self, row: usize, out: &mut Vec<u8>) {
        if self.0.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            self.0.encode(row, out);
        }
    }

    /// Whether a cell is null.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.0.is_null(row)
    }
}

/// Puts text that is marked as JSON in place as the value that it is, and tells the offset of times
/// in other zones.
#[derive(Debug)]
struct OwnForms;

impl EncoderFactory for OwnForms {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if let DataType::Timestamp(_, Some(zone)) = array.data_type()
            && !UTC_NAMES.contains(&zone.as_ref())
        {
            let options = FormatOptions::new().with_timestamp_tz_format(Some(ZONED_FORMAT));
            let times = Zoned(ArrayFormatter::try_new(array, &options)?);
            return Ok(Some(NullableEncoder::new(Box::new(times), array.nulls().cloned())));
        }
        if array.data_type().is_floating() {
            return numbers(field, array);
        }
        let texts = array.as_string_view_opt().filter(|_| is_json(field));
        Ok(texts.map(|texts| NullableEncoder::new(Box::new(Raw(texts)), texts.nulls().cloned())))
    }
}

/// Numbers, where some have a text in their place.
fn numbers<'a>(
    field: &'a FieldRef,
    array: &'a dyn Array,
) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
    let doubles = cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone();
    if doubles.values().iter().all(|value| value.is_finite()) {
        return Ok(None);
    }
    let engines = make_encoder(field, array, PLAIN.get_or_init(EncoderOptions::default))?;
    let nulls = array.nulls().cloned();
    Ok(Some(NullableEncoder::new(Box::new(Numbers { doubles, engines }), nulls)))
}

/// Without forms of our own.
static PLAIN: OnceLock<EncoderOptions> = OnceLock::new();

struct Numbers<'a> {
    doubles: Float64Array,
    engines: NullableEncoder<'a>,
}

impl Encoder for Numbers<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.doubles.value(row);
        if value.is_finite() {
            self.engines.encode(row, out);
            return;
        }
        out.push(b'"');
        out.extend_from_slice(not_finite(value).as_bytes());
        out.push(b'"');
    }
}

/// What protobuf's JSON calls a value that is no finite number.
fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// Times in another zone than UTC.
struct Zoned<'a>(ArrayFormatter<'a>);

impl Encoder for Zoned<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        // A time that the calendar does not have.
        let Ok(time) = self.0.value(row).try_to_string() else {
            out.extend_from_slice(b"null");
            return;
        };
        out.push(b'"');
        out.extend_from_slice(time.as_bytes());
        out.push(b'"');
    }
}

struct Raw<'a>(&'a StringViewArray);

impl Encoder for Raw<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = self.0.value(row);
        // A mark can outlive the text that it was put on; only whole JSON goes out unquoted.
        let whole = !text.contains('\n') && serde_json::from_str::<&RawValue>(text).is_ok();
        if whole {
            out.extend_from_slice(text.as_bytes());
        } else {
            let mut quoted = String::with_capacity(text.len() + 2);
            icecore_store::model::value::write_string(&mut quoted, text);
            out.extend_from_slice(quoted.as_bytes());
        }
    }
}

/// The name of a column's type in JSON answers.
pub(crate) fn type_name(field: &Field) -> String {
    if is_json(field) { "Json".to_owned() } else { data_type_name(field.data_type()) }
}

fn data_type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "Utf8".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "Binary".to_owned(),
        DataType::Dictionary(_, values) => data_type_name(values),
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                TimeUnit::Second => "Second",
                TimeUnit::Millisecond => "Millisecond",
                TimeUnit::Microsecond => "Microsecond",
                TimeUnit::Nanosecond => "Nanosecond",
            };
            match zone {
                Some(zone) => format!("Timestamp({unit}, \"{zone}\")"),
                None => format!("Timestamp({unit})"),
            }
        }
        DataType::List(item) | DataType::LargeList(item) => format!("List<{}>", type_name(item)),
        DataType::Struct(fields) => {
            let fields =
                fields.iter().map(|field| format!("{} {}", field.name(), type_name(field)));
            format!("Struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
