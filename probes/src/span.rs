//! One exchange as an OTLP span, by the semantic conventions of its kind.
//!
//! Invariants: names and metric attributes come from small sets; what is secret is taken out here and
//! in the facts, before anything is queued to be sent.

pub(crate) mod alike;
pub(crate) mod attribute;
mod database;
mod dns;
pub(crate) mod facts;
pub(crate) mod http;
pub(crate) mod link;
mod messaging;
mod rpc;
#[cfg(test)]
pub(crate) mod tests;
mod websocket;
pub(crate) mod wire;

use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::protocol::{BodySize, Exchange, Failure, Role, Said, VALUE_BYTES_MAX};
use crate::redact::{self, Redaction, Taken};
use crate::rules::Share;
use alike::{Alike, Ends};
use attribute::Attribute;
use facts::{Cleaner, Facts};
use wire::WireSpan;

/// What is told of bodies.
pub(crate) struct Bodies<'a> {
    /// Of each; 0: nothing.
    pub(crate) bytes_max: usize,
    pub(crate) redaction: &'a Redaction,
    pub(crate) taken: &'a mut Taken,
}

/// A span without its ids. It is written once it is known that somebody gets it: of those that the budget leaves out,
/// nothing is.
#[derive(Debug)]
pub(crate) enum Draft {
    /// Whose facts are known, without secrets.
    Whole(Whole),
    /// Of a request of HTTP, of which only those facts are known that go with its duration.
    Later(Box<Later>),
    /// Of one that is written but for what others have in common with it.
    Written(Written),
}

/// A span whose facts are known, without secrets.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    facts: Facts,
    kind: SpanKind,
    times: [u64; 2],
    pub(crate) trace_state: String,
}

/// A request of HTTP as it was seen, and what it has in common with others.
#[derive(Debug)]
pub(crate) struct Later {
    pub(crate) alike: Arc<Alike>,
    pub(crate) ends: Arc<Ends>,
    pub(crate) exchange: Exchange,
    pub(crate) redaction: Arc<Redaction>,
    /// What is told of each body, at most.
    pub(crate) body_bytes: usize,
}

/// One that tells nothing.
impl Default for Draft {
    fn default() -> Self {
        Self::Whole(Whole::default())
    }
}

impl Draft {
    /// What it takes in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::Whole(whole) => whole.facts.held_bytes() + whole.trace_state.capacity(),
            Self::Later(later) => size_of::<Later>() + later.exchange.http_bytes(),
            Self::Written(written) => written.own.held_bytes() + written.trace_state.capacity(),
        }
    }

    /// Writes it as OTLP has it, as one of this share. What is taken out only now is counted.
    pub(crate) fn write(&self, span: &mut WireSpan, share: Share, taken: &mut Taken) {
        match self {
            Self::Whole(whole) => whole.write(span, share),
            Self::Later(later) => later.write_to(span, share, taken),
            Self::Written(written) => written.write(span, share),
        }
    }
}

/// A request of HTTP, what its span says beside what others say as well. To write it at once is cheaper where nothing is
/// left out: what it was made of goes while it is at hand, and what waits is small.
#[derive(Debug)]
pub(crate) struct Written {
    alike: Arc<Alike>,
    ends: Arc<Ends>,
    own: WireSpan,
    trace_state: String,
}

impl Whole {
    pub(crate) fn of(exchange: &Exchange, mut facts: Facts, mut bodies: Bodies<'_>) -> Self {
        let kind = match (&exchange.said, exchange.role) {
            (Said::Messaging(call), role) => messaging::kind(call, role),
            (_, Role::Server) => SpanKind::Server,
            (_, Role::Client) => SpanKind::Client,
        };
        facts.own.extend(bodies.attributes(exchange, facts.content).into_iter().flatten());
        let trace_state = trace_state(exchange, &mut bodies);
        Self { facts, kind, times: times(exchange), trace_state }
    }

    fn write(&self, span: &mut WireSpan, share: Share) {
        let Self { facts, kind, times, trace_state } = self;
        let code = if facts.failed { StatusCode::Error } else { StatusCode::Unset };
        span.named(&facts.name, *kind, code);
        span.times(*times);
        span.trace_state(&share.state(trace_state));
        facts.shared.iter().chain(&facts.own).for_each(|attribute| span.attribute(attribute));
    }
}

/// What the span of a request of HTTP says that others do not takes no more, as long as no headers are asked for.
const OWN_BYTES_USUALLY: usize = 320;

impl Later {
    /// Writes what is its own. What is taken out is counted.
    pub(crate) fn write(&self, taken: &mut Taken) -> Written {
        let mut own = WireSpan::with_capacity(OWN_BYTES_USUALLY);
        let trace_state = self.write_own(&mut own, taken);
        Written { alike: Arc::clone(&self.alike), ends: Arc::clone(&self.ends), own, trace_state }
    }

    /// Writes all of it, as one of this share.
    pub(crate) fn write_to(&self, span: &mut WireSpan, share: Share, taken: &mut Taken) {
        [&self.alike.span, &self.ends.span].into_iter().for_each(|part| span.add_all(part));
        let trace_state = self.write_own(span, taken);
        write_state(span, &trace_state, share);
    }

    /// Returns the trace state.
    fn write_own(&self, own: &mut WireSpan, taken: &mut Taken) -> String {
        let Self { alike, ends, exchange, redaction, body_bytes } = self;
        own.times(times(exchange));
        taken.add_all(&ends.taken);
        if let Said::Http(call) = &exchange.said {
            let long = redact::is_cut(&call.target, VALUE_BYTES_MAX);
            http::write(own, exchange, call, &mut Cleaner { long, redaction, taken });
        }
        let mut bodies = Bodies { bytes_max: *body_bytes, redaction, taken };
        let rest = bodies.attributes(exchange, alike.facts.content);
        rest.iter().flatten().for_each(|attribute| own.attribute(attribute));
        trace_state(exchange, &mut bodies)
    }
}

impl Written {
    fn write(&self, span: &mut WireSpan, share: Share) {
        let Self { alike, ends, own, trace_state } = self;
        [&alike.span, &ends.span, own].into_iter().for_each(|part| span.add_all(part));
        write_state(span, trace_state, share);
    }
}

fn write_state(span: &mut WireSpan, trace_state: &str, share: Share) {
    if !trace_state.is_empty() || !share.is_all() {
        span.trace_state(&share.state(trace_state));
    }
}

fn times(exchange: &Exchange) -> [u64; 2] {
    [exchange.start, exchange.end.max(exchange.start)]
}

/// Only beside a caller that the headers name; without secrets, as other headers.
fn trace_state(exchange: &Exchange, bodies: &mut Bodies<'_>) -> String {
    let named = link::headers::parent(|name| exchange.request_header(name)).is_some();
    let state = exchange.request_header("tracestate").filter(|_| named);
    let clean = |state: &str| {
        let cut = redact::is_cut(state, VALUE_BYTES_MAX);
        bodies.redaction.header("tracestate", state, cut, bodies.taken).into_owned()
    };
    state.map(clean).unwrap_or_default()
}

impl Bodies<'_> {
    /// That not all of it was seen, and what was kept of both bodies, under these names.
    fn attributes(
        &mut self,
        exchange: &Exchange,
        [request, response]: [&'static str; 2],
    ) -> [Option<Attribute>; 3] {
        let unseen = exchange.failure == Some(Failure::Unseen);
        [
            unseen.then(|| Attribute::boolean("icecore.incomplete", true)),
            self.attribute(request, &exchange.request_captured, exchange.request_body),
            self.attribute(response, &exchange.response_captured, exchange.response_body),
        ]
    }

    /// What was kept of a body, cut only after secrets were taken out: the beginning of one would not be
    /// told as such.
    fn attribute(&mut self, key: &'static str, kept: &[u8], size: BodySize) -> Option<Attribute> {
        if kept.is_empty() || self.bytes_max == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(kept);
        let cut = size != BodySize::Exact(kept.len() as u64);
        let clean = self.redaction.text(&text, cut, self.taken);
        let told = clean.get(..clean.floor_char_boundary(self.bytes_max)).unwrap_or_default();
        Some(Attribute::text(key, told.to_owned()))
    }
}
