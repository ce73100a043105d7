//! Decimal numbers in PostgreSQL's binary form: digits to the base of ten thousand.
//!
//! Invariant: reading what was written gives the same number, with the same decimals.

use std::fmt::Write as _;

use bytes::{Buf, BufMut, Bytes, BytesMut};

const NEGATIVE: u16 = 0x4000;
const POSITIVE: u16 = 0;
/// Digits of one group.
const GROUP: usize = 4;
/// The most groups before or behind the point that are read.
const GROUPS_MAX: i32 = 64;

/// Writes a number that is given as `-123.45`.
pub(super) fn write_numeric(text: &str, out: &mut BytesMut) {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (POSITIVE, text),
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    // Padded to full groups on both sides of the point.
    let mut digits = "0".repeat(whole.len().next_multiple_of(GROUP) - whole.len());
    digits.push_str(whole);
    let groups_before = digits.len() / GROUP;
    digits.push_str(decimals);
    digits.push_str(&"0".repeat(digits.len().next_multiple_of(GROUP) - digits.len()));
    let group =
        |digits: &[u8]| digits.iter().fold(0, |sum, digit| 10 * sum + u16::from(digit - b'0'));
    let mut groups: Vec<u16> = digits.as_bytes().chunks(GROUP).map(group).collect();
    let count = |count: usize| i16::try_from(count).unwrap_or(i16::MAX);
    let mut weight = count(groups_before) - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight = if groups.is_empty() { 0 } else { weight - count(leading) };
    while groups.last() == Some(&0) {
        groups.pop();
    }
    out.put_i16(count(groups.len()));
    out.put_i16(weight);
    out.put_u16(if groups.is_empty() { POSITIVE } else { sign });
    out.put_i16(count(decimals.len()));
    groups.iter().for_each(|group| out.put_u16(*group));
}

/// The number in digits; none where it is no finite number, or one of endless digits.
pub(super) fn read_numeric(mut bytes: Bytes) -> Option<String> {
    let count = usize::from(bytes.try_get_u16().ok()?);
    let weight = i32::from(bytes.try_get_i16().ok()?);
    let sign = bytes.try_get_u16().ok()?;
    let decimals = usize::from(bytes.try_get_u16().ok()?);
    let is_number = matches!(sign, POSITIVE | NEGATIVE) && bytes.len() == 2 * count;
    if !is_number || weight.abs() > GROUPS_MAX || decimals > GROUP * GROUPS_MAX as usize {
        return None;
    }
    let mut groups = Vec::new();
    while let Ok(group) = bytes.try_get_u16() {
        groups.push(group);
    }
    let group = |at: i32| usize::try_from(at).ok().and_then(|at| groups.get(at)).copied();
    let mut text = String::from(if sign == NEGATIVE { "-" } else { "" });
    let mut whole = String::new();
    for at in 0..=weight {
        write!(whole, "{:04}", group(at).unwrap_or(0)).unwrap_or_default();
    }
    let whole = whole.trim_start_matches('0');
    text.push_str(if whole.is_empty() { "0" } else { whole });
    let mut behind = String::new();
    let mut at = weight + 1;
    while behind.len() < decimals {
        write!(behind, "{:04}", group(at).unwrap_or(0)).unwrap_or_default();
        at += 1;
    }
    behind.truncate(decimals);
    if !behind.is_empty() {
        text.push('.');
        text.push_str(&behind);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: numbers with and without decimals, of few and of many groups, and nonsense.
    /// Guarantees: the digits that PostgreSQL itself sends, and the same number when read again.
    #[test]
    fn numbers_travel_whole() {
        let written = |text: &str| {
            let mut out = BytesMut::new();
            write_numeric(text, &mut out);
            out.freeze()
        };
        for text in [
            "0",
            "1",
            "-1",
            "10000",
            "12345678.90123",
            "0.00012",
            "-0.5",
            "18446744073709551615",
            "0.00",
            "100000000.0",
        ] {
            assert_eq!(read_numeric(written(text)).as_deref(), Some(text), "{text}");
        }
        assert_eq!(&written("12345.678")[..], [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 9, 41, 26, 124]);
        assert_eq!(&written("0.0001")[..], [0, 1, 255, 255, 0, 0, 0, 4, 0, 1]);
        for wrong in [
            &[0; 7][..],
            &[0, 1, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0xc0, 0, 0, 0],
            &[0, 0, 0x7f, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(read_numeric(Bytes::copy_from_slice(wrong)), None, "{wrong:?}");
        }
    }
}
