//! Spans against the semantic conventions for HTTP.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::alike::Alikes;
use super::http::Asked;
use super::*;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{BodySize, Direction, HttpCall, Said, SocketCall};

pub(crate) fn connection(role: Role) -> ConnectionInfo {
    let (client, server) =
        ("127.0.0.1:40000".parse().unwrap(), "[::ffff:127.0.0.1]:8080".parse().unwrap());
    let (local, remote) = if role == Role::Server { (server, client) } else { (client, server) };
    ConnectionInfo {
        cookie: 1,
        netns: 4_026_531_840,
        local,
        remote,
        transport: "tcp",
        opened: Some(1_700_000_000_500_000_000),
        sequences: Some(0x1234_5678_9abc_def0),
        pid: 7,
        process_started: 0,
        comm: "app".to_owned(),
        tls: None,
        gaps: false,
    }
}

pub(crate) fn exchange(role: Role, method: &str, target: &str, status: u16) -> Exchange {
    assert_eq!(role.requests() == Direction::Inbound, role == Role::Server);
    Exchange {
        role,
        ordinal: Some(0),
        start: 1_700_000_001_000_000_000,
        end: 1_700_000_001_020_000_000,
        request_body: BodySize::Exact(3),
        response_body: BodySize::AtLeast(9),
        request_captured: b"abc".to_vec(),
        response_captured: Vec::new(),
        failure: None,
        said: Said::Http(HttpCall {
            method: method.into(),
            target: target.into(),
            scheme: None,
            version: "1.1",
            request_headers: vec![
                ("host".into(), "Shop.example:81".into()),
                ("user-agent".into(), "curl/8".into()),
                ("cookie".into(), "a=b".into()),
            ],
            response_headers: Vec::new(),
            status: Some(status),
        }),
    }
}

fn span_of(exchange: &Exchange) -> Span {
    let draft = match &exchange.said {
        Said::Http(call) => later(exchange, call),
        _ => whole(exchange),
    };
    let mut span = WireSpan::default();
    draft.write(&mut span, Share::default(), &mut Taken::default());
    if let Draft::Later(later) = &draft {
        let mut at_once = WireSpan::default();
        Draft::Written(later.write(&mut Taken::default())).write(
            &mut at_once,
            Share::default(),
            &mut Taken::default(),
        );
        assert_eq!(at_once.bytes(), span.bytes(), "whenever it is written");
    }
    Span::decode(span.bytes()).unwrap()
}

fn whole(exchange: &Exchange) -> Draft {
    let (redaction, mut taken) = (Redaction::default(), Taken::default());
    let connection = connection(exchange.role);
    let facts = Facts::new(&connection, exchange, &redaction, &mut taken);
    let bodies = Bodies { bytes_max: 1 << 20, redaction: &redaction, taken: &mut taken };
    Draft::Whole(Whole::of(exchange, facts, bodies))
}

fn later(exchange: &Exchange, call: &HttpCall) -> Draft {
    let (connection, redaction) = (connection(exchange.role), Arc::new(Redaction::default()));
    let (mut alikes, asked) = (Alikes::default(), Asked::of(&connection, exchange, call));
    let alike = Arc::clone(alikes.of(&Arc::default(), &redaction, asked).0);
    let ends = Arc::new(Ends::new((&connection, exchange.role), &redaction, 0, Vec::new()));
    let (exchange, body_bytes) = (exchange.clone(), 1 << 20);
    Draft::Later(Box::new(Later { alike, ends, exchange, redaction, body_bytes }))
}

fn shown(span: &Span) -> BTreeMap<&str, String> {
    let value = |one: &KeyValue| match one.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        other => format!("{other:?}"),
    };
    span.attributes.iter().map(|one| (one.key.as_str(), value(one))).collect()
}

/// Scenario: a GET with a query that holds a secret, at a server.
/// Guarantees: the attributes of the conventions, the secret redacted, sizes only where certain.
#[test]
fn a_server_span() {
    let span = span_of(&exchange(Role::Server, "GET", "/cart?id=7&sig=x", 200));
    assert_eq!((span.name.as_str(), span.kind()), ("GET", SpanKind::Server));
    assert_eq!(span.status.clone().unwrap().code(), StatusCode::Unset);
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 20_000_000);
    let shown = shown(&span);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/cart"),
        ("url.query", "id=7&sig=REDACTED"),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("server.address", "shop.example"),
        ("server.port", "81"),
        ("client.address", "127.0.0.1"),
        ("client.port", "40000"),
        ("network.peer.address", "127.0.0.1"),
        ("network.peer.port", "40000"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "curl/8"),
        ("http.request.body.size", "3"),
        ("icecore.response.body.seen_bytes", "9"),
        ("http.request.body.content", "abc"),
    ] {
        assert_eq!(shown.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(shown["http.request.header.cookie"].contains("REDACTED"));
    assert!(!shown.contains_key("http.response.body.size"));
    assert!(!shown.contains_key("error.type"));
}

/// Scenario: statuses, failures and unknown methods at both ends.
/// Guarantees: an error is one where the conventions say so.
#[test]
fn errors() {
    let error_of = |exchange: &Exchange| {
        let span = span_of(exchange);
        let error = shown(&span).get("error.type").cloned();
        assert_eq!(span.status.unwrap().code() == StatusCode::Error, error.is_some());
        error
    };
    for (role, status, wanted) in [
        (Role::Server, 404, None),
        (Role::Server, 503, Some("503")),
        (Role::Client, 302, None),
        (Role::Client, 404, Some("404")),
    ] {
        assert_eq!(error_of(&exchange(role, "GET", "/", status)).as_deref(), wanted);
    }
    for (failure, wanted) in [(Failure::Reset, Some("connection_reset")), (Failure::Unseen, None)] {
        let broken = Exchange { failure: Some(failure), ..exchange(Role::Client, "GET", "/", 200) };
        assert_eq!(error_of(&broken).as_deref(), wanted);
    }
    let span = span_of(&exchange(Role::Client, "PROPFIND", "http://u:p@a.example/x", 207));
    assert_eq!(span.name, "HTTP");
    let shown = shown(&span);
    assert_eq!(shown["http.request.method"], "_OTHER");
    assert_eq!(shown["http.request.method_original"], "PROPFIND");
    assert_eq!((&*shown["server.address"], &*shown["url.path"]), ("a.example", "/x"));
}

/// Scenario: a request whose trace state has a token in it.
/// Guarantees: the state is told without the token.
#[test]
fn trace_states_have_no_secrets() {
    let mut given = exchange(Role::Server, "GET", "/", 200);
    let Said::Http(call) = &mut given.said else { panic!("it is HTTP") };
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let state = format!("a=1,token=eyJ{}", "hbGciOiJIUzI1NiJ9.eyJzdWIi.s-_x");
    call.request_headers.push(("traceparent".into(), parent.into()));
    call.request_headers.push(("tracestate".into(), state.into()));
    assert_eq!(span_of(&given).trace_state, "a=1,token=REDACTED");
}

/// Scenario: a WebSocket connection that ends well, with an error of the server, and without a word.
/// Guarantees: what passed is told, and only the last two are errors, by what ended them.
#[test]
fn web_sockets() {
    for (close_code, failure, error) in [
        (Some(1000), None, None),
        (Some(1011), None, Some("1011")),
        (None, Some(Failure::Reset), Some("connection_reset")),
    ] {
        let call = SocketCall {
            target: "/chat?token=x".into(),
            headers: vec![("host".into(), "chat.example".into())],
            sent: Some(2),
            received: None,
            close_code,
        };
        let said = Said::Socket(call);
        let span = span_of(&Exchange { failure, said, ..exchange(Role::Client, "GET", "/", 101) });
        assert_eq!((span.name.as_str(), span.kind()), ("websocket", SpanKind::Client));
        let shown = shown(&span);
        assert_eq!(shown.get("error.type").map(String::as_str), error);
        assert_eq!((&*shown["url.path"], &*shown["url.query"]), ("/chat", "token=REDACTED"));
        assert_eq!(
            (&*shown["server.address"], &*shown["icecore.request.size"]),
            ("chat.example", "3")
        );
        assert_eq!(shown["icecore.websocket.request.messages"], "2");
        assert!(!shown.contains_key("icecore.websocket.response.messages"));
    }
}
