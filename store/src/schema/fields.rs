//! The fixed columns of each table.
//!
//! An OTLP text or id that proto3 cannot tell from absent is null where it was empty, but for
//! `name`, `metric_name`, `unit` and `description`, which are empty texts.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use crate::model::Table;

/// The fixed columns of a table, in order.
#[must_use]
pub fn fixed_fields(table: Table) -> Vec<FieldRef> {
    // Whoever reads a file asks some times for each column of it.
    static FIELDS: LazyLock<[(Table, Vec<FieldRef>); Table::ALL.len()]> =
        LazyLock::new(|| Table::ALL.map(|table| (table, fields(table))));
    let known = FIELDS.iter().find(|(of, _)| *of == table);
    known.map(|(_, fields)| fields.clone()).unwrap_or_default()
}

/// What searches and sums of spans look at, and what they show of most rows: beside each other in a
/// file, so that a bucket that is far away is asked once for all of them.
const STORED_FIRST: [&str; 7] =
    ["service_name", "name", "kind", "status_code", "duration_ns", "start_time", "trace_id"];

/// Puts the columns of a table in the order in which a file has them.
pub(crate) fn as_stored<T>(table: Table, columns: &mut [T], name: impl Fn(&T) -> &str) {
    if table == Table::Spans {
        let place = |column: &T| STORED_FIRST.iter().position(|first| *first == name(column));
        columns.sort_by_key(|column| place(column).unwrap_or(STORED_FIRST.len()));
    }
}

fn fields(table: Table) -> Vec<FieldRef> {
    let own = match table {
        Table::Spans => span_fields(),
        Table::Metrics => metric_fields(),
        Table::Logs => log_fields(),
        Table::Profiles => profile_fields(),
    };
    own.into_iter().chain(shared_fields()).map(Arc::new).collect()
}

/// The schema of a batch of `table` that has no attribute columns.
#[must_use]
pub fn fixed_schema(table: Table) -> SchemaRef {
    Arc::new(Schema::new(fixed_fields(table)))
}

/// The type of every text column in row shape: repeated texts cost four bytes a row.
#[must_use]
pub fn text_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

fn trace_id() -> DataType {
    DataType::FixedSizeBinary(16)
}

fn span_id() -> DataType {
    DataType::FixedSizeBinary(8)
}

fn profile_id() -> DataType {
    DataType::FixedSizeBinary(16)
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// What every table ends with: where a row came from, and the overflow of its two maps.
fn shared_fields() -> Vec<Field> {
    vec![
        required("dropped_attributes_count", DataType::UInt32),
        optional("attributes", DataType::Utf8),
        optional("resource", text_type()),
        required("resource_dropped_attributes_count", DataType::UInt32),
        optional("resource_schema_url", text_type()),
        // JSON array of `{"schema_url","type","id_keys","description_keys"}`.
        optional("resource_entity_refs", text_type()),
        optional("scope_name", text_type()),
        optional("scope_version", text_type()),
        // JSON object of all of them: scopes with attributes are rare.
        optional("scope_attributes", text_type()),
        required("scope_dropped_attributes_count", DataType::UInt32),
        optional("scope_schema_url", text_type()),
    ]
}

fn span_fields() -> Vec<Field> {
    vec![
        required("trace_id", trace_id()),
        required("span_id", span_id()),
        optional("parent_span_id", span_id()),
        optional("trace_state", text_type()),
        required("service_name", text_type()),
        required("name", text_type()),
        required("kind", text_type()),
        required("start_time", timestamp()),
        required("end_time", timestamp()),
        // end - start; negative where the sender's clock stepped back.
        required("duration_ns", DataType::Int64),
        required("status_code", text_type()),
        optional("status_message", text_type()),
        // Never null: no events is an empty list.
        required("events", list(event())),
        required("links", list(link())),
        required("flags", DataType::UInt32),
        required("dropped_events_count", DataType::UInt32),
        required("dropped_links_count", DataType::UInt32),
    ]
}

fn event() -> DataType {
    DataType::Struct(
        vec![
            required("time", timestamp()),
            required("name", DataType::Utf8),
            optional("attributes", DataType::Utf8),
            required("dropped_attributes_count", DataType::UInt32),
        ]
        .into(),
    )
}

fn link() -> DataType {
    DataType::Struct(
        vec![
            required("trace_id", trace_id()),
            required("span_id", span_id()),
            optional("trace_state", DataType::Utf8),
            optional("attributes", DataType::Utf8),
            required("dropped_attributes_count", DataType::UInt32),
            required("flags", DataType::UInt32),
        ]
        .into(),
    )
}

fn metric_fields() -> Vec<Field> {
    vec![
        required("time", timestamp()),
        // Null where the sender left it 0.
        optional("start_time", timestamp()),
        required("service_name", text_type()),
        required("metric_name", text_type()),
        required("kind", text_type()),
        required("unit", text_type()),
        required("description", text_type()),
        // `DELTA`, `CUMULATIVE` or `UNSPECIFIED`; null for gauges and summaries.
        optional("temporality", text_type()),
        // Null but for sums.
        optional("is_monotonic", DataType::Boolean),
        // Int points have both, the one the nearest double of the other; a point without a value has
        // neither.
        optional("value", DataType::Float64),
        optional("value_int", DataType::Int64),
        optional("count", DataType::UInt64),
        optional("sum", DataType::Float64),
        optional("min", DataType::Float64),
        optional("max", DataType::Float64),
        optional("explicit_bounds", list(DataType::Float64)),
        optional("bucket_counts", list(DataType::UInt64)),
        optional("scale", DataType::Int32),
        optional("zero_count", DataType::UInt64),
        optional("zero_threshold", DataType::Float64),
        // Null where the point has no such buckets message.
        optional("positive_offset", DataType::Int32),
        optional("positive_counts", list(DataType::UInt64)),
        optional("negative_offset", DataType::Int32),
        optional("negative_counts", list(DataType::UInt64)),
        optional("quantiles", list(quantile())),
        required("exemplars", list(exemplar())),
        required("flags", DataType::UInt32),
        // JSON object of `Metric.metadata`.
        optional("metadata", text_type()),
    ]
}

fn quantile() -> DataType {
    DataType::Struct(
        vec![required("quantile", DataType::Float64), required("value", DataType::Float64)].into(),
    )
}

fn exemplar() -> DataType {
    DataType::Struct(
        vec![
            required("time", timestamp()),
            optional("value", DataType::Float64),
            optional("value_int", DataType::Int64),
            optional("trace_id", trace_id()),
            optional("span_id", span_id()),
            optional("attributes", DataType::Utf8),
        ]
        .into(),
    )
}

fn log_fields() -> Vec<Field> {
    vec![
        // The observed time where the record itself has none; `time_unset` then says so.
        required("time", timestamp()),
        required("time_unset", DataType::Boolean),
        // Null where the sender left it 0.
        optional("observed_time", timestamp()),
        required("service_name", text_type()),
        required("severity_number", DataType::Int32),
        optional("severity_text", text_type()),
        optional("event_name", text_type()),
        // A text as it is; any other value as JSON text, and `body_is_json` then says so.
        optional("body", DataType::Utf8),
        required("body_is_json", DataType::Boolean),
        optional("trace_id", trace_id()),
        optional("span_id", span_id()),
        required("flags", DataType::UInt32),
    ]
}

fn profile_fields() -> Vec<Field> {
    vec![
        required("time", timestamp()),
        required("duration_ns", DataType::Int64),
        required("service_name", text_type()),
        required("sample_type", text_type()),
        required("unit", text_type()),
        // The sum of what was observed; an observation without a value counts 1.
        required("value", DataType::Int64),
        // JSON array of the names of the frames, leaf first. A text, so that a stack is kept once
        // however many rows have it; SQL shows it as a list.
        required("stack", text_type()),
        // JSON array of an object for each of these frames, of all that is known of it beside the
        // name; null where that is nothing.
        optional("frames", text_type()),
        optional("trace_id", trace_id()),
        optional("span_id", span_id()),
        // Empty where the sample is one value without a time of its own.
        required("observations", list(observation())),
        optional("profile_id", profile_id()),
        optional("period_type", text_type()),
        optional("period_unit", text_type()),
        // Null where the sender left it 0.
        optional("period", DataType::Int64),
        // JSON object of what the sender says of all samples of the profile.
        optional("profile_attributes", text_type()),
        optional("original_payload_format", text_type()),
        // Base64, in the first row of the profile only.
        optional("original_payload", DataType::Utf8),
    ]
}

fn observation() -> DataType {
    DataType::Struct(
        // A time that the sender gave, and a value that it gave.
        vec![optional("time", timestamp()), optional("value", DataType::Int64)].into(),
    )
}
