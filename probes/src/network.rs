//! What TCP connections move and how they fare: a record of each, and metrics by process and peer, and by pair of
//! pods.
//!
//! Invariants: a byte that the kernel counted of a connection is added to the metrics once, whether it
//! was seen in a walk over the sockets or at the end; what happened before the agent came is left out;
//! series, records and what is remembered of open connections are bounded, and what goes beyond a
//! bound is counted.

mod account;
mod datagrams;
mod drops;
mod ending;
mod metrics;
mod names;
mod pairs;
mod peer;
mod record;
mod series;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use icecore_probe_events::{Account, Dropped, Flow};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::registry::Registry;

use crate::attach::{Fallen, Walked};
use crate::clock::{WallClock, monotonic};
use crate::connection::comm;
use crate::identity::Who;
use crate::pipeline::{ConnectionInfo, Pipeline};
use crate::protocol::{Exchange, Said};
use account::Told as _;
use ending::Ending;
use metrics::NetworkMetrics;
use names::Names;
use pairs::{Pair, Pairs};
use peer::Peer;
use series::{Listener, Moved, Peers};

/// How connections are accounted for.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// How often the open sockets are walked over, and the metrics sent. A walk takes some 100 ns for
    /// each open file of the machine.
    pub every: Duration,
    /// Peers of processes with series of their own; the rest share one, which carries
    /// `otel.metric.overflow`.
    pub peers_max: usize,
    /// Pairs of pods, or of a pod and an address, with rows of their own; the rest share one, which carries
    /// `otel.metric.overflow`. 0: no pairs are told.
    pub pairs_max: usize,
    /// Records of connections that have ended, in a second; more are counted and not sent.
    pub records_per_second_max: u64,
    /// Open sockets that are remembered from walk to walk, about 100 bytes each.
    pub sockets_max: usize,
    /// Addresses whose names, from DNS answers that passed, are remembered.
    pub names_max: usize,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(10),
            peers_max: 8_192,
            pairs_max: 4_096,
            records_per_second_max: 1_000,
            sockets_max: 65_536,
            names_max: 8_192,
        }
    }
}

/// How far the metrics know an open connection.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// Tells a socket from the next one at the same address.
    flow: Flow,
    moved: Moved,
    /// The walk that has seen it last.
    walk: u64,
}

/// Where room is short, a socket that so many walks did not find is gone.
const WALKS_MISSED_MAX: u64 = 2;

/// Accounts for all connections.
#[derive(Debug)]
pub(crate) struct Network {
    config: NetworkConfig,
    known: HashMap<u64, Known>,
    /// Ports on which somebody listens, by network namespace, as of the last walk.
    listening: HashSet<(u32, u16)>,
    names: Names,
    peers: Peers,
    pairs: Pairs,
    metrics: NetworkMetrics,
    walks: u64,
    /// Sockets whose end was told while a walk is under way, which may still show them.
    ended_meanwhile: Option<HashSet<u64>>,
    /// The second that records are counted in, and how many it has.
    second: (u64, u64),
}

impl Network {
    /// Registers its metrics; does no I/O.
    pub(crate) fn new(config: NetworkConfig, registry: &mut Registry) -> Self {
        Self {
            known: HashMap::new(),
            listening: HashSet::new(),
            names: Names::new(config.names_max),
            peers: Peers::new(config.peers_max),
            pairs: Pairs::new(config.pairs_max),
            metrics: NetworkMetrics::new(registry),
            walks: 0,
            ended_meanwhile: None,
            second: (0, 0),
            config,
        }
    }

    /// Says whether connections are to be seen at their end alone, for want of walks.
    pub(crate) fn set_walks_missing(&self, missing: bool) {
        self.metrics.walks_missing(missing);
    }

    /// Says whether nobody tells from whom datagrams are that come to sockets which are not connected.
    pub(crate) fn set_senders_missing(&self, missing: bool) {
        self.metrics.senders_missing(missing);
    }

    /// Learns the names of addresses from what a resolver was told.
    pub(crate) fn learn(&mut self, info: &ConnectionInfo, exchange: &Exchange) {
        if let Said::Dns(call) = &exchange.said {
            self.names.learn(info.netns, call);
        }
    }

    /// A connection has ended, or was never made.
    pub(crate) fn ended(&mut self, account: &Account, clock: &WallClock, pipeline: &mut Pipeline) {
        if let Some(ended) = &mut self.ended_meanwhile {
            ended.insert(account.socket);
        }
        let who = who(account, pipeline);
        let peer = self.peer(account, pipeline);
        let moved = self.moved_since(account, true);
        let ending = Ending::of(account);
        self.pair(account, &who, &moved, (clock, pipeline));
        let series = self.peers.of(&who, &peer, clock.wall(account.time));
        series.moved(&moved);
        series.ended(account, ending);
        self.metrics.ended(ending);
        if self.may_record(clock.wall(account.time)) {
            let record = record::record(account, &peer, ending, clock);
            pipeline.emitter().log(&who.resource, record);
            self.metrics.recorded();
        } else {
            self.metrics.shed();
        }
    }

    /// A walk over the sockets begins.
    pub(crate) fn walk_begins(&mut self) {
        self.ended_meanwhile = Some(HashSet::new());
    }

    /// All open sockets were walked over.
    pub(crate) fn walked(&mut self, walked: &Walked, clock: &WallClock, pipeline: &mut Pipeline) {
        self.walks += 1;
        self.peers.begin_walk();
        self.metrics.walked(walked.sockets.len(), walked.cut);
        let ended = self.ended_meanwhile.take().unwrap_or_default();
        self.fell(walked, clock, pipeline);
        self.talked(&walked.chats, clock, pipeline);
        let sockets = once(walked.sockets.iter().filter(|one| !ended.contains(&one.socket)));
        // Who listens tells which end of an older connection is the server's.
        let (listeners, connected): (Vec<&Account>, Vec<&Account>) =
            sockets.into_values().partition(|account| account.listens());
        self.listening =
            listeners.iter().map(|one| (one.flow.netns, one.flow.local_port)).collect();
        for account in listeners {
            self.peers.listens(&who(account, pipeline), &Listener::of(account));
        }
        for account in connected {
            let who = who(account, pipeline);
            let peer = self.peer(account, pipeline);
            let moved = self.moved_since(account, false);
            self.pair(account, &who, &moved, (clock, pipeline));
            let series = self.peers.of(&who, &peer, clock.wall(account.time));
            series.moved(&moved);
            series.walked(account);
        }
        // What is not there any more may be on its way from one process to another, or wait for its
        // peer to answer its end; then its end says all again. It is forgotten for want of room alone.
        if !walked.cut && self.known.len() >= self.config.sockets_max {
            self.known.retain(|_, known| known.walk + WALKS_MISSED_MAX >= self.walks);
        }
    }

    /// The same for the pods at both ends.
    fn pair(
        &mut self,
        account: &Account,
        who: &Who,
        moved: &Moved,
        (clock, pipeline): (&WallClock, &Pipeline),
    ) {
        let there = pipeline.pod_at(account.remote().ip());
        if let Some(pair) = Pair::of(account, who.pod.as_deref(), there.as_deref()) {
            self.pairs.add(pair, moved, clock.wall(account.time));
        }
    }

    /// Segments were thrown away.
    fn fell(&mut self, walked: &Walked, clock: &WallClock, pipeline: &mut Pipeline) {
        if walked.fallen.is_empty() {
            return;
        }
        let once = once(walked.sockets.iter());
        let sockets = drops::Sockets::of(once.into_values());
        let now = clock.wall(monotonic());
        for Fallen { dropped, reason, segments } in &walked.fallen {
            if *dropped == Dropped::ELSEWHERE {
                self.metrics.drops_uncounted(*segments);
                continue;
            }
            let owner = sockets.owner(dropped);
            let who = match owner {
                Some(owner) => who(owner, pipeline),
                None => pipeline.who(0, 0, ""),
            };
            let series = match owner {
                Some(owner) if !owner.listens() => {
                    self.peers.of(&who, &self.peer(owner, pipeline), now)
                }
                Some(listener) => {
                    let peer = self.stranger(dropped, pipeline);
                    self.peers.of_stranger(&who, &peer.newcomer(listener.flow.local_port), now)
                }
                None => self.peers.of_stranger(&who, &self.stranger(dropped, pipeline), now),
            };
            series.fell(reason, *segments);
        }
    }

    fn stranger(&self, dropped: &Dropped, pipeline: &Pipeline) -> Peer {
        let from = drops::ends(dropped).0.ip();
        Peer::stranger(from, self.names.name(dropped.netns, from), pipeline.peer(from))
    }

    /// All metrics that have changed, as of `now`, on this machine.
    pub(crate) fn collect(&mut self, now: u64, host: &Resource) -> Vec<ResourceMetrics> {
        self.metrics.show(&mut self.peers, self.known.len(), self.names.len());
        self.metrics.show_pairs(&mut self.pairs);
        let mut all = self.peers.collect(now);
        all.extend(self.pairs.collect(now, host));
        all
    }

    /// What a connection has moved since it was last looked at.
    fn moved_since(&mut self, account: &Account, last: bool) -> Moved {
        let moved = Moved::of(account);
        let known = self.known.get(&account.socket).filter(|known| known.flow == account.flow);
        let before = match known {
            Some(known) => known.moved,
            None if account.seen_to_begin() => Moved::default(),
            // What it has moved before the agent came is nobody's.
            None => moved,
        };
        if last {
            self.known.remove(&account.socket);
        } else if known.is_some() || self.known.len() < self.config.sockets_max {
            // Read without the socket's lock, a figure may seem to fall.
            let known = Known { flow: account.flow, moved: moved.most(before), walk: self.walks };
            self.known.insert(account.socket, known);
        } else {
            // Counted as a whole at its end, if it is from the start.
            self.metrics.forgotten();
            return Moved::default();
        }
        moved.since(before)
    }

    fn peer(&self, account: &Account, pipeline: &Pipeline) -> Peer {
        let Flow { netns, local_port, .. } = account.flow;
        let listening = self.listening.contains(&(netns, local_port));
        let remote = account.remote().ip();
        let name = self.names.name(netns, remote);
        Peer::of(account, listening, name, pipeline.peer(remote))
    }

    /// There is room for one more record in this second.
    fn may_record(&mut self, now: u64) -> bool {
        let second = now / 1_000_000_000;
        if self.second.0 != second {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        self.second.1 <= self.config.records_per_second_max
    }
}

/// Each socket once: of several processes that hold it, the one that started first has made it, and the
/// others were forked from it.
fn once<'a>(accounts: impl Iterator<Item = &'a Account>) -> HashMap<u64, &'a Account> {
    let mut sockets: HashMap<u64, &Account> = HashMap::new();
    for account in accounts {
        let known = sockets.entry(account.socket).or_insert(account);
        if account.owner.started < known.owner.started {
            *known = account;
        }
    }
    sockets
}

fn who(account: &Account, pipeline: &mut Pipeline) -> Who {
    let owner = &account.owner;
    pipeline.who(owner.pid, owner.started, &comm(owner))
}
