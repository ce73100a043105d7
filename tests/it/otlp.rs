//! OTLP as the tests need it: requests to send, and export requests in a form that compares.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::{Map, Value, json};

/// A text attribute.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// A request of `count` spans that no other request has, `first` numbering the first of them.
pub(crate) fn request(service: &str, first: u64, count: u64) -> Vec<u8> {
    let start = 1_790_000_000_000_000_000;
    let span = |number: u64| Span {
        trace_id: u128::from(number / 8 + 1).to_be_bytes().to_vec(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: format!("operation {}", number % 20),
        kind: 2,
        start_time_unix_nano: start + number * 1_000,
        end_time_unix_nano: start + number * 1_000 + 777,
        attributes: vec![text("number", &number.to_string()), text("http.route", "/cart/{id}")],
        ..Span::default()
    };
    let resource =
        Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
    let scope_spans = vec![ScopeSpans {
        spans: (first..first + count).map(span).collect(),
        ..ScopeSpans::default()
    }];
    let resource_spans =
        ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

/// Posts a protobuf body as OTLP/HTTP.
pub(crate) async fn post(http: &str, body: Vec<u8>) -> reqwest::Response {
    post_to(&reqwest::Client::new(), http, body).await.unwrap()
}

/// Posts a protobuf body as OTLP/HTTP, where the server may be gone.
pub(crate) async fn post_to(
    client: &reqwest::Client,
    http: &str,
    body: Vec<u8>,
) -> Result<reqwest::Response, reqwest::Error> {
    let request = client.post(format!("{http}/v1/traces"));
    request.header("content-type", "application/x-protobuf").body(body).send().await
}

/// Every item of an export request with the resource and scope that it came under, by `key` of it,
/// in a form where equal means equal: attributes as objects, numbers as numbers, defaults left out.
pub(crate) fn items(request: &Value, names: [&str; 3]) -> Vec<Value> {
    let [resources, scopes, items] = names;
    let mut found = Vec::new();
    for resource in list(&request[resources]) {
        for scope in list(&resource[scopes]) {
            for item in list(&scope[items]) {
                let mut whole = json!({
                    "resource": resource["resource"], "resourceSchema": resource["schemaUrl"],
                    "scope": scope["scope"], "scopeSchema": scope["schemaUrl"], "item": item,
                });
                normalise(&mut whole);
                found.push(whole);
            }
        }
    }
    found
}

/// Items by a text of theirs.
pub(crate) fn by(items: Vec<Value>, key: &str) -> BTreeMap<String, Value> {
    items.into_iter().map(|item| (item["item"][key].to_string(), item)).collect()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// An OTLP `AnyValue` as plain JSON; bytes as base64.
pub(crate) fn plain(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|map| map.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "intValue" => number(inner),
        "arrayValue" => list(&inner["values"]).iter().map(plain).collect(),
        "kvlistValue" => attributes(&inner["values"]),
        _ => inner.clone(),
    }
}

/// A list of attributes as an object.
pub(crate) fn attributes(values: &Value) -> Value {
    let entry = |entry: &Value| (entry["key"].as_str().unwrap().to_owned(), plain(&entry["value"]));
    Value::Object(list(values).iter().map(entry).collect::<Map<_, _>>())
}

/// OTLP/JSON writes 64-bit numbers as texts or numbers.
pub(crate) fn number(value: &Value) -> Value {
    match value {
        Value::String(text) => text.parse::<i128>().map_or_else(
            |_| value.clone(),
            |number| {
                i64::try_from(number)
                    .map_or_else(|_| json!(u64::try_from(number).unwrap()), |small| json!(small))
            },
        ),
        _ => value.clone(),
    }
}

fn normalise(value: &mut Value) {
    if let Value::Object(map) = value {
        for (key, inner) in map.iter_mut() {
            if key == "attributes" {
                *inner = attributes(inner);
            } else if key.ends_with("UnixNano")
                || ["count", "zeroCount", "asInt"].contains(&key.as_str())
            {
                *inner = number(inner);
            } else if key == "bucketCounts" {
                *inner = list(inner).iter().map(number).collect();
            } else {
                normalise(inner);
            }
        }
        // Values, and what proto3 marks as optional, are there or not: a zero is not a default.
        const OPTIONAL: [&str; 6] = ["value", "asInt", "asDouble", "sum", "min", "max"];
        map.retain(|key, inner| OPTIONAL.contains(&key.as_str()) || !default(inner));
    } else if let Value::Array(items) = value {
        items.iter_mut().for_each(normalise);
    }
}

/// What proto3 cannot tell from absent.
fn default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
