//! Profiles to rows: one a sample, which is a stack in the interval of its profile.
//!
//! Invariants: a stack is made into text once a request, however many samples have it, and is kept
//! once a batch. The whole request was checked before anything of it comes here, so that no text is
//! looked at twice; what is looked at here is whether the indices lead anywhere.

mod attributes;
mod dictionary;
mod fault;
mod parts;
mod profile;
mod references;
mod sample;
mod stack;
mod text;

use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use arrow::error::ArrowError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use icecore_store::Table;

use self::parts::Checked;
pub(super) use self::parts::Parts;
use self::profile::Head;
use self::sample::Sample;
use super::columns::{Ids, Lists, Named, Numbers, PlainTexts, Texts};
use super::rows::{Items, Level, Rows, struct_fields, utc};
use super::wire::{Broken, LIMIT};

/// The columns of the profiles table.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    time: Numbers<TimestampNanosecondType>,
    duration: Numbers<Int64Type>,
    sample_type: Texts,
    unit: Texts,
    value: Numbers<Int64Type>,
    stack: Texts,
    frames: Texts,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    observations: Observations,
    profile_id: Ids<16>,
    period_type: Texts,
    period_unit: Texts,
    period: Numbers<Int64Type>,
    profile_attributes: Texts,
    payload_format: Texts,
    payload: PlainTexts,
}

impl Items for Profiles {
    const TABLE: Table = Table::Profiles;

    type Parts<'a> = Parts<'a>;

    fn begin<'a>(parts: &mut Parts<'a>, payload: &'a [u8]) -> Result<(), Broken> {
        parts.begin(payload)
    }

    fn enter<'a>(parts: &mut Parts<'a>, level: Level, bytes: &'a [u8]) -> Result<(), Broken> {
        parts.enter(level, bytes)
    }

    fn owner<'p>(parts: &'p Parts<'_>, level: Level) -> Option<&'p [u8]> {
        parts.owner(level)
    }

    fn put<'a>(
        &mut self,
        parts: &mut Parts<'a>,
        bytes: &'a [u8],
        limit: u32,
        rows: &mut Rows,
    ) -> Result<(), Broken> {
        let first = rows.len;
        let head = parts.each_sample(bytes, limit, |parts, head, sample| {
            let room = rows.admit(sample.attributes.len(), sample.nested());
            match parts.check(head, sample, room)? {
                Ok(checked) => self.push(sample, &checked, parts, rows),
                Err(refusal) => {
                    rows.quota.reject(&refusal);
                    Ok(())
                }
            }
        })?;
        // Where the head is at fault none of the samples is a row.
        if let Ok(head) = head
            && rows.len > first
        {
            rows.shared_bytes += head.bytes();
            self.push_head(&head, rows.len - first);
        }
        rows.shared_bytes += parts.take_made();
        Ok(())
    }

    fn finish(self, _rows: usize) -> Result<Named, ArrowError> {
        Ok(vec![
            ("time", utc(self.time.finish_values())),
            ("duration_ns", self.duration.finish()),
            ("sample_type", self.sample_type.finish()?),
            ("unit", self.unit.finish()?),
            ("value", self.value.finish()),
            ("stack", self.stack.finish()?),
            ("frames", self.frames.finish()?),
            ("trace_id", self.trace_id.finish()?),
            ("span_id", self.span_id.finish()?),
            ("observations", self.observations.finish()?),
            ("profile_id", self.profile_id.finish()?),
            ("period_type", self.period_type.finish()?),
            ("period_unit", self.period_unit.finish()?),
            ("period", self.period.finish()),
            ("profile_attributes", self.profile_attributes.finish()?),
            ("original_payload_format", self.payload_format.finish()?),
            ("original_payload", self.payload.finish()?),
        ])
    }
}

impl Profiles {
    fn push(
        &mut self,
        sample: &Sample,
        checked: &Checked<'_>,
        parts: &mut Parts<'_>,
        rows: &mut Rows,
    ) -> Result<(), Broken> {
        let Checked { time, dropped, value, trace_id, span_id } = *checked;
        let (stack, frames) = self.stack_numbers(sample.stack, parts, rows)?;
        self.stack.push_number(Some(stack));
        self.frames.push_number(frames);
        self.value.push(value);
        self.trace_id.push(trace_id);
        self.span_id.push(span_id);
        self.observations.push(sample);
        rows.push(time, &parts.attributes(), LIMIT, dropped, sample.nested())
    }

    /// Which texts the stack and its frames are. Only the first sample of a request that has the
    /// stack looks at it.
    fn stack_numbers(
        &mut self,
        stack: i32,
        parts: &mut Parts<'_>,
        rows: &mut Rows,
    ) -> Result<(i32, Option<i32>), Broken> {
        if let Some(numbers) = parts.numbers(stack) {
            return Ok(numbers);
        }
        let text = parts.stack_text(stack)?;
        rows.shared_bytes += text.bytes();
        let stack_number = self.stack.number(text.names.as_bytes());
        let frames = text.frames().map(|frames| self.frames.number(frames.as_bytes()));
        parts.keep_numbers(stack, (stack_number, frames));
        Ok((stack_number, frames))
    }

    /// What all samples of a profile have in common; `rows` of them became rows.
    fn push_head(&mut self, head: &Head<'_>, rows: usize) {
        self.time.extend(Some(head.time), rows);
        self.duration.extend(Some(head.duration), rows);
        self.sample_type.extend(Some(head.sample_type), rows);
        self.unit.extend(Some(head.unit), rows);
        self.profile_id.extend(head.profile_id, rows);
        self.period_type.extend_unless_empty(head.period_type, rows);
        self.period_unit.extend_unless_empty(head.period_unit, rows);
        self.period.extend((head.period != 0).then_some(head.period), rows);
        self.profile_attributes.extend_unless_empty(head.attributes.as_bytes(), rows);
        self.payload_format.extend_unless_empty(head.payload_format, rows);
        self.payload.push_unless_empty(STANDARD.encode(head.payload).as_bytes());
        self.payload.push_nulls(rows - 1);
    }
}

/// The column of the same name.
#[derive(Debug, Default)]
struct Observations {
    lists: Lists,
    time: Numbers<TimestampNanosecondType>,
    value: Numbers<Int64Type>,
}

impl Observations {
    fn push(&mut self, sample: &Sample) {
        for at in 0..sample.nested() {
            let time = sample.timestamps.get(at).map(|time| time.cast_signed());
            self.time.push_option(time);
            self.value.push_option(sample.values.get(at).copied());
        }
        self.lists.push(Some(self.value.len()));
    }

    fn finish(self) -> Result<ArrayRef, ArrowError> {
        let arrays = vec![utc(self.time.finish_values()), self.value.finish()];
        let fields = struct_fields(Table::Profiles, "observations");
        self.lists.finish(Arc::new(StructArray::try_new(fields, arrays, None)?))
    }
}
