//! Rows made by hand, and the OTLP that they stand for.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, StructArray, TimestampNanosecondArray, UInt32Array,
    UInt64Array, new_empty_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{exemplar, number_data_point};

use super::*;
use crate::schema::fixed_fields;

/// One row in row shape: nothing in it but what is set.
fn row(table: Table, set: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let mut fields = fixed_fields(table);
    let mut columns: Vec<ArrayRef> =
        fields.iter().map(|field| nothing(field.data_type(), field.is_nullable())).collect();
    for (name, column) in set {
        match fields.iter().position(|field| field.name() == name) {
            Some(at) => columns[at] = cast(&column, fields[at].data_type()).unwrap(),
            None => {
                fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
                columns.push(column);
            }
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn nothing(data_type: &DataType, nullable: bool) -> ArrayRef {
    match data_type {
        _ if nullable => new_null_array(data_type, 1),
        DataType::List(item) => {
            let items = new_empty_array(item.data_type());
            Arc::new(ListArray::new(Arc::clone(item), OffsetBuffer::from_lengths([0]), items, None))
        }
        DataType::FixedSizeBinary(16) => id::<16>(1),
        DataType::FixedSizeBinary(_) => id::<8>(1),
        DataType::Boolean => Arc::new(BooleanArray::from(vec![false])),
        DataType::Dictionary(_, _) | DataType::Utf8 => {
            cast(&(Arc::new(StringArray::from(vec![""])) as ArrayRef), data_type).unwrap()
        }
        number => cast(&(Arc::new(Int64Array::from(vec![0])) as ArrayRef), number).unwrap(),
    }
}

/// A list of one struct.
fn items(table: Table, name: &str, set: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let fields = fixed_fields(table);
    let field = fields.iter().find(|field| field.name() == name).unwrap();
    let DataType::List(item) = field.data_type() else { panic!("{name} is no list") };
    let DataType::Struct(inner) = item.data_type() else { panic!("{name} has no structs") };
    let columns = inner.iter().map(|field| {
        let given = set.iter().find(|(name, _)| name == field.name());
        given.map_or_else(
            || nothing(field.data_type(), field.is_nullable()),
            |(_, column)| cast(column, field.data_type()).unwrap(),
        )
    });
    let structs = StructArray::new(inner.clone(), columns.collect(), None);
    let offsets = OffsetBuffer::from_lengths([1]);
    Arc::new(ListArray::new(Arc::clone(item), offsets, Arc::new(structs), None))
}

fn text(text: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![text]))
}

fn time(nanos: i64) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(vec![nanos]).with_timezone("UTC"))
}

fn count(count: u32) -> ArrayRef {
    Arc::new(UInt32Array::from(vec![count]))
}

fn double(number: f64) -> ArrayRef {
    Arc::new(Float64Array::from(vec![number]))
}

fn id<const BYTES: usize>(fill: u8) -> ArrayRef {
    let ids = [[fill; BYTES]];
    Arc::new(FixedSizeBinaryArray::try_from_iter(ids.iter()).unwrap())
}

fn counts(counts: &[u64]) -> ArrayRef {
    let field = Arc::new(Field::new("item", DataType::UInt64, true));
    let values = Arc::new(UInt64Array::from(counts.to_vec()));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([counts.len()]), values, None))
}

fn entry(key: &str, value: Any) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn string(text: &str) -> Any {
    Any::StringValue(text.to_owned())
}

/// Scenario: a span with every field set, attributes both in columns and in the overflow, a
/// repeated key, an event and a link.
/// Guarantees: every field comes back, the first of a repeated key first.
#[test]
fn a_span_comes_back_whole() {
    let event =
        vec![("time", time(5)), ("name", text("e")), ("attributes", text(r#"{"k":[1,2.5]}"#))];
    let link = vec![
        ("trace_id", id::<16>(8)),
        ("span_id", id::<8>(9)),
        ("trace_state", text("s=1")),
        ("flags", count(3)),
    ];
    let batch = row(
        Table::Spans,
        vec![
            ("trace_id", id::<16>(2)),
            ("span_id", id::<8>(3)),
            ("parent_span_id", id::<8>(4)),
            ("trace_state", text("a=b")),
            ("name", text("GET")),
            ("kind", text("SERVER")),
            ("start_time", time(100)),
            ("end_time", time(i64::MAX)),
            ("status_code", text("ERROR")),
            ("status_message", text("no")),
            ("events", items(Table::Spans, "events", event)),
            ("links", items(Table::Spans, "links", link)),
            ("flags", count(257)),
            ("dropped_events_count", count(6)),
            ("dropped_links_count", count(7)),
            ("dropped_attributes_count", count(8)),
            ("attributes.http.route", text("/a")),
            ("attributes.n", Arc::new(Int64Array::from(vec![-1]))),
            ("attributes", text(r#"{"n":{"$bytes":"AP8="},"$x":null}"#)),
            ("resource_dropped_attributes_count", count(9)),
            ("resource_schema_url", text("r-url")),
            (
                "resource_entity_refs",
                text(
                    r#"[{"schema_url":"u","type":"service","id_keys":["i"],"description_keys":[]}]"#,
                ),
            ),
            ("resource.service.name", text("shop")),
            ("scope_name", text("lib")),
            ("scope_version", text("1")),
            ("scope_attributes", text(r#"{"s":true}"#)),
            ("scope_dropped_attributes_count", count(10)),
            ("scope_schema_url", text("s-url")),
        ],
    );
    let sent = traces(&[batch]).unwrap();
    let resource = &sent.resource_spans[0];
    assert_eq!(resource.schema_url, "r-url");
    let about = resource.resource.as_ref().unwrap();
    assert_eq!(about.attributes, [entry("service.name", string("shop"))]);
    assert_eq!(about.dropped_attributes_count, 9);
    let entity = EntityRef {
        schema_url: "u".to_owned(),
        r#type: "service".to_owned(),
        id_keys: vec!["i".to_owned()],
        description_keys: Vec::new(),
    };
    assert_eq!(about.entity_refs, [entity]);
    let scope = &resource.scope_spans[0];
    assert_eq!(scope.schema_url, "s-url");
    let lib = scope.scope.as_ref().unwrap();
    assert_eq!((lib.name.as_str(), lib.version.as_str()), ("lib", "1"));
    assert_eq!(lib.attributes, [entry("s", Any::BoolValue(true))]);
    assert_eq!(lib.dropped_attributes_count, 10);
    check_span(&scope.spans[0]);
}

fn check_span(span: &opentelemetry_proto::tonic::trace::v1::Span) {
    assert_eq!((&span.trace_id[..], &span.span_id[..]), (&[2; 16][..], &[3; 8][..]));
    assert_eq!((&span.parent_span_id[..], span.trace_state.as_str()), (&[4; 8][..], "a=b"));
    assert_eq!((span.name.as_str(), span.kind, span.flags), ("GET", 2, 257));
    assert_eq!(span.start_time_unix_nano, 100);
    assert_eq!(span.end_time_unix_nano, i64::MAX.cast_unsigned());
    let status = span.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "no"));
    let unset = AnyValue { value: None };
    let expected = [
        entry("http.route", string("/a")),
        entry("n", Any::IntValue(-1)),
        entry("n", Any::BytesValue(vec![0, 255])),
        KeyValue { key: "$x".to_owned(), value: Some(unset), ..KeyValue::default() },
    ];
    assert_eq!(span.attributes, expected);
    let dropped = (span.dropped_events_count, span.dropped_links_count);
    assert_eq!((dropped, span.dropped_attributes_count), ((6, 7), 8));
    let event = &span.events[0];
    assert_eq!((event.time_unix_nano, event.name.as_str()), (5, "e"));
    assert_eq!(event.attributes.len(), 1);
    let link = &span.links[0];
    assert_eq!((&link.trace_id[..], &link.span_id[..]), (&[8; 16][..], &[9; 8][..]));
    assert_eq!((link.trace_state.as_str(), link.flags), ("s=1", 3));
}

/// Scenario: the same resource in two batches, once in columns and once in the overflow with its
/// keys in another order, and another resource.
/// Guarantees: rows group by what the resource is, not by how it is kept.
#[test]
fn rows_group_by_resource_and_scope() {
    let in_columns =
        vec![("resource.a", text("1")), ("resource.b", text("2")), ("scope_name", text("x"))];
    let in_overflow = vec![("resource", text(r#"{"b":"2","a":"1"}"#)), ("scope_name", text("x"))];
    let other_scope = vec![("resource", text(r#"{"a":"1","b":"2"}"#)), ("scope_name", text("y"))];
    let other = vec![("resource.a", text("1"))];
    let rows = [in_columns, in_overflow, other_scope, other].map(|set| row(Table::Spans, set));
    let sent = traces(&rows).unwrap();
    let shape: Vec<Vec<usize>> = sent
        .resource_spans
        .iter()
        .map(|resource| resource.scope_spans.iter().map(|scope| scope.spans.len()).collect())
        .collect();
    assert_eq!(shape, [vec![2, 1], vec![1]]);
}

/// Scenario: points of all five kinds, two of them of one sum, with exemplars.
/// Guarantees: points regroup into metrics; absent and zero are told apart where OTLP does.
#[test]
fn points_regroup_into_metrics() {
    let point = |kind: &str, more: Vec<(&'static str, ArrayRef)>| {
        let mut set = vec![("metric_name", text("m")), ("kind", text(kind)), ("time", time(7))];
        set.extend(more);
        row(Table::Metrics, set)
    };
    let int = || Arc::new(Int64Array::from(vec![5])) as ArrayRef;
    let sum = || {
        vec![
            ("temporality", text("DELTA")),
            ("is_monotonic", Arc::new(BooleanArray::from(vec![true])) as ArrayRef),
            ("value", double(5.0)),
            ("value_int", int()),
        ]
    };
    let example = vec![("value", double(1.5)), ("time", time(3)), ("trace_id", id::<16>(4))];
    let exemplars = || items(Table::Metrics, "exemplars", example.clone());
    let histogram = vec![
        ("temporality", text("CUMULATIVE")),
        ("count", Arc::new(Int64Array::from(vec![3])) as ArrayRef),
        ("sum", double(0.0)),
        ("bucket_counts", counts(&[1, 2])),
        ("exemplars", exemplars()),
    ];
    let exponential = vec![
        ("scale", Arc::new(Int32Array::from(vec![-2])) as ArrayRef),
        ("positive_offset", Arc::new(Int32Array::from(vec![0])) as ArrayRef),
        ("positive_counts", counts(&[4])),
    ];
    let quantile = vec![("quantile", double(0.5)), ("value", double(9.0))];
    let summary = vec![("quantiles", items(Table::Metrics, "quantiles", quantile))];
    let rows = [
        point("GAUGE", vec![("value", double(2.5)), ("start_time", time(1))]),
        point("SUM", sum()),
        point("SUM", sum()),
        point("HISTOGRAM", histogram),
        point("EXPONENTIAL_HISTOGRAM", exponential),
        point("SUMMARY", summary),
    ];
    let sent = metrics(&rows).unwrap();
    let metrics = &sent.resource_metrics[0].scope_metrics[0].metrics;
    assert_eq!(metrics.len(), 5);
    let [gauge, sum, histogram, exponential, summary] =
        [0, 1, 2, 3, 4].map(|at| metrics[at].data.clone().unwrap());
    let (Data::Gauge(gauge), Data::Sum(sum)) = (gauge, sum) else { panic!("kinds") };
    let gauge = &gauge.data_points[0];
    assert_eq!(gauge.value, Some(number_data_point::Value::AsDouble(2.5)));
    assert_eq!((gauge.start_time_unix_nano, gauge.time_unix_nano), (1, 7));
    assert_eq!((sum.data_points.len(), sum.is_monotonic), (2, true));
    assert_eq!(sum.aggregation_temporality, 1);
    assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsInt(5)));
    let Data::Histogram(histogram) = histogram else { panic!("kinds") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum, point.min), (3, Some(0.0), None));
    assert_eq!((&point.bucket_counts[..], point.explicit_bounds.len()), (&[1, 2][..], 0));
    assert_eq!(point.exemplars[0].value, Some(exemplar::Value::AsDouble(1.5)));
    assert_eq!(point.exemplars[0].trace_id, [4; 16]);
    let Data::ExponentialHistogram(exponential) = exponential else { panic!("kinds") };
    let point = &exponential.data_points[0];
    let positive = Some(Buckets { offset: 0, bucket_counts: vec![4] });
    assert_eq!((point.scale, &point.positive, &point.negative), (-2, &positive, &None));
    let Data::Summary(summary) = summary else { panic!("kinds") };
    assert_eq!(summary.data_points[0].quantile_values[0].value, 9.0);
}

/// Scenario: a record with a text body and no time of its own, one whose body is a map, and one
/// without a body.
/// Guarantees: the unset time is 0 again, and bodies come back as what they were.
#[test]
fn log_records_come_back_whole() {
    let yes = || Arc::new(BooleanArray::from(vec![true])) as ArrayRef;
    let rows = [
        row(
            Table::Logs,
            vec![
                ("time", time(50)),
                ("time_unset", yes()),
                ("observed_time", time(50)),
                ("severity_number", Arc::new(Int32Array::from(vec![17]))),
                ("severity_text", text("ERROR")),
                ("event_name", text("ev")),
                ("body", text("hello")),
                ("trace_id", id::<16>(6)),
                ("flags", count(1)),
            ],
        ),
        row(Table::Logs, vec![("body", text(r#"{"a":null}"#)), ("body_is_json", yes())]),
        row(Table::Logs, Vec::new()),
    ];
    let sent = logs(&rows).unwrap();
    let records = &sent.resource_logs[0].scope_logs[0].log_records;
    let first = &records[0];
    assert_eq!((first.time_unix_nano, first.observed_time_unix_nano), (0, 50));
    assert_eq!((first.severity_number, first.severity_text.as_str()), (17, "ERROR"));
    assert_eq!((first.event_name.as_str(), first.flags), ("ev", 1));
    assert_eq!((&first.trace_id[..], first.span_id.len()), (&[6; 16][..], 0));
    assert_eq!(first.body, Some(AnyValue { value: Some(string("hello")) }));
    let Some(Any::KvlistValue(map)) = records[1].body.clone().unwrap().value else {
        panic!("the body is no map")
    };
    assert_eq!(map.values[0].value, Some(AnyValue { value: None }));
    assert_eq!(records[2].body, None);
}

/// Scenario: rows of another table, and a text in a row that is no JSON.
/// Guarantees: an error that says so, no panic.
#[test]
fn rows_of_another_shape_are_refused() {
    let error = traces(&[row(Table::Logs, Vec::new())]).unwrap_err();
    assert!(error.to_string().contains("`parent_span_id` is missing"), "{error}");
    let broken = row(Table::Spans, vec![("attributes", text("{"))]);
    assert!(traces(&[broken]).unwrap_err().to_string().contains("cannot be read"));
}
