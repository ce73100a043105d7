//! What the pipeline tells of itself.
//!
//! Invariant: labels come from enums.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::loss::Losses;
use crate::metrics::{label_names, of_each};
use crate::protocol::{Counts, Role};
use crate::redact::{Kind, Taken};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabel {
    role: RoleValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum RoleValue {
    Server,
    Client,
}

label_names!(RoleValue { Server => "server", Client => "client" });

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Fate {
    Parsed,
    Unparsed,
    Passed,
}

label_names!(Fate { Parsed => "parsed", Unparsed => "unparsed", Passed => "passed" });

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: LeftOut,
}

/// Why an exchange has no span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LeftOut {
    /// A rule says that such exchanges are not traced.
    Rule,
    /// Its trace is not of the share that a rule keeps.
    Sampled,
    /// Its trace is not of the share that the budget allows.
    Budget,
}

impl LeftOut {
    const ALL: [Self; 3] = [Self::Rule, Self::Sampled, Self::Budget];
}

label_names!(LeftOut { Rule => "rule", Sampled => "sampled", Budget => "budget" });

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: Kind,
}

label_names!(Kind {
    Credential => "credential",
    Card => "card",
    Token => "token",
    Email => "email",
    Sql => "sql",
    Pattern => "pattern",
    Cut => "cut",
});

#[derive(Debug)]
pub(super) struct PipelineMetrics {
    /// Of servers and clients.
    exchanges: [Counter; 2],
    overflowed: Counter,
    bytes: Family<OutcomeLabel, Counter>,
    responses_without_request: Counter,
    requests_shed: Counter,
    resyncs: Counter,
    revoked: Counter,
    /// By reason.
    left_out: [Counter; LeftOut::ALL.len()],
    bodies_left_out: Counter,
    redacted: Family<KindLabel, Counter>,
}

impl PipelineMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let exchanges = Family::default();
        let roles = [RoleValue::Server, RoleValue::Client].map(|role| RoleLabel { role });
        let left_out = Family::default();
        let metrics = Self {
            exchanges: of_each(&exchanges, roles),
            overflowed: Counter::default(),
            bytes: Family::default(),
            responses_without_request: Counter::default(),
            requests_shed: Counter::default(),
            resyncs: Counter::default(),
            revoked: Counter::default(),
            left_out: of_each(&left_out, LeftOut::ALL.map(|reason| ReasonLabel { reason })),
            bodies_left_out: Counter::default(),
            redacted: Family::default(),
        };
        metrics.register_rules(registry);
        registry.register(
            "icecore_probes_spans_left_out",
            "Requests that have no span, and why; their durations are counted",
            left_out,
        );
        let Self { overflowed, bytes, responses_without_request, .. } = &metrics;
        registry.register(
            "icecore_probes_exchanges",
            "Requests that were understood, by the role of the process",
            exchanges,
        );
        registry.register(
            "icecore_probes_histogram_overflows",
            "Samples whose attributes were given up since the series bound was reached",
            overflowed.clone(),
        );
        registry.register(
            "icecore_probes_payload_bytes",
            "Payload bytes that reached a parser, by what became of them",
            bytes.clone(),
        );
        registry.register(
            "icecore_probes_responses_without_request",
            "Responses whose request was not seen",
            responses_without_request.clone(),
        );
        registry.register(
            "icecore_probes_requests_shed",
            "Requests given up since too many of one connection waited for a response",
            metrics.requests_shed.clone(),
        );
        registry.register(
            "icecore_probes_resyncs",
            "Times that a parser lost its place and looked for the next message",
            metrics.resyncs.clone(),
        );
        registry.register(
            "icecore_probes_protocols_revoked",
            "Connections whose protocol was taken for another one, and looked at again",
            metrics.revoked.clone(),
        );
        metrics
    }

    fn register_rules(&self, registry: &mut Registry) {
        registry.register(
            "icecore_probes_bodies_left_out",
            "Bodies that a rule wants told and that the budget has left out",
            self.bodies_left_out.clone(),
        );
        registry.register(
            "icecore_probes_redacted_bytes",
            "Bytes of what is told of requests that were taken out, by kind",
            self.redacted.clone(),
        );
    }

    pub(super) fn left_out(&self, reason: LeftOut) {
        if let Some(counter) = self.left_out.get(reason as usize) {
            counter.inc();
        }
    }

    /// How many spans were left out for this reason.
    #[cfg(test)]
    pub(super) fn left_out_for(&self, reason: LeftOut) -> u64 {
        self.left_out.get(reason as usize).map_or(0, Counter::get)
    }

    pub(super) fn bodies_left_out(&self, count: usize) {
        self.bodies_left_out.inc_by(count as u64);
    }

    /// What of these figures is loss.
    pub(super) fn losses(&self, losses: &mut Losses) {
        for (name, counter) in ["rule", "sampled", "budget"].into_iter().zip(&self.left_out) {
            losses.add("spans", name, counter);
        }
        let unparsed = OutcomeLabel { outcome: Fate::Unparsed };
        losses.add("bytes", "unparsed", &self.bytes.get_or_create(&unparsed));
        losses.add("bodies", "budget", &self.bodies_left_out);
        losses.add("requests", "too_many_waiting", &self.requests_shed);
        losses.add("responses", "request_not_seen", &self.responses_without_request);
        losses.add("series", "overflow", &self.overflowed);
    }

    pub(super) fn taken(&self, taken: &Taken) {
        for (kind, bytes) in taken.counts() {
            self.redacted.get_or_create(&KindLabel { kind }).inc_by(bytes);
        }
    }

    pub(super) fn exchange(&self, role: Role, overflowed: bool) {
        let [of_servers, of_clients] = &self.exchanges;
        match role {
            Role::Server => of_servers.inc(),
            Role::Client => of_clients.inc(),
        };
        self.overflowed.inc_by(u64::from(overflowed));
    }

    pub(super) fn counts(&self, counts: Counts) {
        let Counts {
            parsed_bytes,
            unparsed_bytes,
            passed_bytes,
            responses_without_request,
            requests_shed,
            resyncs,
            revoked,
        } = counts;
        let bytes =
            |outcome, count| self.bytes.get_or_create(&OutcomeLabel { outcome }).inc_by(count);
        bytes(Fate::Parsed, parsed_bytes);
        bytes(Fate::Unparsed, unparsed_bytes);
        bytes(Fate::Passed, passed_bytes);
        self.responses_without_request.inc_by(responses_without_request);
        self.requests_shed.inc_by(requests_shed);
        self.resyncs.inc_by(resyncs);
        self.revoked.inc_by(revoked);
    }
}
