//! One JSON number, text or boolean as the value of a protobuf field.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::encode_varint;

use super::super::shape::Kind;

/// proto3 JSON lets readers take base64 with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Appends the value without key and length; `raw` is one whole JSON value. Of a repeated kind it
/// is one item.
pub(super) fn write(out: &mut Vec<u8>, kind: Kind, raw: &str) -> Result<(), String> {
    match kind {
        Kind::Text | Kind::Texts => out.extend_from_slice(text(raw)?.as_bytes()),
        Kind::Id => out.extend_from_slice(&hex(&text(raw)?)?),
        Kind::Bytes => {
            let standard = text(raw)?.replace('-', "+").replace('_', "/");
            BASE64.decode_vec(standard, out).map_err(|error| error.to_string())?;
        }
        Kind::Bool => encode_varint(boolean(raw)?.into(), out),
        Kind::Int32 | Kind::Int32s => {
            encode_varint(i64::from(integer::<i32>(raw)?).cast_unsigned(), out)
        }
        Kind::Uint32 => encode_varint(integer::<u32>(raw)?.into(), out),
        Kind::Sint32 => {
            let number = integer::<i32>(raw)?;
            encode_varint(((number << 1) ^ (number >> 31)).cast_unsigned().into(), out);
        }
        Kind::Int64 | Kind::Int64s => encode_varint(integer::<i64>(raw)?.cast_unsigned(), out),
        Kind::Uint64 | Kind::Uint64s => encode_varint(integer::<u64>(raw)?, out),
        Kind::Fixed32 => out.extend(integer::<u32>(raw)?.to_le_bytes()),
        Kind::Fixed64 | Kind::Fixed64s => out.extend(integer::<u64>(raw)?.to_le_bytes()),
        Kind::Sfixed64 => out.extend(integer::<i64>(raw)?.to_le_bytes()),
        Kind::Double | Kind::Doubles => out.extend(double(raw)?.to_le_bytes()),
        Kind::Message(_) | Kind::Messages(_) => return Err("an object was expected".to_owned()),
    }
    Ok(())
}

fn wrong(expected: &str, raw: &str) -> String {
    let start: String = raw.chars().take(40).collect();
    format!("`{start}` is not {expected}")
}

fn text(raw: &str) -> Result<String, String> {
    if !raw.starts_with('"') {
        return Err(wrong("a text", raw));
    }
    serde_json::from_str(raw).map_err(|error| error.to_string())
}

/// The digits of a number, which may stand in quotes.
fn digits(raw: &str) -> &str {
    raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw)
}

fn boolean(raw: &str) -> Result<bool, String> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong("true or false", raw)),
    }
}

/// An integer, also one that is written as `1.0` or `1e3`.
fn integer<T: std::str::FromStr + TryFrom<i64>>(raw: &str) -> Result<T, String> {
    /// From here on doubles do not tell neighbours apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Ok(number) = digits(raw).parse() {
        return Ok(number);
    }
    let number = double(raw).ok().filter(|number| number.fract() == 0.0 && number.abs() < EXACT);
    #[expect(clippy::cast_possible_truncation, reason = "whole and small, as was just seen")]
    let number = number.map(|number| number as i64);
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| wrong("an integer in range", raw))
}

/// Names of what is no number, digits in quotes, or a number; rounded as little as can be.
fn double(raw: &str) -> Result<f64, String> {
    match raw {
        "\"NaN\"" => Ok(f64::NAN),
        "\"Infinity\"" => Ok(f64::INFINITY),
        "\"-Infinity\"" => Ok(f64::NEG_INFINITY),
        _ => {
            let number = digits(raw).parse().ok().filter(|number: &f64| number.is_finite());
            number.ok_or_else(|| wrong("a number", raw))
        }
    }
}

fn hex(digits: &str) -> Result<Vec<u8>, String> {
    let pair = |pair: &[u8]| {
        let value = |digit: u8| char::from(digit).to_digit(16);
        let (high, low) = (value(*pair.first()?)?, value(*pair.get(1)?)?);
        u8::try_from(high * 16 + low).ok()
    };
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
    bytes.ok_or_else(|| wrong("an even number of hex digits", digits))
}
