//! The metrics of connections, by process and peer.
//!
//! Invariants: each account is in exactly one series; there are no more than the bound, and what finds
//! none of its own is in one that carries `otel.metric.overflow`; sums only grow, so that a lost export
//! is made up for by the next.

mod export;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use icecore_probe_events::Account;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::account::Told as _;
use super::ending::Ending;
use super::peer::Peer;
use crate::histogram::Series;
use crate::identity::Who;
pub(super) use export::{number, of_resource, sum};

/// Upper bounds in seconds of round trips and of connecting.
const BOUNDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// A peer of which nothing was heard for so many collections is forgotten. Its series begin anew should
/// it come back.
const IDLE_COLLECTIONS_MAX: u32 = 30;

/// What a connection has moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) segments_sent: u64,
    pub(super) segments_received: u64,
    pub(super) retransmits: u64,
}

impl Moved {
    /// Up to now.
    pub(super) fn of(account: &Account) -> Self {
        Self {
            sent: account.sent,
            received: account.received,
            segments_sent: account.segments_sent.into(),
            segments_received: account.segments_received.into(),
            retransmits: account.retransmits.into(),
        }
    }

    /// Since an earlier look.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(before.sent),
            received: self.received.saturating_sub(before.received),
            segments_sent: self.segments_sent.saturating_sub(before.segments_sent),
            segments_received: self.segments_received.saturating_sub(before.segments_received),
            retransmits: self.retransmits.saturating_sub(before.retransmits),
        }
    }

    /// The larger of each.
    pub(super) fn most(self, other: Self) -> Self {
        Self {
            sent: self.sent.max(other.sent),
            received: self.received.max(other.received),
            segments_sent: self.segments_sent.max(other.segments_sent),
            segments_received: self.segments_received.max(other.segments_received),
            retransmits: self.retransmits.max(other.retransmits),
        }
    }

    /// Adds what was moved beside it.
    pub(super) fn add(&mut self, more: &Self) {
        let Self { sent, received, segments_sent, segments_received, retransmits } = more;
        self.sent += sent;
        self.received += received;
        self.segments_sent += segments_sent;
        self.segments_received += segments_received;
        self.retransmits += retransmits;
    }
}

/// What is known of the connections between a process and a peer.
#[derive(Debug)]
pub(super) struct Totals {
    start: u64,
    moved: Moved,
    ended: BTreeMap<Ending, u64>,
    /// Segments that the kernel threw away, by its reason.
    fallen: BTreeMap<Arc<str>, u64>,
    connect: Series,
    rtt: Series,
    /// Connections that the last walk has found, and what was said of that last.
    open: u64,
    open_told: u64,
    changed: bool,
    idle: u32,
    /// It began with an address that nobody has vouched for, and nobody has since.
    stranger: bool,
    /// By UDP: there are no connections.
    datagrams: bool,
}

impl Totals {
    fn new(start: u64) -> Self {
        Self {
            start,
            moved: Moved::default(),
            ended: BTreeMap::new(),
            fallen: BTreeMap::new(),
            connect: Series::new(BOUNDS, start),
            rtt: Series::new(BOUNDS, start),
            open: 0,
            open_told: 0,
            changed: true,
            idle: 0,
            stranger: false,
            datagrams: false,
        }
    }

    /// Something has passed.
    pub(super) fn moved(&mut self, moved: &Moved) {
        if *moved != Moved::default() {
            self.moved.add(moved);
            self.changed = true;
        }
    }

    /// A connection has ended.
    pub(super) fn ended(&mut self, account: &Account, ending: Ending) {
        *self.ended.entry(ending).or_default() += 1;
        if let Some(nanos) = account.connect_nanos() {
            self.connect.record(std::time::Duration::from_nanos(nanos).as_secs_f64());
        }
        self.round_trip(account);
        self.changed = true;
    }

    /// So many segments were thrown away.
    pub(super) fn fell(&mut self, reason: &Arc<str>, segments: u64) {
        *self.fallen.entry(Arc::clone(reason)).or_default() += segments;
        self.changed = true;
    }

    /// A connection is open.
    pub(super) fn walked(&mut self, account: &Account) {
        self.open += 1;
        self.round_trip(account);
    }

    fn round_trip(&mut self, account: &Account) {
        if account.rtt_micros > 0 {
            self.rtt.record(f64::from(account.rtt_micros) / 1e6);
        }
    }
}

/// A socket on which a process waits for connections.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) backlog: u32,
    pub(super) backlog_max: u32,
}

impl Listener {
    pub(super) fn of(account: &Account) -> Self {
        let local = account.local();
        let Account { backlog, backlog_max, .. } = *account;
        Self { address: local.ip().to_string(), port: local.port(), backlog, backlog_max }
    }
}

#[derive(Debug)]
struct OfProcess {
    resource: Arc<Resource>,
    peers: HashMap<Peer, Totals>,
    /// As of the last walk.
    listeners: Vec<Listener>,
}

impl OfProcess {
    fn new(resource: &Arc<Resource>) -> Self {
        Self { resource: Arc::clone(resource), peers: HashMap::new(), listeners: Vec::new() }
    }
}

/// The series of every process of the node.
#[derive(Debug)]
pub(super) struct Peers {
    processes: HashMap<Arc<[u8]>, OfProcess>,
    /// Of whoever found no place: clients' and servers' together.
    others: Option<Totals>,
    /// Peers and listeners in all processes.
    series: usize,
    series_max: usize,
    /// Those of them that are strangers'.
    strangers: usize,
    overflowed: u64,
}

/// One in so many series, and pairs, at most is of addresses that no connection has and nobody sends to: whoever sends
/// with made-up senders then takes no room from those who connect.
pub(super) const STRANGERS_SHARE: usize = 8;

impl Peers {
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            processes: HashMap::new(),
            others: None,
            series: 0,
            series_max,
            strangers: 0,
            overflowed: 0,
        }
    }

    /// The series of a process and a peer, or those of all others. `start`: when ones that begin here
    /// began.
    pub(super) fn of(&mut self, who: &Who, peer: &Peer, start: u64) -> &mut Totals {
        self.of_one(false, who, peer, start)
    }

    /// The same for an address that anybody may have written into a segment: of those only a few have
    /// series of their own.
    pub(super) fn of_stranger(&mut self, who: &Who, peer: &Peer, start: u64) -> &mut Totals {
        self.of_one(true, who, peer, start)
    }

    fn of_one(&mut self, stranger: bool, who: &Who, peer: &Peer, start: u64) -> &mut Totals {
        match self.known_as_stranger(who, peer) {
            Some(was) => self.strangers -= usize::from(was && !stranger),
            None => {
                let crowded = stranger && self.strangers >= self.series_max / STRANGERS_SHARE;
                if crowded || self.series >= self.series_max {
                    return self.overflow(start);
                }
                self.series += 1;
                self.strangers += usize::from(stranger);
            }
        }
        let process = self.process(who);
        let new = || Totals { datagrams: peer.datagrams, stranger, ..Totals::new(start) };
        let totals = process.peers.entry(peer.clone()).or_insert_with(new);
        totals.stranger &= stranger;
        totals
    }

    /// None: there is no such series.
    fn known_as_stranger(&self, who: &Who, peer: &Peer) -> Option<bool> {
        Some(self.processes.get(&who.key)?.peers.get(peer)?.stranger)
    }

    /// The series of all others, for what nobody is known to have done.
    pub(super) fn of_nobody(&mut self, start: u64) -> &mut Totals {
        self.others.get_or_insert_with(|| Totals::new(start))
    }

    fn overflow(&mut self, start: u64) -> &mut Totals {
        self.overflowed += 1;
        self.others.get_or_insert_with(|| Totals::new(start))
    }

    fn process(&mut self, who: &Who) -> &mut OfProcess {
        let new = || OfProcess::new(&who.resource);
        let process = self.processes.entry(Arc::clone(&who.key)).or_insert_with(new);
        // What is known of a process may have grown.
        process.resource = Arc::clone(&who.resource);
        process
    }

    /// What is open is counted anew.
    pub(super) fn begin_walk(&mut self) {
        for process in self.processes.values_mut() {
            self.series -= process.listeners.len();
            process.listeners.clear();
            process.peers.values_mut().for_each(|totals| totals.open = 0);
        }
        if let Some(others) = &mut self.others {
            others.open = 0;
        }
    }

    /// A process waits for connections.
    pub(super) fn listens(&mut self, who: &Who, listener: &Listener) {
        // Several sockets of a process may share a port: one series is all of them.
        let mut known = self.process(who).listeners.iter_mut();
        if let Some(one) =
            known.find(|one| (one.port, &one.address) == (listener.port, &listener.address))
        {
            one.backlog = one.backlog.saturating_add(listener.backlog);
            one.backlog_max = one.backlog_max.saturating_add(listener.backlog_max);
            return;
        }
        if self.series >= self.series_max {
            self.overflowed += 1;
            return;
        }
        self.series += 1;
        self.process(who).listeners.push(listener.clone());
    }

    /// Peers and listeners with series of their own.
    pub(super) fn len(&self) -> usize {
        self.series
    }

    /// Accounts without a series of their own, since the last call.
    pub(super) fn take_overflowed(&mut self) -> u64 {
        std::mem::take(&mut self.overflowed)
    }

    /// Everything that has changed since the last call, as of `now`.
    pub(super) fn collect(&mut self, now: u64) -> Vec<ResourceMetrics> {
        let mut all = Vec::new();
        for process in self.processes.values_mut() {
            let before = process.peers.len();
            process.peers.retain(|_, totals| {
                let lives = totals.lives();
                self.strangers -= usize::from(!lives && totals.stranger);
                lives
            });
            self.series -= before - process.peers.len();
            all.extend(export::process(process, now));
        }
        self.processes.retain(|_, one| !one.peers.is_empty() || !one.listeners.is_empty());
        all.extend(self.others.as_mut().and_then(|others| export::others(others, now)));
        all
    }
}

impl Totals {
    /// Something may still come of it.
    fn lives(&mut self) -> bool {
        self.idle = if self.changed || self.open > 0 { 0 } else { self.idle + 1 };
        self.idle < IDLE_COLLECTIONS_MAX
    }

    /// There is something to tell; then it is told.
    fn take_news(&mut self) -> bool {
        let news = self.changed || self.open > 0 || self.open != self.open_told;
        self.changed = false;
        self.open_told = self.open;
        news
    }
}
