//! One sample, as it is on the wire.

use super::super::rows::{self, Refusal, collect};
use super::super::wire::{Broken, Reader, delimited, fields, fixed64, varint};

/// Its memory is kept from sample to sample.
#[derive(Debug, Default)]
pub(in super::super) struct Sample {
    pub(super) stack: i32,
    pub(super) link: i32,
    pub(in super::super) attributes: Vec<i32>,
    pub(super) values: Vec<i64>,
    pub(super) timestamps: Vec<u64>,
}

impl Sample {
    /// Becomes the sample in these bytes.
    pub(super) fn read(&mut self, bytes: &[u8], limit: u32) -> Result<(), Broken> {
        const STACK: u32 = varint(1);
        const ATTRIBUTE: u32 = varint(2);
        const ATTRIBUTES: u32 = delimited(2);
        const LINK: u32 = varint(3);
        const VALUE: u32 = varint(4);
        const VALUES: u32 = delimited(4);
        const TIMESTAMP: u32 = fixed64(5);
        const TIMESTAMPS: u32 = delimited(5);
        const KNOWN: u32 = fields(&[1, 2, 3, 4, 5]);

        self.clear();
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                STACK => self.stack = reader.int32()?,
                ATTRIBUTE => collect(&mut self.attributes, reader.int32()?),
                ATTRIBUTES => packed(&mut self.attributes, reader.bytes()?, Reader::int32)?,
                LINK => self.link = reader.int32()?,
                VALUE => collect(&mut self.values, int64(&mut reader)?),
                VALUES => packed(&mut self.values, reader.bytes()?, int64)?,
                TIMESTAMP => collect(&mut self.timestamps, reader.fixed64()?),
                TIMESTAMPS => packed(&mut self.timestamps, reader.bytes()?, Reader::fixed64)?,
                _ => reader.skip(key, KNOWN)?,
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        let Self { stack, link, attributes, values, timestamps } = self;
        (*stack, *link) = (0, 0);
        attributes.clear();
        values.clear();
        timestamps.clear();
    }

    /// Observations that the row lists: none where its value says all.
    pub(in super::super) fn nested(&self) -> usize {
        match (self.values.len(), self.timestamps.len()) {
            (1, 0) => 0,
            (values, timestamps) => values.max(timestamps),
        }
    }

    /// The value of the row, where what was observed is as it should be.
    pub(super) fn value(&self) -> Result<i64, Refusal> {
        let (values, timestamps) = (self.values.len(), self.timestamps.len());
        if values == 0 && timestamps == 0 {
            return Err(Refusal::NoObservations);
        }
        if values != timestamps && values != 0 && timestamps != 0 {
            return Err(Refusal::Observations { values, timestamps });
        }
        for time in &self.timestamps {
            rows::time("timestamps_unix_nano", *time)?;
        }
        if values == 0 {
            // Each point of time counts one.
            return i64::try_from(timestamps).map_err(|_many| Refusal::Sum);
        }
        let sum: i128 = self.values.iter().map(|value| i128::from(*value)).sum();
        i64::try_from(sum).map_err(|_large| Refusal::Sum)
    }
}

fn int64(reader: &mut Reader<'_>) -> Result<i64, Broken> {
    Ok(reader.varint()?.cast_signed())
}

/// Adds the numbers of a packed field.
fn packed<'a, T>(
    out: &mut Vec<T>,
    bytes: &'a [u8],
    next: impl Fn(&mut Reader<'a>) -> Result<T, Broken>,
) -> Result<(), Broken> {
    let mut reader = Reader::new(bytes, 0);
    while !reader.at_end() {
        collect(out, next(&mut reader)?);
    }
    Ok(())
}
