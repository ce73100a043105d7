//! What pods move: a row for each pair of ends of which one at least is a pod of this node, each way.
//!
//! Invariants: what a connection adds to its process and peer it adds to its pair once, as its end of it has seen
//! it; there are no more pairs than the bound, and what finds none of its own is in one row that carries
//! `otel.metric.overflow`, and no more than a share of strangers; sums only grow; no port is part of a pair.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use icecore_probe_events::Account;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, ResourceMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::account::Told as _;
use super::series::{Moved, STRANGERS_SHARE, number, of_resource, sum};
use crate::identity::Pod;
use crate::span::attribute::Attribute;

/// A pair of which nothing was heard for so many collections is forgotten, and begins anew should it come back.
const IDLE_COLLECTIONS_MAX: u32 = 30;
/// Pairs that are told of at once: some two kilobytes each.
const PAIRS_AT_A_TIME: usize = 256;

/// One end: an address, and whose it is, where that is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct End {
    address: IpAddr,
    pod: Option<PodName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PodName {
    namespace: String,
    name: String,
    /// What made it, outermost: its kind, and its name.
    workload: Option<(&'static str, String)>,
}

/// Two ends of connections, the first one on this node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    here: End,
    there: End,
    /// By UDP.
    datagrams: bool,
}

/// The names of what is told of an end: its address, namespace, pod, and the kind and name of its workload.
type Keys = [&'static str; 5];
const SOURCE: Keys = [
    "source.address",
    "icecore.source.k8s.namespace.name",
    "icecore.source.k8s.pod.name",
    "icecore.source.k8s.workload.kind",
    "icecore.source.k8s.workload.name",
];
const DESTINATION: Keys = [
    "destination.address",
    "icecore.destination.k8s.namespace.name",
    "icecore.destination.k8s.pod.name",
    "icecore.destination.k8s.workload.kind",
    "icecore.destination.k8s.workload.name",
];

impl End {
    fn of(pod: Option<&Pod>, address: IpAddr) -> Self {
        let named = pod.map(|pod| PodName {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            workload: pod.workload().map(|(kind, name)| (kind, name.to_owned())),
        });
        // A pod may have several addresses, and be reached by another one than it sends from.
        let own = pod.and_then(|pod| pod.addresses.first());
        Self { address: own.copied().unwrap_or_else(|| address.to_canonical()), pod: named }
    }

    fn attributes(&self, keys: Keys) -> Vec<Attribute> {
        let [address, namespace, name, kind, workload] = keys;
        let mut list = vec![Attribute::text(address, self.address.to_string())];
        let Some(pod) = &self.pod else { return list };
        list.push(Attribute::text(namespace, pod.namespace.clone()));
        list.push(Attribute::text(name, pod.name.clone()));
        if let Some((of_kind, named)) = &pod.workload {
            list.push(Attribute::text(kind, *of_kind));
            list.push(Attribute::text(workload, named.clone()));
        }
        list
    }
}

impl Pair {
    /// The ends of a connection; none where neither is a pod, or where it leads back to where it began.
    pub(super) fn of(account: &Account, here: Option<&Pod>, there: Option<&Pod>) -> Option<Self> {
        let addresses = (account.local().ip(), account.remote().ip());
        Self::between(addresses, (here, there), false)
    }

    /// The same by UDP. Of a socket that is bound to no address and is no pod's, nobody knows from where it sends.
    pub(super) fn by_datagrams(
        (local, remote): (IpAddr, IpAddr),
        here: Option<&Pod>,
        there: Option<&Pod>,
    ) -> Option<Self> {
        if here.is_none() && local.is_unspecified() {
            return None;
        }
        Self::between((local, remote), (here, there), true)
    }

    fn between(
        (local, remote): (IpAddr, IpAddr),
        (here, there): (Option<&Pod>, Option<&Pod>),
        datagrams: bool,
    ) -> Option<Self> {
        if here.or(there).is_none() || remote.is_loopback() {
            return None;
        }
        Some(Self { here: End::of(here, local), there: End::of(there, remote), datagrams })
    }

    /// As seen from this node: what was sent is on its way from here.
    fn way(&self, sent: bool) -> Vec<Attribute> {
        let (from, to, direction) = if sent {
            (&self.here, &self.there, "transmit")
        } else {
            (&self.there, &self.here, "receive")
        };
        let mut list = from.attributes(SOURCE);
        list.extend(to.attributes(DESTINATION));
        list.push(Attribute::text("network.io.direction", direction));
        list.push(Attribute::text("network.transport", if self.datagrams { "udp" } else { "tcp" }));
        list
    }
}

#[derive(Debug)]
struct Row {
    start: u64,
    moved: Moved,
    changed: bool,
    idle: u32,
    /// It began with an address that nobody has vouched for, and nobody has since.
    stranger: bool,
}

impl Row {
    fn new(start: u64) -> Self {
        Self { start, moved: Moved::default(), changed: false, idle: 0, stranger: false }
    }

    /// There is something to tell; then it is told.
    fn take_news(&mut self) -> bool {
        self.idle = if self.changed { 0 } else { self.idle + 1 };
        std::mem::take(&mut self.changed)
    }
}

/// All pairs of this node.
#[derive(Debug)]
pub(super) struct Pairs {
    rows: HashMap<Pair, Row>,
    /// Of whoever found no place.
    others: Option<Row>,
    max: usize,
    /// Rows of strangers.
    strangers: usize,
    overflowed: u64,
}

impl Pairs {
    pub(super) fn new(max: usize) -> Self {
        Self { rows: HashMap::new(), others: None, max, strangers: 0, overflowed: 0 }
    }

    /// A connection of a pair has moved something. `start`: when a row that begins here began.
    pub(super) fn add(&mut self, pair: Pair, moved: &Moved, start: u64) {
        self.add_as(false, pair, moved, start);
    }

    /// The same for another end that anybody may have written into a datagram: of those only a few have rows of their
    /// own. A pod of this node needs nobody to vouch for it.
    pub(super) fn add_stranger(&mut self, pair: Pair, moved: &Moved, start: u64) {
        self.add_as(pair.there.pod.is_none(), pair, moved, start);
    }

    fn add_as(&mut self, stranger: bool, pair: Pair, moved: &Moved, start: u64) {
        if *moved == Moved::default() || self.max == 0 {
            return;
        }
        let crowded = stranger && self.strangers >= self.max / STRANGERS_SHARE;
        let full = crowded || self.rows.len() >= self.max;
        let row = match self.rows.entry(pair) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(_) if full => {
                self.overflowed += 1;
                self.others.get_or_insert_with(|| Row::new(start))
            }
            Entry::Vacant(place) => {
                self.strangers += usize::from(stranger);
                place.insert(Row { stranger, ..Row::new(start) })
            }
        };
        if row.stranger && !stranger {
            row.stranger = false;
            self.strangers -= 1;
        }
        row.moved.add(moved);
        row.changed = true;
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Accounts without a row of their own, since the last call.
    pub(super) fn take_overflowed(&mut self) -> u64 {
        std::mem::take(&mut self.overflowed)
    }

    /// All rows that have changed since the last call, as of `now`, for the machine.
    pub(super) fn collect(&mut self, now: u64, host: &Resource) -> Vec<ResourceMetrics> {
        let mut told = Vec::new();
        for (pair, row) in &mut self.rows {
            if row.take_news() {
                told.push((pair.way(true), pair.way(false), &*row));
            }
        }
        if let Some(others) = self.others.as_mut().filter(|others| others.changed) {
            others.changed = false;
            let way = |direction| {
                let overflow = Attribute::boolean("otel.metric.overflow", true);
                vec![overflow, Attribute::text("network.io.direction", direction)]
            };
            told.push((way("transmit"), way("receive"), &*others));
        }
        let metrics = told.chunks(PAIRS_AT_A_TIME).map(|some| metrics(some, now));
        let all = metrics.map(|metrics| of_resource(host.clone(), metrics)).collect();
        self.rows.retain(|_, row| {
            let lives = row.idle < IDLE_COLLECTIONS_MAX;
            self.strangers -= usize::from(!lives && row.stranger);
            lives
        });
        all
    }
}

/// What was sent, what was received, and how much of it.
type Ways<'r> = (Vec<Attribute>, Vec<Attribute>, &'r Row);

fn metrics(told: &[Ways<'_>], now: u64) -> Vec<Metric> {
    let points = |of: &dyn Fn(&Moved) -> (u64, u64)| -> Vec<NumberDataPoint> {
        let both = told.iter().flat_map(|(sent, received, row)| {
            let (out, back) = of(&row.moved);
            [(sent, out), (received, back)]
                .map(|(way, value)| number(way.iter().cloned(), (row.start, now), value))
        });
        both.collect()
    };
    let io = points(&|moved| (moved.sent, moved.received));
    let packets = points(&|moved| (moved.segments_sent, moved.segments_received));
    vec![
        sum("icecore.network.pod.io", "Bytes of payload between two pods.", "By", io, true),
        sum(
            "icecore.network.pod.packets",
            "Segments and datagrams between two pods.",
            "{packet}",
            packets,
            true,
        ),
    ]
}

#[cfg(test)]
mod tests;
