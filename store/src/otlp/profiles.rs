//! Profile rows as OTLP: rows of one profile come together again, and what they share goes to one
//! dictionary.
//!
//! Invariant: what is equal is in a table once, and the first entry of each table means "not set". A unit
//! of an attribute comes back as an attribute of its own, which is what rows have of it.

mod dictionary;
mod frames;

use arrow::array::{ListArray, UInt32Array};
use arrow::datatypes::Int64Type;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashMap;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::profiles::v1development::{Link, Profile, Sample, ValueType};

pub(super) use self::dictionary::Dictionary;
use self::frames::StackRow;
use super::attributes::{row_attributes, text_attributes, unreadable};
use super::group::RecordReader;
use super::rows::{Ids, Numbers, Rows, Times, item_range, text};
use crate::error::Error;
use crate::files::cells::{MapCells, Texts};
use crate::schema::MapColumn;

pub(super) struct SampleReader<'a> {
    time: Times<'a>,
    duration: Numbers<'a, Int64Type>,
    sample_type: Texts<'a>,
    unit: Texts<'a>,
    value: Numbers<'a, Int64Type>,
    stack: Texts<'a>,
    frames: Texts<'a>,
    trace_id: Ids<'a>,
    span_id: Ids<'a>,
    observations: &'a ListArray,
    observed_time: Numbers<'a, arrow::datatypes::TimestampNanosecondType>,
    observed_value: Numbers<'a, Int64Type>,
    profile_id: Ids<'a>,
    period_type: Texts<'a>,
    period_unit: Texts<'a>,
    period: Numbers<'a, Int64Type>,
    profile_attributes: Texts<'a>,
    payload_format: Texts<'a>,
    payload: Texts<'a>,
    attributes: MapCells<'a>,
    dropped: &'a UInt32Array,
}

/// A row, and the profile that it is of.
pub(super) struct SampleRow {
    head: Head,
    payload: String,
    values: Vec<i64>,
    timestamps: Vec<u64>,
    stack: StackRow,
    link: Link,
    attributes: Vec<KeyValue>,
}

/// What the rows of one profile have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Head {
    time: u64,
    duration: i64,
    sample_type: String,
    unit: String,
    profile_id: Vec<u8>,
    period_type: String,
    period_unit: String,
    period: i64,
    attributes: String,
    payload_format: String,
    dropped: u32,
}

impl<'a> RecordReader<'a> for SampleReader<'a> {
    type Record = SampleRow;

    fn new(rows: &Rows<'a>) -> Result<Self, Error> {
        let (observations, observed) = rows.items("observations")?;
        Ok(Self {
            time: rows.times("time")?,
            duration: rows.numbers("duration_ns")?,
            sample_type: rows.texts("sample_type")?,
            unit: rows.texts("unit")?,
            value: rows.numbers("value")?,
            stack: rows.texts("stack")?,
            frames: rows.texts("frames")?,
            trace_id: rows.ids("trace_id")?,
            span_id: rows.ids("span_id")?,
            observations,
            observed_time: observed.numbers("time")?,
            observed_value: observed.numbers("value")?,
            profile_id: rows.ids("profile_id")?,
            period_type: rows.texts("period_type")?,
            period_unit: rows.texts("period_unit")?,
            period: rows.numbers("period")?,
            profile_attributes: rows.texts("profile_attributes")?,
            payload_format: rows.texts("original_payload_format")?,
            payload: rows.texts("original_payload")?,
            attributes: rows.map(MapColumn::Attributes),
            dropped: rows.counts("dropped_attributes_count")?,
        })
    }

    fn record(&self, row: usize) -> Result<SampleRow, Error> {
        let observed = item_range(self.observations, row);
        let timestamps = observed.clone().filter_map(|at| self.observed_time.get(at));
        let values: Vec<i64> = if observed.is_empty() {
            vec![self.value.get(row).unwrap_or_default()]
        } else {
            observed.clone().filter_map(|at| self.observed_value.get(at)).collect()
        };
        Ok(SampleRow {
            head: self.head(row),
            payload: text(&self.payload, row),
            values,
            timestamps: timestamps.map(i64::cast_unsigned).collect(),
            stack: StackRow { names: text(&self.stack, row), frames: text(&self.frames, row) },
            link: Link { trace_id: self.trace_id.get(row), span_id: self.span_id.get(row) },
            attributes: row_attributes(&self.attributes, row)?,
        })
    }
}

impl SampleReader<'_> {
    fn head(&self, row: usize) -> Head {
        Head {
            time: self.time.get(row),
            duration: self.duration.get(row).unwrap_or_default(),
            sample_type: text(&self.sample_type, row),
            unit: text(&self.unit, row),
            profile_id: self.profile_id.get(row),
            period_type: text(&self.period_type, row),
            period_unit: text(&self.period_unit, row),
            period: self.period.get(row).unwrap_or_default(),
            attributes: text(&self.profile_attributes, row),
            payload_format: text(&self.payload_format, row),
            dropped: self.dropped.value(row),
        }
    }
}

/// The profiles of some rows. A payload begins a profile: the row that has it was the first of one.
pub(super) fn regroup(
    rows: Vec<SampleRow>,
    dictionary: &mut Dictionary,
) -> Result<Vec<Profile>, Error> {
    let (mut profiles, mut places) = (Vec::<Profile>::new(), HashMap::new());
    for row in rows {
        let same = places.get(&row.head).copied().filter(|_| row.payload.is_empty());
        let at = match same {
            Some(at) => at,
            None => {
                profiles.push(profile(&row, dictionary)?);
                places.insert(row.head.clone(), profiles.len() - 1);
                profiles.len() - 1
            }
        };
        profiles[at].samples.push(sample(row, dictionary)?);
    }
    Ok(profiles)
}

fn profile(row: &SampleRow, dictionary: &mut Dictionary) -> Result<Profile, Error> {
    let head = &row.head;
    let payload = STANDARD.decode(&row.payload);
    let attributes = Some(head.attributes.as_str()).filter(|text| !text.is_empty());
    let mut value_type = |kind: &str, unit: &str| ValueType {
        type_strindex: dictionary.string(kind),
        unit_strindex: dictionary.string(unit),
    };
    Ok(Profile {
        sample_type: Some(value_type(&head.sample_type, &head.unit)),
        samples: Vec::new(),
        time_unix_nano: head.time,
        duration_nano: head.duration.cast_unsigned(),
        period_type: Some(value_type(&head.period_type, &head.period_unit)),
        period: head.period,
        profile_id: head.profile_id.clone(),
        dropped_attributes_count: head.dropped,
        original_payload_format: head.payload_format.clone(),
        original_payload: payload.map_err(|source| unreadable(&row.payload, &source))?,
        attribute_indices: dictionary.attributes(text_attributes(attributes)?),
    })
}

fn sample(row: SampleRow, dictionary: &mut Dictionary) -> Result<Sample, Error> {
    Ok(Sample {
        stack_index: dictionary.stack(&row.stack)?,
        attribute_indices: dictionary.attributes(row.attributes),
        link_index: dictionary.link(row.link),
        values: row.values,
        timestamps_unix_nano: row.timestamps,
    })
}
