//! Data points of all kinds, read off the wire into one form.

use super::super::rows::{self, Refusal, collect, id_unless_empty};
use super::super::wire::{Broken, Reader, delimited, fields, fixed64, varint};
use super::exemplars::Exemplar;

/// The singular fields of a point of any kind.
#[derive(Debug, Default)]
pub(in crate::decode) struct Point {
    start: u64,
    time: u64,
    pub(super) flags: u32,
    pub(super) value: Option<Number>,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) scale: i32,
    pub(super) zero_count: u64,
    pub(super) zero_threshold: f64,
    /// `None` where the point has no such message.
    pub(super) positive_offset: Option<i32>,
    pub(super) negative_offset: Option<i32>,
}

/// A value that came as a double or as an int.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Double(f64),
    Int(i64),
}

impl Number {
    /// Ints beyond 2^53 are rounded: `value_int` has them whole.
    #[expect(clippy::cast_precision_loss, reason = "value_int keeps what is lost")]
    pub(super) const fn double(self) -> f64 {
        match self {
            Self::Double(number) => number,
            Self::Int(number) => number as f64,
        }
    }

    pub(super) const fn int(self) -> Option<i64> {
        match self {
            Self::Double(_) => None,
            Self::Int(number) => Some(number),
        }
    }
}

/// The repeated fields of a point.
#[derive(Debug, Default)]
pub(in crate::decode) struct Parts<'a> {
    pub(in crate::decode) attributes: Vec<&'a [u8]>,
    pub(super) exemplars: Vec<Exemplar<'a>>,
    pub(super) bounds: Vec<f64>,
    pub(super) counts: Vec<u64>,
    pub(super) positive: Vec<u64>,
    pub(super) negative: Vec<u64>,
    pub(super) quantiles: Vec<(f64, f64)>,
}

impl Parts<'_> {
    pub(in crate::decode) fn clear(&mut self) {
        let Self { attributes, exemplars, bounds, counts, positive, negative, quantiles } = self;
        attributes.clear();
        exemplars.clear();
        bounds.clear();
        counts.clear();
        positive.clear();
        negative.clear();
        quantiles.clear();
    }

    /// Rows of nested tables.
    pub(in crate::decode) const fn nested(&self) -> usize {
        self.exemplars.len() + self.quantiles.len()
    }
}

/// The times of a point, looked at.
#[derive(Debug, Clone, Copy)]
pub(in crate::decode) struct Times {
    pub(in crate::decode) time: i64,
    pub(super) start: Option<i64>,
}

fn double(reader: &mut Reader<'_>) -> Result<f64, Broken> {
    reader.fixed64().map(f64::from_bits)
}

/// Packed numbers; they go behind those that came before.
fn packed<T>(
    bytes: &[u8],
    out: &mut Vec<T>,
    next: impl Fn(&mut Reader<'_>) -> Result<T, Broken>,
) -> Result<(), Broken> {
    let mut reader = Reader::new(bytes, 0);
    while !reader.at_end() {
        out.push(next(&mut reader)?);
    }
    Ok(())
}

impl Point {
    /// Whether it becomes a row, where there is room for one.
    pub(in crate::decode) fn check(
        &self,
        parts: &Parts<'_>,
        room: Result<(), Refusal>,
    ) -> Result<Times, Refusal> {
        room?;
        for exemplar in &parts.exemplars {
            rows::time("exemplar.time_unix_nano", exemplar.time)?;
            id_unless_empty::<16>("exemplar.trace_id", exemplar.trace_id)?;
            id_unless_empty::<8>("exemplar.span_id", exemplar.span_id)?;
        }
        let start = rows::time("start_time_unix_nano", self.start)?;
        let time = rows::time("time_unix_nano", self.time)?;
        Ok(Times { time, start: (start != 0).then_some(start) })
    }

    pub(super) fn read_number<'a>(
        bytes: &'a [u8],
        limit: u32,
        parts: &mut Parts<'a>,
    ) -> Result<Self, Broken> {
        const START: u32 = fixed64(2);
        const TIME: u32 = fixed64(3);
        const DOUBLE: u32 = fixed64(4);
        const EXEMPLAR: u32 = delimited(5);
        const INT: u32 = fixed64(6);
        const ATTRIBUTE: u32 = delimited(7);
        const FLAGS: u32 = varint(8);
        const KNOWN: u32 = fields(&[2, 3, 4, 5, 6, 7, 8]);
        let mut point = Self::default();
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                START => point.start = reader.fixed64()?,
                TIME => point.time = reader.fixed64()?,
                DOUBLE => point.value = Some(Number::Double(double(&mut reader)?)),
                EXEMPLAR => {
                    collect(&mut parts.exemplars, Exemplar::read(reader.message()?, limit - 1)?);
                }
                INT => point.value = Some(Number::Int(reader.fixed64()?.cast_signed())),
                ATTRIBUTE => collect(&mut parts.attributes, reader.message()?),
                FLAGS => point.flags = reader.uint32()?,
                _ => reader.skip(key, KNOWN)?,
            }
        }
        Ok(point)
    }

    pub(super) fn read_histogram<'a>(
        bytes: &'a [u8],
        limit: u32,
        parts: &mut Parts<'a>,
    ) -> Result<Self, Broken> {
        const START: u32 = fixed64(2);
        const TIME: u32 = fixed64(3);
        const COUNT: u32 = fixed64(4);
        const SUM: u32 = fixed64(5);
        const BUCKET: u32 = fixed64(6);
        const BUCKETS: u32 = delimited(6);
        const BOUND: u32 = fixed64(7);
        const BOUNDS: u32 = delimited(7);
        const EXEMPLAR: u32 = delimited(8);
        const ATTRIBUTE: u32 = delimited(9);
        const FLAGS: u32 = varint(10);
        const MIN: u32 = fixed64(11);
        const MAX: u32 = fixed64(12);
        const KNOWN: u32 = fields(&[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let mut point = Self::default();
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                START => point.start = reader.fixed64()?,
                TIME => point.time = reader.fixed64()?,
                COUNT => point.count = reader.fixed64()?,
                SUM => point.sum = Some(double(&mut reader)?),
                BUCKET => parts.counts.push(reader.fixed64()?),
                BUCKETS => packed(reader.bytes()?, &mut parts.counts, |reader| reader.fixed64())?,
                BOUND => parts.bounds.push(double(&mut reader)?),
                BOUNDS => packed(reader.bytes()?, &mut parts.bounds, double)?,
                EXEMPLAR => {
                    collect(&mut parts.exemplars, Exemplar::read(reader.message()?, limit - 1)?);
                }
                ATTRIBUTE => collect(&mut parts.attributes, reader.message()?),
                FLAGS => point.flags = reader.uint32()?,
                MIN => point.min = Some(double(&mut reader)?),
                MAX => point.max = Some(double(&mut reader)?),
                _ => reader.skip(key, KNOWN)?,
            }
        }
        Ok(point)
    }

    pub(super) fn read_exponential<'a>(
        bytes: &'a [u8],
        limit: u32,
        parts: &mut Parts<'a>,
    ) -> Result<Self, Broken> {
        const ATTRIBUTE: u32 = delimited(1);
        const START: u32 = fixed64(2);
        const TIME: u32 = fixed64(3);
        const COUNT: u32 = fixed64(4);
        const SUM: u32 = fixed64(5);
        const SCALE: u32 = varint(6);
        const ZERO_COUNT: u32 = fixed64(7);
        const POSITIVE: u32 = delimited(8);
        const NEGATIVE: u32 = delimited(9);
        const FLAGS: u32 = varint(10);
        const EXEMPLAR: u32 = delimited(11);
        const MIN: u32 = fixed64(12);
        const MAX: u32 = fixed64(13);
        const ZERO_THRESHOLD: u32 = fixed64(14);
        const KNOWN: u32 = fields(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        let mut point = Self::default();
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                ATTRIBUTE => collect(&mut parts.attributes, reader.message()?),
                START => point.start = reader.fixed64()?,
                TIME => point.time = reader.fixed64()?,
                COUNT => point.count = reader.fixed64()?,
                SUM => point.sum = Some(double(&mut reader)?),
                SCALE => point.scale = reader.sint32()?,
                ZERO_COUNT => point.zero_count = reader.fixed64()?,
                POSITIVE => {
                    let offset = point.positive_offset.get_or_insert_default();
                    read_buckets(reader.message()?, limit - 1, offset, &mut parts.positive)?;
                }
                NEGATIVE => {
                    let offset = point.negative_offset.get_or_insert_default();
                    read_buckets(reader.message()?, limit - 1, offset, &mut parts.negative)?;
                }
                FLAGS => point.flags = reader.uint32()?,
                EXEMPLAR => {
                    collect(&mut parts.exemplars, Exemplar::read(reader.message()?, limit - 1)?);
                }
                MIN => point.min = Some(double(&mut reader)?),
                MAX => point.max = Some(double(&mut reader)?),
                ZERO_THRESHOLD => point.zero_threshold = double(&mut reader)?,
                _ => reader.skip(key, KNOWN)?,
            }
        }
        Ok(point)
    }

    pub(super) fn read_summary<'a>(
        bytes: &'a [u8],
        limit: u32,
        parts: &mut Parts<'a>,
    ) -> Result<Self, Broken> {
        const START: u32 = fixed64(2);
        const TIME: u32 = fixed64(3);
        const COUNT: u32 = fixed64(4);
        const SUM: u32 = fixed64(5);
        const QUANTILE: u32 = delimited(6);
        const ATTRIBUTE: u32 = delimited(7);
        const FLAGS: u32 = varint(8);
        const KNOWN: u32 = fields(&[2, 3, 4, 5, 6, 7, 8]);
        let mut point = Self { sum: Some(0.0), ..Self::default() };
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                START => point.start = reader.fixed64()?,
                TIME => point.time = reader.fixed64()?,
                COUNT => point.count = reader.fixed64()?,
                SUM => point.sum = Some(double(&mut reader)?),
                QUANTILE => {
                    collect(&mut parts.quantiles, read_quantile(reader.message()?, limit - 1)?);
                }
                ATTRIBUTE => collect(&mut parts.attributes, reader.message()?),
                FLAGS => point.flags = reader.uint32()?,
                _ => reader.skip(key, KNOWN)?,
            }
        }
        Ok(point)
    }
}

fn read_buckets(
    bytes: &[u8],
    limit: u32,
    offset: &mut i32,
    counts: &mut Vec<u64>,
) -> Result<(), Broken> {
    const OFFSET: u32 = varint(1);
    const COUNT: u32 = varint(2);
    const COUNTS: u32 = delimited(2);
    let mut reader = Reader::new(bytes, limit);
    while let Some(key) = reader.key()? {
        match key {
            OFFSET => *offset = reader.sint32()?,
            COUNT => counts.push(reader.varint()?),
            COUNTS => packed(reader.bytes()?, counts, |reader| reader.varint())?,
            _ => reader.skip(key, fields(&[1, 2]))?,
        }
    }
    Ok(())
}

fn read_quantile(bytes: &[u8], limit: u32) -> Result<(f64, f64), Broken> {
    const QUANTILE: u32 = fixed64(1);
    const VALUE: u32 = fixed64(2);
    let (mut quantile, mut value) = (0.0, 0.0);
    let mut reader = Reader::new(bytes, limit);
    while let Some(key) = reader.key()? {
        match key {
            QUANTILE => quantile = double(&mut reader)?,
            VALUE => value = double(&mut reader)?,
            _ => reader.skip(key, fields(&[1, 2]))?,
        }
    }
    Ok((quantile, value))
}
