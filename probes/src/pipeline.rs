//! From understood exchanges to OTLP: one span and one histogram sample each.
//!
//! Invariants: an exchange is counted in its histogram whether or not its span is wanted or finds room in
//! the queue, so that the durations are at full rate; a span that was left out is counted with its reason;
//! nothing leaves here before the rules were asked what is secret in it. What a span tells beyond its duration is
//! worked out once it is known that somebody gets it, and what many have in common once for all of them.

mod memo;
mod metrics;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::registry::Registry;

use crate::budget::{Level, Memory};
use crate::connection::Tls;
use crate::emit::{Emitter, Outbox};
use crate::histogram::{Histograms, Recorded};
use crate::identity::{Identity, Pod, Who};
use crate::loss::Losses;
use crate::profile::{Export, Links, SpanLink};
use crate::protocol::{Counts, Exchange, Role, Said};
use crate::redact::{Redaction, Taken};
use crate::rules::{Call, Decision, InForce, Rules, Share};
use crate::span::alike::{Alike, Alikes};
use crate::span::attribute::Attribute;
use crate::span::http::Asked;
use crate::span::wire::WireSpan;
use crate::span::{Bodies, Draft, Later, Whole, facts::Facts};
use crate::tie::{End, Held, TieConfig, Ties};
pub(crate) use memo::Memo;
use metrics::{LeftOut, PipelineMetrics};

/// How many requests a span stands for that is one of a share. The conventions have no name for it; the trace state
/// says the same in a form that SQL cannot reckon with.
const ADJUSTED_COUNT: &str = "icecore.adjusted_count";

/// What is made of exchanges.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// How often histograms are sent.
    pub histogram_every: Duration,
    /// Series of one histogram of one process; the rest is put into one overflow series.
    pub series_max: usize,
    /// Processes with histograms of their own; the rest share one without its own resource.
    pub resources_max: usize,
    /// Which span is whose child.
    pub ties: TieConfig,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            histogram_every: Duration::from_secs(10),
            series_max: 1_000,
            resources_max: 4_096,
            ties: TieConfig::default(),
        }
    }
}

/// The connection on which an exchange was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The kernel's socket cookie, unique while the machine is up.
    pub cookie: u64,
    /// Inode of the network namespace.
    pub netns: u32,
    /// The owner's end. IPv4-mapped IPv6 addresses may be given as they are.
    pub local: SocketAddr,
    /// The other end; port 0 where a datagram does not say from whom it came.
    pub remote: SocketAddr,
    /// `network.transport`
    pub transport: &'static str,
    /// When the connection was established, wall clock in nanoseconds; none where it is older than
    /// the probe. Both ends on one node see it within microseconds of each other.
    pub opened: Option<u64>,
    /// TCP's numbers of the first byte each way, the lower one in the upper half. Chance gives the same two
    /// to no other connection of its time, and the other end knows them as well, whatever translates
    /// addresses in between. None where the connection is older than the probe, or not TCP.
    pub sequences: Option<u64>,
    /// The process (thread group) that owns the socket.
    pub pid: u32,
    /// When that process started, in nanoseconds since boot (`task->start_boottime`); 0: unknown.
    pub process_started: u64,
    /// The kernel's name of it, for processes that are gone before they could be looked up.
    pub comm: String,
    /// Its requests pass inside TLS, and what is known of that.
    pub tls: Option<Tls>,
    /// Bytes of it were lost on the way to us: whose answer is whose is a guess from there on.
    pub gaps: bool,
}

impl ConnectionInfo {
    /// The server's end, when the owner plays this role.
    pub(crate) fn server(&self, role: Role) -> SocketAddr {
        match role {
            Role::Server => self.local,
            Role::Client => self.remote,
        }
    }
}

/// What is known of an exchange once it is counted.
enum Told {
    /// All that its span will tell.
    Whole(Facts),
    /// What others tell as well.
    Alike(Arc<Alike>),
}

/// A span on its way out.
struct Leaving<'a> {
    resource: &'a Arc<Resource>,
    end: &'a End,
    share: Share,
}

/// Makes spans and histograms. One for each thread that parses.
#[derive(Debug)]
pub struct Pipeline {
    config: PipelineConfig,
    identity: Identity,
    emitter: Emitter,
    metrics: PipelineMetrics,
    histograms: Histograms,
    alikes: Alikes,
    in_force: InForce,
    /// Those that were in force at the last exchange, and their version.
    rules: (Arc<Rules>, u64),
    /// What they want of a body was last told of this version.
    told: u64,
    ties: Ties,
    /// Where spans are written, one after the other.
    written: WireSpan,
    outbox: Outbox,
    /// Whose samples are those of a request, where CPUs are sampled.
    links: Option<Links>,
    /// What is left out to keep the budget, and the share of traces that it leaves.
    shed: (Level, Share),
    /// When histograms were last sent.
    sent: Option<u64>,
}

impl Pipeline {
    /// Registers its metrics; does no I/O.
    #[must_use]
    pub fn new(
        config: PipelineConfig,
        identity: Identity,
        emitter: Emitter,
        registry: &mut Registry,
    ) -> Self {
        let histograms = Histograms::new(config.series_max, config.resources_max);
        let metrics = PipelineMetrics::new(registry);
        let (in_force, rules) = <(InForce, _)>::default();
        let told = 0;
        let ties = Ties::new(&config.ties, registry);
        Self {
            config,
            identity,
            emitter,
            metrics,
            histograms,
            alikes: Alikes::default(),
            in_force,
            rules,
            told,
            ties,
            written: WireSpan::default(),
            outbox: Outbox::default(),
            links: None,
            shed: <(Level, Share)>::default(),
            sent: None,
        }
    }

    /// Under rules.
    pub(crate) fn ruled(mut self, in_force: InForce) -> Self {
        self.identity.rule(in_force.clone());
        self.rules = (in_force.rules(), in_force.version());
        self.told = self.rules.1;
        self.in_force = in_force;
        self
    }

    /// Within this bound.
    pub(crate) fn bounded(mut self, memory: Memory) -> Self {
        self.ties = self.ties.bounded(memory);
        self
    }

    /// Telling profilers which thread was at which request.
    pub(crate) fn linked(self, links: Links) -> Self {
        Self { links: Some(links), ..self }
    }

    fn refresh_rules(&mut self) {
        let version = self.in_force.version();
        if version != self.rules.1 {
            self.rules = (self.in_force.rules(), version);
        }
    }

    /// What the rules want of a body at most, where they have changed since the last call.
    pub(crate) fn body_bytes_changed(&mut self) -> Option<usize> {
        self.refresh_rules();
        let (rules, version) = &self.rules;
        let changed = std::mem::replace(&mut self.told, *version) != *version;
        changed.then(|| rules.body_bytes_max())
    }

    /// A process was seen to own a socket: looks it up while it lives. Cheap when known.
    pub fn process_seen(&mut self, pid: u32, process_started: u64) {
        self.identity.process_seen(pid, process_started);
    }

    /// A process has begun a program, and is not who it was before. Cheap where nothing is known of it.
    pub(crate) fn process_begins(&mut self, pid: u32, process_started: u64) {
        self.identity.begins(pid, process_started);
    }

    /// Makes the span and the histogram sample of one exchange; the span leaves with `release`.
    /// Never waits: what finds no room is counted.
    pub fn exchange(&mut self, connection: &ConnectionInfo, exchange: Exchange) {
        self.exchange_on(connection, &mut Memo::default(), exchange);
    }

    /// The same, with what is remembered of the connection.
    pub(crate) fn exchange_on(
        &mut self,
        connection: &ConnectionInfo,
        memo: &mut Memo,
        mut exchange: Exchange,
    ) {
        let who = memo.who(connection, &mut self.identity);
        self.refresh_rules();
        let call = Call::of(connection, &exchange);
        let Decision { trace, share, body_bytes, redaction } =
            self.rules.0.decide(&who.subject, &call);
        let mut taken = Taken::default();
        redaction.statement(&mut exchange, &mut taken);
        let told = self.count(connection, &exchange, &who, &redaction, &mut taken);
        let end = self.ties.finish(connection, &exchange);
        if !trace {
            self.ties.pass_over(&end);
            self.metrics.left_out(LeftOut::Rule);
            self.metrics.taken(&taken);
            return;
        }
        let body_bytes = self.bodies(&exchange, body_bytes);
        let all = share.and(self.shed.1).is_all();
        if !all
            && end.is_settled()
            && let Err(reason) = self.kept(share, end.trace_id())
        {
            self.ties.leave(&end);
            self.metrics.left_out(reason);
            self.metrics.taken(&taken);
            return;
        }
        let resource = who.resource;
        let span = match told {
            Told::Whole(mut facts) => {
                facts.own.extend(self.identity.peer(connection.remote.ip()));
                let (bytes_max, redaction) = (body_bytes, &*redaction);
                let bodies = Bodies { bytes_max, redaction, taken: &mut taken };
                Draft::Whole(Whole::of(&exchange, facts, bodies))
            }
            Told::Alike(alike) => {
                let ends = memo.ends(connection, exchange.role, &redaction, &self.identity);
                let later = Later { alike, ends, exchange, redaction, body_bytes };
                if end.is_final() {
                    self.ties.leave(&end);
                    let leaving = Leaving { resource: &resource, end: &end, share };
                    self.tell(leaving, &mut taken, |to, share, taken| {
                        later.write_to(to, share, taken)
                    });
                    self.metrics.taken(&taken);
                    return;
                }
                if all {
                    Draft::Written(later.write(&mut taken))
                } else {
                    Draft::Later(Box::new(later))
                }
            }
        };
        self.metrics.taken(&taken);
        self.ties.hold(Held { resource, span, end, share });
    }

    /// Counts an exchange in its histogram.
    fn count(
        &mut self,
        connection: &ConnectionInfo,
        exchange: &Exchange,
        who: &Who,
        redaction: &Arc<Redaction>,
        taken: &mut Taken,
    ) -> Told {
        let nanos = exchange.end.saturating_sub(exchange.start);
        let seconds = Duration::from_nanos(nanos).as_secs_f64();
        let Who { key, resource, .. } = who;
        let (recorded, told) = match &exchange.said {
            Said::Http(call) => {
                let asked = Asked::of(connection, exchange, call);
                let (alike, place) = self.alikes.of(key, redaction, asked);
                taken.add_all(&alike.taken);
                let known = place
                    .filter(|at| self.histograms.record_at(*at, (key, resource), seconds))
                    .map(Recorded::Series);
                let recorded = known.unwrap_or_else(|| {
                    self.histograms.record(key, resource, &alike.facts, exchange.start, seconds)
                });
                if let Recorded::Series(at) = recorded {
                    *place = Some(at);
                }
                (recorded, Told::Alike(Arc::clone(alike)))
            }
            _ => {
                let facts = Facts::new(connection, exchange, redaction, taken);
                let recorded =
                    self.histograms.record(key, resource, &facts, exchange.start, seconds);
                (recorded, Told::Whole(facts))
            }
        };
        self.metrics.exchange(exchange.role, recorded == Recorded::Overflow);
        told
    }

    /// Leaves out so much from now on, to keep the budget.
    pub(crate) fn shed(&mut self, level: Level) {
        self.shed = (level, Share::new(level.share()).unwrap_or_default());
    }

    /// What is told of each body of an exchange, which may want so much.
    fn bodies(&self, exchange: &Exchange, wanted: usize) -> usize {
        if wanted == 0 || self.shed.0.keeps_bodies() {
            return wanted;
        }
        let kept = [&exchange.request_captured, &exchange.response_captured];
        self.metrics.bodies_left_out(kept.into_iter().filter(|body| !body.is_empty()).count());
        0
    }

    /// Who ties requests to each other: is told of each piece before and after it is read.
    pub(crate) fn ties(&mut self) -> &mut Ties {
        &mut self.ties
    }

    /// Hands on the spans whose traces are decided. `caught_up`: see [`Ties::release`].
    pub(crate) fn release(&mut self, caught_up: Option<u64>) {
        let mut taken = Taken::default();
        while let Some(Held { resource, span, end, share }) = self.ties.release(caught_up) {
            let leaving = Leaving { resource: &resource, end: &end, share };
            self.tell(leaving, &mut taken, |to, share, taken| span.write(to, share, taken));
        }
        self.outbox.hand_over(&self.emitter);
        self.metrics.taken(&taken);
        if let Some(links) = &self.links {
            links.told(self.ties.told_until());
        }
    }

    /// Writes a span, of which all is known, and hands it on, if it is one of those that are kept.
    fn tell(
        &mut self,
        leaving: Leaving<'_>,
        taken: &mut Taken,
        write: impl FnOnce(&mut WireSpan, Share, &mut Taken),
    ) {
        let Leaving { resource, end, share } = leaving;
        let share = match self.kept(share, end.trace_id()) {
            Ok(share) => share,
            Err(reason) => return self.metrics.left_out(reason),
        };
        self.written.clear();
        write(&mut self.written, share, taken);
        if let Some(count) = share.adjusted_count() {
            self.written.fraction(ADJUSTED_COUNT, count);
        }
        let ids = end.ids();
        ids.write(&mut self.written);
        let queued = self.outbox.add(&self.emitter, resource, self.written.bytes());
        if let (true, Some(links), Some(served)) = (queued, &self.links, end.served()) {
            let link = SpanLink { trace_id: ids.trace_id, span_id: ids.span_id };
            links.served(*served, link);
        }
    }

    /// Tells which threads serve a request now; to be called about once a second.
    pub(crate) fn tell_served(&self) {
        if let Some(links) = &self.links {
            links.serving(self.ties.now(), self.ties.served_now());
        }
    }

    /// Of how many a span of this trace is one, by rule and budget together, or why it is none.
    fn kept(&self, by_rule: Share, trace_id: [u8; 16]) -> Result<Share, LeftOut> {
        let by_budget = self.shed.1;
        if !by_rule.keeps(trace_id) {
            return Err(LeftOut::Sampled);
        }
        if !by_budget.keeps(trace_id) {
            return Err(LeftOut::Budget);
        }
        Ok(by_rule.and(by_budget))
    }

    /// Who a process is; pid 0: nobody knows whose it is.
    pub(crate) fn who(&mut self, pid: u32, process_started: u64, comm: &str) -> Who {
        self.identity.resource(pid, process_started, comm)
    }

    /// The service and pod at an address, where it is of this node.
    pub(crate) fn peer(&self, address: IpAddr) -> Vec<Attribute> {
        self.identity.peer(address)
    }

    /// The pod at an address, where it is of this node.
    pub(crate) fn pod_at(&self, address: IpAddr) -> Option<Arc<Pod>> {
        self.identity.pod_at(address)
    }

    /// Sends profiles as those of their processes.
    pub(crate) fn profiles(&mut self, export: Export) {
        let Export { mut request, owners } = export;
        for (profile, (owner, comm)) in request.resource_profiles.iter_mut().zip(&owners) {
            let who = self.identity.resource(owner.pid, owner.started, comm);
            profile.resource = Some(Resource::clone(&who.resource));
        }
        self.emitter.profiles(request);
    }

    /// Every container of this node's pods, and how often it was started again.
    pub(crate) fn restarts(&self) -> Vec<(Arc<Resource>, i64)> {
        self.identity.restarts()
    }

    /// The machine itself.
    pub(crate) fn host(&self) -> Resource {
        self.identity.host()
    }

    /// Where what is no exchange goes.
    pub(crate) fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    /// Adds what became of parsed bytes to the metrics.
    pub fn counts(&mut self, counts: Counts) {
        self.metrics.counts(counts);
    }

    /// What was lost from parsed bytes to sent spans.
    pub(crate) fn losses(&self, losses: &mut Losses) {
        self.metrics.losses(losses);
        self.ties.losses(losses);
        self.emitter.losses(losses);
    }

    /// Sends the histograms when they are due, and says whether they were; call it about once a second. `now` is
    /// wall time.
    pub fn tick(&mut self, now: u64) -> bool {
        self.ties.show();
        let every = u64::try_from(self.config.histogram_every.as_nanos()).unwrap_or(u64::MAX);
        let last = *self.sent.get_or_insert(now);
        // A clock that was set back must not silence the histograms.
        let due = now < last || now - last >= every;
        if due {
            self.send_histograms(now);
        }
        due
    }

    /// Sends the histograms for the last time.
    pub fn finish(mut self, now: u64) {
        self.release(Some(u64::MAX));
        self.send_histograms(now);
    }

    fn send_histograms(&mut self, now: u64) {
        self.sent = Some(now);
        let metrics = self.histograms.collect(now);
        if !metrics.is_empty() {
            self.emitter.metrics(metrics);
        }
    }
}
