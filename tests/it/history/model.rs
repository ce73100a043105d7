//! Spans as a plain list, and what is true of each.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use serde_json::{Value, json};

use super::chance::Chance;

pub(super) const SERVICES: [&str; 4] = ["cart", "pay", "shop", "ship%_"];
pub(super) const NAMES: [&str; 5] = ["GET /", "GET /cart", "POST /pay", "SELECT", "größe"];
pub(super) const KINDS: [(i32, &str); 3] = [(2, "SERVER"), (3, "CLIENT"), (1, "INTERNAL")];
pub(super) const STATUSES: [(i32, &str); 3] = [(0, "UNSET"), (1, "OK"), (2, "ERROR")];
pub(super) const ROUTES: [&str; 4] = ["/cart", "/", "/x'y", "/späť"];
/// Traces that there are, so that spans have relatives.
pub(super) const TRACES: u64 = 12;
/// When everything happens: three hours from here on.
pub(super) const START: i64 = 1_790_000_000_000_000_000;
pub(super) const HOUR: i64 = 3_600_000_000_000;

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Any {
    Text(&'static str),
    Int(i64),
    Double(f64),
    Bool(bool),
}

/// A span as it was sent.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) trace: u64,
    pub(super) span: u64,
    pub(super) parent: Option<u64>,
    pub(super) service: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: (i32, &'static str),
    pub(super) status: (i32, &'static str),
    pub(super) start: i64,
    pub(super) duration: i64,
    pub(super) attributes: Vec<(&'static str, Any)>,
}

impl Row {
    fn random(chance: &mut Chance, span: u64) -> Self {
        let mut attributes = Vec::new();
        if chance.below(4) > 0 {
            attributes.push(("http.route", Any::Text(chance.of(&ROUTES))));
        }
        if chance.below(3) > 0 {
            attributes.push(("size", Any::Int(chance.below(9).cast_signed() - 2)));
        }
        if chance.below(2) == 0 {
            // Ints and doubles together are doubles.
            let half = chance.below(9).cast_signed() - 4;
            attributes
                .push(("share", chance.of(&[Any::Int(half), Any::Double(half as f64 / 2.0)])));
        }
        if chance.below(3) == 0 {
            // Anything together is text.
            let any = [Any::Int(7), Any::Bool(true), Any::Text("x"), Any::Text("7")];
            attributes.push(("odd", chance.of(&any)));
        }
        if chance.below(20) == 0 {
            attributes.push(("rare", Any::Bool(chance.below(2) == 0)));
        }
        Self {
            trace: chance.below(TRACES) + 1,
            span,
            parent: (chance.below(3) > 0).then(|| chance.below(span) + 1).filter(|it| *it != span),
            service: chance.of(&SERVICES),
            name: chance.of(&NAMES),
            kind: chance.of(&KINDS),
            status: chance.of(&STATUSES),
            start: START + chance.below(3 * HOUR.cast_unsigned()).cast_signed(),
            duration: chance.below(2_000_000).cast_signed(),
            attributes,
        }
    }

    /// One with a value of every type that a key ever has, so that keys have their types from the
    /// first request on.
    fn of_every_type(chance: &mut Chance, span: u64, at: usize) -> Self {
        let values =
            [("odd", [Any::Int(7), Any::Text("x")]), ("share", [Any::Int(1), Any::Double(0.5)])];
        let attributes = values.map(|(key, any)| (key, any[at % 2].clone()));
        let rest =
            [("http.route", Any::Text("/")), ("size", Any::Int(1)), ("rare", Any::Bool(true))];
        let attributes = attributes.into_iter().chain(rest).collect();
        Self { attributes, ..Self::random(chance, span) }
    }

    /// The spans of a request.
    pub(super) fn request(chance: &mut Chance, first: u64) -> Vec<Self> {
        let count = 1 + chance.below(40);
        let row = |span| match (first, span) {
            (1, 1 | 2) => Self::of_every_type(chance, span, usize::from(span == 1)),
            _ => Self::random(chance, span),
        };
        (first..first + count.max(2)).map(row).collect()
    }

    pub(super) fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    pub(super) fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }

    pub(super) fn end(&self) -> i64 {
        self.start + self.duration
    }

    pub(super) fn attribute(&self, key: &str) -> Option<&Any> {
        self.attributes.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// The value of a key of ints.
    pub(super) fn int(&self, key: &str) -> Option<i64> {
        match self.attribute(key)? {
            Any::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a key of ints and doubles.
    pub(super) fn double(&self, key: &str) -> Option<f64> {
        match self.attribute(key)? {
            Any::Int(value) => Some(*value as f64),
            Any::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a key of texts, or of anything.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        Some(match self.attribute(key)? {
            Any::Text(text) => (*text).to_owned(),
            Any::Int(value) => value.to_string(),
            Any::Double(value) => value.to_string(),
            Any::Bool(value) => value.to_string(),
        })
    }

    fn proto(&self) -> Span {
        let value = |any: &Any| match any {
            Any::Text(text) => any_value::Value::StringValue((*text).to_owned()),
            Any::Int(value) => any_value::Value::IntValue(*value),
            Any::Double(value) => any_value::Value::DoubleValue(*value),
            Any::Bool(value) => any_value::Value::BoolValue(*value),
        };
        let attribute = |(key, any): &(&str, Any)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue { value: Some(value(any)) }),
            ..KeyValue::default()
        };
        Span {
            trace_id: u128::from(self.trace).to_be_bytes().to_vec(),
            span_id: self.span.to_be_bytes().to_vec(),
            parent_span_id: self.parent.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
            name: self.name.to_owned(),
            kind: self.kind.0,
            start_time_unix_nano: self.start.cast_unsigned(),
            end_time_unix_nano: self.end().cast_unsigned(),
            attributes: self.attributes.iter().map(attribute).collect(),
            status: Some(Status { code: self.status.0, ..Status::default() }),
            ..Span::default()
        }
    }
}

/// A request with these spans, a resource for each service.
pub(super) fn encode(rows: &[Row]) -> Vec<u8> {
    let services: BTreeSet<&str> = rows.iter().map(|row| row.service).collect();
    let of_service = |service: &str| {
        let spans = rows.iter().filter(|row| row.service == service).map(Row::proto).collect();
        let name = crate::otlp::text("service.name", service);
        ResourceSpans {
            resource: Some(Resource { attributes: vec![name], ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
    };
    let resource_spans = services.into_iter().map(of_service).collect();
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// A time as answers have it.
pub(super) fn time(nanos: i64) -> Value {
    let seconds = nanos.div_euclid(1_000_000_000);
    let rest = nanos.rem_euclid(1_000_000_000);
    let days = seconds.div_euclid(86_400);
    let (hour, minute, second) =
        (seconds.rem_euclid(86_400) / 3600, seconds.rem_euclid(3600) / 60, seconds.rem_euclid(60));
    // Everything happens on two days.
    let date = match days - START.div_euclid(86_400 * 1_000_000_000) {
        0 => "2026-09-21",
        _ => "2026-09-22",
    };
    json!(format!("{date}T{hour:02}:{minute:02}:{second:02}.{rest:09}Z"))
}
