//! What the rows of a request should be, by way of the structs of `prost`: plain and slow.

mod profiles;

use std::collections::BTreeMap;

use icecore_store::model::value::{ObjectWriter, write_string, write_value};
use icecore_store::{Signal, TimeRange, UnixNanos, Value};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    SummaryDataPoint, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use prost::{DecodeError, Message};

use super::plain::{NULL, Row, bytes, double, list, text};

/// What to expect of a request.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) rows: Vec<Row>,
    pub(super) rejected: u64,
    pub(super) time: Option<TimeRange>,
}

/// A row without its resource and scope; `None` where the item is to be refused.
type Item = Option<(i64, Row)>;

pub(super) fn expect(signal: Signal, payload: &[u8]) -> Result<Expected, DecodeError> {
    let mut expected = Expected::default();
    match signal {
        Signal::Traces => {
            for owner in ExportTraceServiceRequest::decode(payload)?.resource_spans {
                for scope in &owner.scope_spans {
                    let items = scope.spans.iter().map(span).collect();
                    let shared = shared(&owner.resource, &owner.schema_url);
                    expected.put(items, shared, &scope.scope, &scope.schema_url);
                }
            }
        }
        Signal::Metrics => {
            for owner in ExportMetricsServiceRequest::decode(payload)?.resource_metrics {
                for scope in &owner.scope_metrics {
                    let items = scope.metrics.iter().flat_map(points).collect();
                    let shared = shared(&owner.resource, &owner.schema_url);
                    expected.put(items, shared, &scope.scope, &scope.schema_url);
                }
            }
        }
        Signal::Logs => {
            for owner in ExportLogsServiceRequest::decode(payload)?.resource_logs {
                for scope in &owner.scope_logs {
                    let items = scope.log_records.iter().map(log).collect();
                    let shared = shared(&owner.resource, &owner.schema_url);
                    expected.put(items, shared, &scope.scope, &scope.schema_url);
                }
            }
        }
        Signal::Profiles => return profiles::expect(payload),
    }
    Ok(expected)
}

impl Expected {
    fn put(
        &mut self,
        items: Vec<Item>,
        shared: Row,
        scope: &Option<InstrumentationScope>,
        schema_url: &str,
    ) {
        for item in items {
            let Some((time, mut row)) = item else {
                self.rejected += 1;
                continue;
            };
            let scope = scope.clone().unwrap_or_default();
            row.resource.clone_from(&shared.resource);
            row.cells.extend(shared.cells.clone());
            row.set("scope_name", or_null(&scope.name));
            row.set("scope_version", or_null(&scope.version));
            row.set("scope_attributes", object(&scope.attributes));
            row.set("scope_dropped_attributes_count", scope.dropped_attributes_count.to_string());
            row.set("scope_schema_url", or_null(schema_url));
            self.rows.push(row);
            let instant = TimeRange::covering(UnixNanos(time), UnixNanos(time));
            self.time = Some(self.time.map_or(instant, |range| range.union(&instant)));
        }
    }
}

impl Row {
    fn set(&mut self, name: &str, cell: String) {
        self.cells.insert(name.to_owned(), cell);
    }
}

fn or_null(content: &str) -> String {
    if content.is_empty() { NULL.to_owned() } else { text(content) }
}

fn option<T>(value: Option<T>, cell: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NULL.to_owned(), cell)
}

fn value(any: &AnyValue) -> Value {
    let entries = |entries: &[KeyValue]| {
        entries.iter().map(|entry| (entry.key.clone(), optional(entry.value.as_ref()))).collect()
    };
    match &any.value {
        None | Some(Any::StringValueStrindex(_)) => Value::Null,
        Some(Any::StringValue(text)) => Value::String(text.clone()),
        Some(Any::BoolValue(flag)) => Value::Bool(*flag),
        Some(Any::IntValue(number)) => Value::Int(*number),
        Some(Any::DoubleValue(number)) => Value::Double(*number),
        Some(Any::BytesValue(bytes)) => Value::Bytes(bytes.clone()),
        Some(Any::ArrayValue(array)) => Value::Array(array.values.iter().map(value).collect()),
        Some(Any::KvlistValue(map)) => Value::Map(entries(&map.values)),
    }
}

fn optional(any: Option<&AnyValue>) -> Value {
    any.map_or(Value::Null, value)
}

fn json(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

/// The text cell of an object; null where it has no entries.
fn object(entries: &[KeyValue]) -> String {
    if entries.is_empty() {
        return NULL.to_owned();
    }
    let mut out = String::new();
    let mut writer = ObjectWriter::new(&mut out);
    for entry in entries {
        write_value(writer.key(&entry.key), &optional(entry.value.as_ref()));
    }
    writer.finish();
    text(&out)
}

fn map(entries: &[KeyValue]) -> Vec<(String, String)> {
    let one = |entry: &KeyValue| (entry.key.clone(), json(&optional(entry.value.as_ref())));
    let mut map: Vec<_> = entries.iter().map(one).collect();
    map.sort();
    map
}

fn entity_refs(refs: &[EntityRef]) -> String {
    if refs.is_empty() {
        return NULL.to_owned();
    }
    let quoted = |text: &str| {
        let mut out = String::new();
        write_string(&mut out, text);
        out
    };
    let keys = |keys: &[String]| list(keys.iter().map(|key| quoted(key)));
    text(&list(refs.iter().map(|entity| {
        format!(
            "{{\"schema_url\":{},\"type\":{},\"id_keys\":{},\"description_keys\":{}}}",
            quoted(&entity.schema_url),
            quoted(&entity.r#type),
            keys(&entity.id_keys),
            keys(&entity.description_keys)
        )
    })))
}

/// What all rows of a resource have.
fn shared(resource: &Option<Resource>, schema_url: &str) -> Row {
    let resource = resource.clone().unwrap_or_default();
    let service_name = resource.attributes.iter().find_map(|entry| {
        match (entry.key.as_str(), optional(entry.value.as_ref())) {
            ("service.name", Value::String(name)) if !name.is_empty() => Some(name),
            _ => None,
        }
    });
    let mut row = Row { resource: map(&resource.attributes), ..Row::default() };
    row.set("service_name", text(service_name.as_deref().unwrap_or("unknown_service")));
    row.set("resource_dropped_attributes_count", resource.dropped_attributes_count.to_string());
    row.set("resource_schema_url", or_null(schema_url));
    row.set("resource_entity_refs", entity_refs(&resource.entity_refs));
    row
}

fn time(nanos: u64) -> Option<i64> {
    i64::try_from(nanos).ok()
}

fn id(id: &[u8], length: usize) -> Option<String> {
    (id.len() == length).then(|| bytes(id))
}

fn id_or_null(content: &[u8], length: usize) -> Option<String> {
    if content.is_empty() { Some(NULL.to_owned()) } else { id(content, length) }
}

fn valid_or_null(content: &[u8], length: usize) -> String {
    let valid = content.iter().any(|byte| *byte != 0);
    id(content, length).filter(|_| valid).unwrap_or_else(|| NULL.to_owned())
}

fn named(number: i32, names: &[&str]) -> String {
    let name = usize::try_from(number).ok().and_then(|at| names.get(at));
    name.map_or_else(|| text(&number.to_string()), |name| text(name))
}

fn row(cells: Vec<(&str, String)>, attributes: &[KeyValue], dropped: u32) -> Row {
    let mut cells: BTreeMap<String, String> =
        cells.into_iter().map(|(name, cell)| (name.to_owned(), cell)).collect();
    cells.insert("dropped_attributes_count".to_owned(), dropped.to_string());
    Row { cells, attributes: map(attributes), resource: Vec::new() }
}

fn span(span: &Span) -> Item {
    let (start, end) = (time(span.start_time_unix_nano)?, time(span.end_time_unix_nano)?);
    let status = span.status.clone().unwrap_or_default();
    let event = |event: &Event| {
        Some(list([
            time(event.time_unix_nano)?.to_string(),
            text(&event.name),
            object(&event.attributes),
            event.dropped_attributes_count.to_string(),
        ]))
    };
    let events: Option<Vec<_>> = span.events.iter().map(event).collect();
    let links: Option<Vec<_>> = span
        .links
        .iter()
        .map(|link| {
            Some(list([
                id(&link.trace_id, 16)?,
                id(&link.span_id, 8)?,
                or_null(&link.trace_state),
                object(&link.attributes),
                link.dropped_attributes_count.to_string(),
                link.flags.to_string(),
            ]))
        })
        .collect();
    let kinds = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
    let cells = vec![
        ("trace_id", id(&span.trace_id, 16)?),
        ("span_id", id(&span.span_id, 8)?),
        ("parent_span_id", id_or_null(&span.parent_span_id, 8)?),
        ("trace_state", or_null(&span.trace_state)),
        ("name", text(&span.name)),
        ("kind", named(span.kind, &kinds)),
        ("start_time", start.to_string()),
        ("end_time", end.to_string()),
        ("duration_ns", (end - start).to_string()),
        ("status_code", named(status.code, &["UNSET", "OK", "ERROR"])),
        ("status_message", or_null(&status.message)),
        ("events", list(events?)),
        ("links", list(links?)),
        ("flags", span.flags.to_string()),
        ("dropped_events_count", span.dropped_events_count.to_string()),
        ("dropped_links_count", span.dropped_links_count.to_string()),
    ];
    Some((start, row(cells, &span.attributes, span.dropped_attributes_count)))
}

fn log(log: &LogRecord) -> Item {
    let (own, observed) = (time(log.time_unix_nano)?, time(log.observed_time_unix_nano)?);
    let effective = if own == 0 { observed } else { own };
    let (body, is_json) = match &log.body {
        None => (NULL.to_owned(), false),
        Some(any) => match value(any) {
            Value::String(content) => (text(&content), false),
            other => (text(&json(&other)), true),
        },
    };
    let cells = vec![
        ("time", effective.to_string()),
        ("time_unset", (own == 0).to_string()),
        ("observed_time", option((observed != 0).then_some(observed), |time| time.to_string())),
        ("severity_number", log.severity_number.to_string()),
        ("severity_text", or_null(&log.severity_text)),
        ("event_name", or_null(&log.event_name)),
        ("body", body),
        ("body_is_json", is_json.to_string()),
        ("trace_id", valid_or_null(&log.trace_id, 16)),
        ("span_id", valid_or_null(&log.span_id, 8)),
        ("flags", log.flags.to_string()),
    ];
    Some((effective, row(cells, &log.attributes, log.dropped_attributes_count)))
}

#[expect(clippy::cast_precision_loss, reason = "the same as in the column")]
fn number(double_value: Option<f64>, int: Option<i64>) -> (String, String) {
    let value = double_value.or(int.map(|int| int as f64));
    (option(value, double), option(int, |int| int.to_string()))
}

fn exemplars(exemplars: &[Exemplar]) -> Option<String> {
    let one = |exemplar: &Exemplar| {
        let (value, value_int) = match exemplar.value {
            None => number(None, None),
            Some(exemplar::Value::AsDouble(double)) => number(Some(double), None),
            Some(exemplar::Value::AsInt(int)) => number(None, Some(int)),
        };
        Some(list([
            time(exemplar.time_unix_nano)?.to_string(),
            value,
            value_int,
            id_or_null(&exemplar.trace_id, 16)?,
            id_or_null(&exemplar.span_id, 8)?,
            object(&exemplar.filtered_attributes),
        ]))
    };
    exemplars.iter().map(one).collect::<Option<Vec<_>>>().map(list)
}

/// The columns that not every kind has.
const OPTIONAL: [&str; 18] = [
    "temporality",
    "is_monotonic",
    "value",
    "value_int",
    "count",
    "sum",
    "min",
    "max",
    "explicit_bounds",
    "bucket_counts",
    "scale",
    "zero_count",
    "zero_threshold",
    "positive_offset",
    "positive_counts",
    "negative_offset",
    "negative_counts",
    "quantiles",
];

/// Fills in what every point has, and nulls for what this one does not have.
fn point(
    times: (u64, u64),
    flags: u32,
    attributes: &[KeyValue],
    exemplar_list: &[Exemplar],
    own: Vec<(&str, String)>,
) -> Item {
    let (start, time) = (time(times.0)?, time(times.1)?);
    let mut cells: Vec<_> = OPTIONAL.iter().map(|name| (*name, NULL.to_owned())).collect();
    cells.extend(own);
    cells.extend([
        ("time", time.to_string()),
        ("start_time", option((start != 0).then_some(start), |start| start.to_string())),
        ("flags", flags.to_string()),
        ("exemplars", exemplars(exemplar_list)?),
    ]);
    Some((time, row(cells, attributes, 0)))
}

fn number_point(point_in: &NumberDataPoint) -> Item {
    let (value, value_int) = match point_in.value {
        None => number(None, None),
        Some(number_data_point::Value::AsDouble(double)) => number(Some(double), None),
        Some(number_data_point::Value::AsInt(int)) => number(None, Some(int)),
    };
    let times = (point_in.start_time_unix_nano, point_in.time_unix_nano);
    let own = vec![("value", value), ("value_int", value_int)];
    point(times, point_in.flags, &point_in.attributes, &point_in.exemplars, own)
}

fn counts(counts: &[u64]) -> String {
    list(counts.iter().map(u64::to_string))
}

fn buckets(buckets: &Option<Buckets>) -> (String, String) {
    let offset = option(buckets.as_ref(), |buckets| buckets.offset.to_string());
    (offset, option(buckets.as_ref(), |buckets| counts(&buckets.bucket_counts)))
}

fn points(metric: &Metric) -> Vec<Item> {
    let (kind, temporality, is_monotonic, items): (_, _, _, Vec<Item>) = match &metric.data {
        None => return Vec::new(),
        Some(Data::Gauge(gauge)) => {
            ("GAUGE", None, None, gauge.data_points.iter().map(number_point).collect())
        }
        Some(Data::Sum(sum)) => {
            let items = sum.data_points.iter().map(number_point).collect();
            ("SUM", Some(sum.aggregation_temporality), Some(sum.is_monotonic), items)
        }
        Some(Data::Histogram(data)) => {
            let items = data.data_points.iter().map(histogram_point).collect();
            ("HISTOGRAM", Some(data.aggregation_temporality), None, items)
        }
        Some(Data::ExponentialHistogram(data)) => {
            let items = data.data_points.iter().map(exponential_point).collect();
            ("EXPONENTIAL_HISTOGRAM", Some(data.aggregation_temporality), None, items)
        }
        Some(Data::Summary(data)) => {
            ("SUMMARY", None, None, data.data_points.iter().map(summary_point).collect())
        }
    };
    let mut items = items;
    for (_, row) in items.iter_mut().flatten() {
        row.set("metric_name", text(&metric.name));
        row.set("kind", text(kind));
        row.set("unit", text(&metric.unit));
        row.set("description", text(&metric.description));
        row.set("metadata", object(&metric.metadata));
        let names = ["UNSPECIFIED", "DELTA", "CUMULATIVE"];
        row.set("temporality", option(temporality, |number| named(number, &names)));
        row.set("is_monotonic", option(is_monotonic, |flag| flag.to_string()));
    }
    items
}

fn histogram_point(from: &HistogramDataPoint) -> Item {
    let own = vec![
        ("count", from.count.to_string()),
        ("sum", option(from.sum, double)),
        ("min", option(from.min, double)),
        ("max", option(from.max, double)),
        ("explicit_bounds", list(from.explicit_bounds.iter().copied().map(double))),
        ("bucket_counts", counts(&from.bucket_counts)),
    ];
    let times = (from.start_time_unix_nano, from.time_unix_nano);
    point(times, from.flags, &from.attributes, &from.exemplars, own)
}

fn exponential_point(from: &ExponentialHistogramDataPoint) -> Item {
    let (positive_offset, positive_counts) = buckets(&from.positive);
    let (negative_offset, negative_counts) = buckets(&from.negative);
    let own = vec![
        ("count", from.count.to_string()),
        ("sum", option(from.sum, double)),
        ("min", option(from.min, double)),
        ("max", option(from.max, double)),
        ("scale", from.scale.to_string()),
        ("zero_count", from.zero_count.to_string()),
        ("zero_threshold", double(from.zero_threshold)),
        ("positive_offset", positive_offset),
        ("positive_counts", positive_counts),
        ("negative_offset", negative_offset),
        ("negative_counts", negative_counts),
    ];
    let times = (from.start_time_unix_nano, from.time_unix_nano);
    point(times, from.flags, &from.attributes, &from.exemplars, own)
}

fn summary_point(from: &SummaryDataPoint) -> Item {
    let quantiles = from.quantile_values.iter();
    let quantiles = quantiles.map(|at| list([double(at.quantile), double(at.value)]));
    let own = vec![
        ("count", from.count.to_string()),
        ("sum", double(from.sum)),
        ("quantiles", list(quantiles)),
    ];
    let times = (from.start_time_unix_nano, from.time_unix_nano);
    point(times, from.flags, &from.attributes, &[], own)
}
