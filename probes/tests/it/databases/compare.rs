//! Spans against what the client wrote down.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde::Deserialize;

use super::{Subject, Words};
use crate::receiver::{Received, int, text, within};

/// One operation, as the client saw it. What it does not know is null.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Record {
    /// Its place among the client's operations of one connection, by `connection`.
    connection: i64,
    operation: String,
    text: Option<String>,
    collection: Option<String>,
    status: Option<String>,
    sent: Option<i64>,
    received: Option<i64>,
    /// How long the message was, where there is one.
    #[serde(default)]
    body: Option<i64>,
    start: u64,
    end: u64,
}

impl Record {
    /// None where nobody can know it: the statement was named before the agent came.
    fn known_operation(&self) -> Option<&str> {
        Some(&*self.operation).filter(|operation| !operation.is_empty())
    }
}

/// The spans of one kind match the records one for one, in the order of each connection.
pub(super) fn check_spans(
    received: &Received,
    subject: &Subject,
    records: &[Record],
    kind: SpanKind,
) {
    let mut by_connection: BTreeMap<i64, Vec<&Record>> = BTreeMap::new();
    for record in records {
        by_connection.entry(record.connection).or_default().push(record);
    }
    let mut spans = spans(received, subject, kind);
    for (connection, records) in by_connection {
        let mut spans = spans.remove(&connection).unwrap_or_default();
        if subject.words.apart {
            spans = in_order_of(&records, spans, subject.words);
        } else {
            settle_ties(&records, &mut spans, subject.words);
        }
        for (at, record) in records.iter().enumerate() {
            let span = spans.get(at).unwrap_or_else(|| panic!("no {kind:?} span of {record:?}"));
            check_span(subject.words, record, span);
        }
        let rest = spans.get(records.len()..).unwrap_or_default();
        assert!(rest.is_empty(), "{kind:?}: nobody sent {rest:?}");
    }
    assert!(spans.is_empty(), "{kind:?}: no such connections: {spans:?}");
}

/// Of what was asked in one call nobody can see the order: a span that waits for the other end to be seen is told
/// behind one that does not.
fn settle_ties(records: &[&Record], spans: &mut [Span], words: &Words) {
    let Some(key) = words.text else { return };
    for (at, record) in records.iter().enumerate().take(spans.len()) {
        let meant = |span: &Span| {
            text(span, words.operation) == record.known_operation()
                && text(span, key) == record.text.as_deref()
        };
        let begun = spans[at].start_time_unix_nano;
        let tied = |span: &&Span| span.start_time_unix_nano == begun;
        let behind = spans[at..].iter().take_while(tied).position(meant);
        spans[at..=at + behind.unwrap_or(0)].rotate_right(1);
    }
}

/// The spans in the order of the records that they agree with: what is sent and what comes need not
/// pass in the order in which a program writes it down.
fn in_order_of(records: &[&Record], mut spans: Vec<Span>, words: &Words) -> Vec<Span> {
    let agrees = |record: &Record, span: &Span| {
        let same = |key: &str, wanted: &Option<String>| {
            wanted.is_none() || text(span, key) == wanted.as_deref()
        };
        let number = |key: &str, wanted: Option<i64>| wanted.is_none() || int(span, key) == wanted;
        text(span, words.operation) == record.known_operation()
            && words.text.is_none_or(|key| same(key, &record.text))
            && same(words.collection, &record.collection)
            && text(span, "error.type") == record.status.as_deref()
            && number("icecore.request.size", record.sent)
            && number("icecore.response.size", record.received)
            && number("messaging.message.body.size", record.body)
    };
    let mut ordered = Vec::new();
    for record in records {
        let at = spans.iter().position(|span| agrees(record, span));
        let at = at.unwrap_or_else(|| panic!("no span of {record:?} among {spans:#?}"));
        ordered.push(spans.remove(at));
    }
    ordered.extend(spans);
    ordered
}

/// The spans of each connection, by the client's port, in order.
fn spans(received: &Received, subject: &Subject, kind: SpanKind) -> BTreeMap<i64, Vec<Span>> {
    let mut spans: BTreeMap<i64, Vec<Span>> = BTreeMap::new();
    for span in received.spans("server.port", &[i64::from(subject.port)]) {
        let operation = text(&span, subject.words.operation).unwrap_or_default();
        // At the server all spans are of one kind; producers and consumers are clients.
        let of_server = span.kind() == SpanKind::Server;
        if of_server == (kind == SpanKind::Server) && !subject.setup.contains(&operation) {
            let system = text(&span, subject.words.system).unwrap_or_default();
            assert!(subject.system.contains(&system), "{system}");
            let port = match kind {
                SpanKind::Server => int(&span, "client.port"),
                _ => int(&span, "network.local.port"),
            };
            spans.entry(port.unwrap()).or_default().push(span);
        }
    }
    // What was sent in one call began at one time.
    spans.values_mut().for_each(|of| of.sort_by_key(|span| span.start_time_unix_nano));
    spans
}

fn check_span(words: &Words, record: &Record, span: &Span) {
    let shown = || format!("{record:?}: {span:?}");
    assert_eq!(text(span, words.operation), record.known_operation(), "{}", shown());
    for (key, wanted) in [(words.text, &record.text), (Some(words.collection), &record.collection)]
    {
        let found = key.and_then(|key| text(span, key));
        assert!(wanted.is_none() || found == wanted.as_deref(), "{key:?}: {}", shown());
    }
    // The client went away: whether there was an answer, only the server can know.
    if record.status.as_deref() == Some("cut_off") {
        let error = text(span, "error.type");
        return assert!(error.is_none() || error == Some("connection_closed"), "{}", shown());
    }
    // What was never run, or failed without a number, has an error and no status.
    let numbered = |status: &&str| !["pipeline_aborted", "_OTHER"].contains(status);
    let status = record.status.as_deref().filter(numbered);
    if let Some(key) = words.status {
        assert_eq!(text(span, key), status, "{}", shown());
    }
    assert_eq!(text(span, "error.type"), record.status.as_deref(), "{}", shown());
    for (key, size) in
        [("icecore.request.size", record.sent), ("icecore.response.size", record.received)]
    {
        let found = int(span, key);
        assert!(size.is_none() || found == size, "{key} {found:?}: {}", shown());
    }
    // What is not answered may reach the server when its client has long gone on.
    let until = if record.received == Some(0) { u64::MAX } else { record.end };
    assert!(within(span, record.start, until), "{}", shown());
}
