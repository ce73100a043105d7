//! Whose child a span is, where no header says it: against what the services have written down.

use std::collections::{HashMap, HashSet};

use icecore_probes::RungChoice;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::peers::check_figures;
use crate::receiver::{Received, shown, text};
use crate::requests::of_ports;
use crate::watch::{on, watched};

/// The path of a call, that of the request which made its service call, and the port.
type Row = (String, Option<String>, u16);

const SECONDS: u32 = 10;

/// What became of the calls that services made.
#[derive(Debug, Default)]
struct Verdict {
    right: usize,
    wrong: usize,
    likely_right: usize,
    likely_wrong: usize,
    untied: usize,
    /// Calls that a service made for itself, and that were taken for one of a request, likely.
    own_likely: usize,
    /// Spans of servers that are not children of their callers', or in another trace.
    unjoined: usize,
}

/// Scenario: three services in network namespaces of their own call each other without any header,
/// a thread for each connection, 500 requests a second; the second goes by an address that is translated;
/// half of the connections are older than the agent.
/// Guarantees: one trace a request; each span is the child of the one that the services say; no record
/// is lost.
#[tokio::test(flavor = "multi_thread")]
async fn threads_are_tied() {
    for rung in [RungChoice::BtfTracepoints, RungChoice::SyscallTracepoints] {
        let Some((verdict, traces)) = play("threads", 18_090, 500, rung).await else { return };
        let tied = verdict.right + verdict.untied + verdict.likely_right;
        println!("{rung:?}: {verdict:?}, {traces} requests in one trace each");
        assert_eq!((verdict.wrong, verdict.likely_wrong), (0, 0), "{verdict:?}");
        assert!(verdict.right * 1_000 >= tied * 999, "{verdict:?}");
        assert!(verdict.unjoined * 1_000 <= tied, "{verdict:?}");
    }
}

/// Scenario: the same three services by Go 1.27 and by a stripped Go 1.21, with the client of its library, which has another
/// goroutine send; of one request in ten a goroutine of its own makes the calls.
/// Guarantees: each call of the goroutine that has read the request is its child; of no other goroutine's is it said.
#[tokio::test(flavor = "multi_thread")]
async fn goroutines_are_tied() {
    for rung in [RungChoice::BtfTracepoints, RungChoice::SyscallTracepoints] {
        let Some((verdict, traces)) = play("goroutines", 18_092, 500, rung).await else { return };
        println!("{rung:?}: {verdict:?}, {traces} requests in one trace each");
        assert_eq!(verdict.wrong, 0, "{verdict:?}");
        let Verdict { right, likely_right, likely_wrong, untied, .. } = verdict;
        let all = right + likely_right + likely_wrong + untied;
        assert!(right * 1_000 >= all * 890, "{verdict:?}");
        assert!(right * 10 <= all * 9, "{verdict:?}");
    }
}

/// Scenario: the first service is an event loop with some two dozen requests at a time, half of which it
/// lets wait before it calls anybody, and makes calls for itself.
/// Guarantees: nothing is passed off as certain that is wrong: what it calls is never the child of a
/// request, and what is likely says so.
#[tokio::test(flavor = "multi_thread")]
async fn event_loops_are_not_taken_for_threads() {
    let rung = RungChoice::BtfTracepoints;
    let Some((verdict, _)) = play("loop", 18_091, 150, rung).await else { return };
    println!("{verdict:?}");
    assert_eq!(verdict.wrong, 0, "{verdict:?}");
    assert!(verdict.likely_right > 0 && verdict.likely_wrong * 2 < verdict.likely_right);
}

async fn play(kind: &str, port: u16, rate: u32, rung: RungChoice) -> Option<(Verdict, usize)> {
    let arguments = [kind, &port.to_string(), &rate.to_string(), &SECONDS.to_string()];
    let arguments = arguments.map(str::to_owned);
    let watched = watched::<Row>(on(rung), "chain_client.py", &arguments, &[port], 2).await;
    let (rows, received, registry) = watched?;
    check_figures(&registry);
    Some(judge(&rows, &received, port))
}

fn judge(rows: &[Row], received: &Received, port: u16) -> (Verdict, usize) {
    let mut spans: HashMap<(String, SpanKind), Span> = HashMap::new();
    for span in of_ports(received, &[port]) {
        let path = text(&span, "url.path").unwrap().to_owned();
        spans.insert((path, span.kind()), span);
    }
    let find = |path: &str, kind| {
        spans.get(&(path.to_owned(), kind)).unwrap_or_else(|| panic!("no {kind:?} span of {path}"))
    };
    let mut verdict = Verdict::default();
    for ((path, kind), span) in &spans {
        if path.starts_with("/own") && *kind == SpanKind::Client {
            verdict.wrong += usize::from(!span.parent_span_id.is_empty());
            verdict.own_likely += usize::from(text(span, "icecore.link") == Some("likely"));
        }
    }
    let mut traces: HashMap<&str, &[u8]> = HashMap::new();
    let mut torn = HashSet::new();
    for (path, by, _) in rows {
        let (client, server) = (find(path, SpanKind::Client), find(path, SpanKind::Server));
        let joined = server.parent_span_id == client.span_id && server.trace_id == client.trace_id;
        verdict.unjoined += usize::from(!joined);
        if let Some(by) = by {
            verdict.add(client, find(by, SpanKind::Server));
        }
        let request = path.split(['/', '.']).nth(1).unwrap();
        if *traces.entry(request).or_insert(&client.trace_id) != client.trace_id {
            torn.insert(request);
        }
    }
    (verdict, traces.len() - torn.len())
}

impl Verdict {
    fn add(&mut self, call: &Span, request: &Span) {
        let how = text(call, "icecore.link");
        if !call.parent_span_id.is_empty() {
            assert_eq!(how, Some("thread"));
            let right = call.parent_span_id == request.span_id && call.trace_id == request.trace_id;
            *if right { &mut self.right } else { &mut self.wrong } += 1;
            return;
        }
        let likely = call.links.iter().find(|link| {
            let what = shown(&link.attributes, "icecore.link");
            what.as_deref() == Some("likely")
        });
        assert_eq!(likely.is_some(), how == Some("likely"));
        *match likely {
            None => &mut self.untied,
            Some(link) if link.span_id == request.span_id => &mut self.likely_right,
            Some(_) => &mut self.likely_wrong,
        } += 1;
    }
}
