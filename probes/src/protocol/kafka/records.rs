//! Batches of records: how many there are, and what a single one says of itself.
//!
//! Invariant: counts are exact or absent; of a compressed batch only the head is read.

use super::field::Fields;

/// From the length of a batch on.
const LENGTH_END: usize = 12;
/// Where a batch says of which format it is: where messages had the like before there were batches.
const FORMAT_AT: usize = 16;
/// The format that is read.
const FORMAT: u8 = 2;
/// The head of a batch, up to its records.
const HEAD_BYTES: usize = 61;
/// The bits of the attributes that name a compression.
const COMPRESSION: i16 = 7;
/// A batch of the broker's own, which no consumer is shown.
const CONTROL: i16 = 0x20;

/// What a set of batches holds.
#[derive(Debug, Default)]
pub(super) struct Records<'a> {
    /// How many records; none where some were not kept, or are of the old format.
    pub(super) count: Option<u64>,
    /// The offset of the first one.
    pub(super) offset: Option<i64>,
    /// The record, where there is exactly one that is not compressed.
    pub(super) single: Option<Single<'a>>,
}

/// What a record says of itself.
#[derive(Debug, Default)]
pub(super) struct Single<'a> {
    pub(super) key: Option<&'a [u8]>,
    /// How long its value is; none: it deletes what has its key.
    pub(super) value_bytes: Option<u64>,
    pub(super) traceparent: Option<&'a str>,
    pub(super) tracestate: Option<&'a str>,
}

/// Reads what was kept of `length` bytes.
pub(super) fn records(length: usize, kept: &[u8]) -> Records<'_> {
    let mut found = Records { count: Some(0), ..Records::default() };
    let (mut rest, mut left) = (kept, length);
    let old = |rest: &[u8]| rest.get(FORMAT_AT).is_some_and(|format| *format < FORMAT);
    // A batch that is cut off by its sender is none: consumers pass it over. One message is shorter than a batch.
    while left >= HEAD_BYTES || left > FORMAT_AT && old(rest) {
        let Some((offset, size, batch)) = batch(rest) else {
            found.count = None;
            return found;
        };
        if size > left {
            break;
        }
        left -= size;
        if !batch.control {
            found.count = found.count.map(|count| count + batch.count);
            found.offset = found.offset.or(Some(offset));
            let single = found.count == Some(1) && batch.count == 1 && !batch.compressed;
            found.single = if single { record(batch.records) } else { None };
        }
        match rest.get(size..) {
            Some(behind) => rest = behind,
            None => rest = &[],
        }
    }
    found
}

struct Batch<'a> {
    count: u64,
    compressed: bool,
    control: bool,
    records: &'a [u8],
}

/// The offset, the size and the head of a batch.
fn batch(bytes: &[u8]) -> Option<(i64, usize, Batch<'_>)> {
    let mut fields = Fields::new(bytes, false);
    let offset = fields.i64()?;
    let size = LENGTH_END + usize::try_from(fields.i32()?).ok()?;
    let _leader_epoch = fields.i32()?;
    if u8::try_from(fields.i8()?).ok()? != FORMAT || size < HEAD_BYTES {
        return None;
    }
    let _checksum = fields.i32()?;
    let attributes = fields.i16()?;
    // The last offset, two times, the producer, its epoch, the first sequence.
    fields.bytes(4 + 8 + 8 + 8 + 2 + 4)?;
    let count = u64::try_from(fields.i32()?).ok()?;
    let compressed = attributes & COMPRESSION != 0;
    let control = attributes & CONTROL != 0;
    Some((offset, size, Batch { count, compressed, control, records: fields.rest() }))
}

fn record(bytes: &[u8]) -> Option<Single<'_>> {
    let mut fields = Fields::new(bytes, false);
    let _length = fields.zigzag()?;
    let _attributes = fields.i8()?;
    let _time = fields.zigzag()?;
    let _offset = fields.zigzag()?;
    let key = usize::try_from(fields.zigzag()?).ok();
    let key = match key {
        Some(length) => Some(fields.bytes(length)?),
        None => None,
    };
    let value = fields.zigzag()?;
    let value_bytes = u64::try_from(value).ok();
    let mut single = Single { key, value_bytes, ..Single::default() };
    // The value may not have been kept: then there are no headers either.
    let _ = headers(&mut fields, value, &mut single);
    Some(single)
}

fn headers<'a>(fields: &mut Fields<'a>, value: i64, single: &mut Single<'a>) -> Option<()> {
    fields.bytes(usize::try_from(value.max(0)).ok()?)?;
    for _ in 0..fields.zigzag()? {
        let name = usize::try_from(fields.zigzag()?).ok()?;
        let name = fields.bytes(name)?;
        let value = usize::try_from(fields.zigzag()?.max(0)).ok()?;
        let value = std::str::from_utf8(fields.bytes(value)?).ok();
        match name {
            b"traceparent" => single.traceparent = value,
            b"tracestate" => single.tracestate = value,
            _ => {}
        }
    }
    Some(())
}
