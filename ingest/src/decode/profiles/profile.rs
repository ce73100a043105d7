//! What a profile says of all of its samples.

use super::super::rows::{self, Refusal, id_unless_empty};
use super::super::wire::{Broken, Reader, delimited, fixed64, varint};
use super::attributes::{Attributes, Chosen};
use super::dictionary::{Dictionary, each_index};
use super::fault::{Budget, Fault};

/// As it is on the wire.
#[derive(Debug, Default)]
pub(super) struct Profile<'a> {
    sample_type: ValueType,
    period_type: ValueType,
    time: u64,
    duration: u64,
    period: i64,
    id: &'a [u8],
    dropped: u32,
    payload_format: &'a [u8],
    payload: &'a [u8],
}

/// Both are indices of texts.
#[derive(Debug, Default)]
struct ValueType {
    kind: i32,
    unit: i32,
}

/// As the columns take it. All texts were looked at.
#[derive(Debug)]
pub(in super::super) struct Head<'a> {
    pub(super) sample_type: &'a [u8],
    pub(super) unit: &'a [u8],
    pub(super) period_type: &'a [u8],
    pub(super) period_unit: &'a [u8],
    pub(super) period: i64,
    pub(super) time: i64,
    pub(super) duration: i64,
    pub(super) profile_id: Option<&'a [u8; 16]>,
    pub(super) dropped: u32,
    pub(super) payload_format: &'a [u8],
    pub(super) payload: &'a [u8],
    /// A JSON object; empty where there are none.
    pub(super) attributes: String,
}

impl Head<'_> {
    /// Bytes of texts that columns have of it, at most.
    pub(super) fn bytes(&self) -> usize {
        let texts = [self.sample_type, self.unit, self.period_type, self.period_unit];
        let texts: usize = texts.into_iter().map(<[u8]>::len).sum();
        // Base64 is four bytes for each three.
        let payload = self.payload_format.len() + self.payload.len().div_ceil(3) * 4;
        texts + payload + self.attributes.len()
    }
}

impl ValueType {
    fn read(&mut self, bytes: &[u8], limit: u32) -> Result<(), Broken> {
        const KIND: u32 = varint(1);
        const UNIT: u32 = varint(2);
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                KIND => self.kind = reader.int32()?,
                UNIT => self.unit = reader.int32()?,
                _ => reader.skip(key, 0)?,
            }
        }
        Ok(())
    }
}

impl<'a> Profile<'a> {
    pub(super) fn read(bytes: &'a [u8], limit: u32) -> Result<Self, Broken> {
        const SAMPLE_TYPE: u32 = delimited(1);
        const TIME: u32 = fixed64(3);
        const DURATION: u32 = varint(4);
        const PERIOD_TYPE: u32 = delimited(5);
        const PERIOD: u32 = varint(6);
        const ID: u32 = delimited(7);
        const DROPPED: u32 = varint(8);
        const PAYLOAD_FORMAT: u32 = delimited(9);
        const PAYLOAD: u32 = delimited(10);
        let mut profile = Self::default();
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                SAMPLE_TYPE => profile.sample_type.read(reader.message()?, limit - 1)?,
                TIME => profile.time = reader.fixed64()?,
                DURATION => profile.duration = reader.varint()?,
                PERIOD_TYPE => profile.period_type.read(reader.message()?, limit - 1)?,
                PERIOD => profile.period = reader.varint()?.cast_signed(),
                ID => profile.id = reader.bytes()?,
                DROPPED => profile.dropped = reader.uint32()?,
                PAYLOAD_FORMAT => profile.payload_format = reader.bytes()?,
                PAYLOAD => profile.payload = reader.bytes()?,
                _ => reader.skip(key, 0)?,
            }
        }
        Ok(profile)
    }

    /// With what it refers to. `bytes` are those that it was read from.
    pub(super) fn head(
        self,
        bytes: &[u8],
        dictionary: &Dictionary<'a>,
        attributes: &mut Attributes,
        budget: &mut Budget,
    ) -> Result<Head<'a>, Fault> {
        let Self { sample_type, period_type, time, duration, period, id, dropped, .. } = self;
        let nanos = duration;
        let mut text = |field, index| -> Result<&'a [u8], Refusal> {
            let text = dictionary.string(field, index)?;
            budget.spend(text.len()).map(|()| text)
        };
        Ok(Head {
            sample_type: text("type_strindex", sample_type.kind)?,
            unit: text("unit_strindex", sample_type.unit)?,
            period_type: text("type_strindex", period_type.kind)?,
            period_unit: text("unit_strindex", period_type.unit)?,
            period,
            time: rows::time("time_unix_nano", time)?,
            duration: i64::try_from(nanos).map_err(|_long| Refusal::Duration { nanos })?,
            profile_id: id_unless_empty("profile_id", id)?,
            dropped,
            payload_format: self.payload_format,
            payload: self.payload,
            attributes: attributes_text(bytes, dictionary, attributes, budget)?,
        })
    }
}

fn attributes_text(
    bytes: &[u8],
    dictionary: &Dictionary<'_>,
    attributes: &mut Attributes,
    budget: &mut Budget,
) -> Result<String, Fault> {
    const ATTRIBUTES: u32 = 11;
    let mut chosen = Chosen::default();
    each_index(bytes, ATTRIBUTES, |index| {
        attributes.choose(&mut chosen, index, dictionary, budget, Budget::spend_attributes)
    })?;
    Ok(attributes.text(&chosen)?)
}
