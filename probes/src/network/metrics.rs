//! What accounting tells of itself.
//!
//! Invariant: labels come from enums.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::ending::Ending;
use super::pairs::Pairs;
use super::series::Peers;
use crate::metrics::label_names;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Recorded,
    Shed,
}

label_names!(Fate { Recorded => "recorded", Shed => "shed" });

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabel {
    outcome: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndingLabel {
    ending: &'static str,
}

#[derive(Debug)]
pub(super) struct NetworkMetrics {
    ended: Family<EndingLabel, Counter>,
    records: Family<FateLabel, Counter>,
    sockets: Gauge,
    walks_cut: Counter,
    walks_missing: Gauge,
    forgotten: Counter,
    remembered: Gauge,
    peers: Gauge,
    overflowed: Counter,
    pairs: Gauge,
    pairs_overflowed: Counter,
    names: Gauge,
    drops_uncounted: Counter,
    datagrams_uncounted: Counter,
    senders_missing: Gauge,
}

impl NetworkMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            ended: Family::default(),
            records: Family::default(),
            sockets: Gauge::default(),
            walks_cut: Counter::default(),
            walks_missing: Gauge::default(),
            forgotten: Counter::default(),
            remembered: Gauge::default(),
            peers: Gauge::default(),
            overflowed: Counter::default(),
            pairs: Gauge::default(),
            pairs_overflowed: Counter::default(),
            names: Gauge::default(),
            drops_uncounted: Counter::default(),
            datagrams_uncounted: Counter::default(),
            senders_missing: Gauge::default(),
        };
        let ended = "TCP connections whose end was seen, by how they ended";
        registry.register("icecore_probes_connections_ended", ended, metrics.ended.clone());
        let records = "Records of connections, by what became of them";
        registry.register("icecore_probes_connection_records", records, metrics.records.clone());
        let sockets = "TCP sockets that the last walk has found";
        registry.register("icecore_probes_sockets", sockets, metrics.sockets.clone());
        let cut = "Walks over the sockets that found more than are taken";
        registry.register("icecore_probes_walks_cut", cut, metrics.walks_cut.clone());
        let missing = "1 where the kernel does not let the open sockets be walked over";
        registry.register("icecore_probes_walks_missing", missing, metrics.walks_missing.clone());
        let forgotten = "Open connections, once a walk, that found no place to be remembered";
        registry.register("icecore_probes_sockets_forgotten", forgotten, metrics.forgotten.clone());
        let remembered = "Open connections that are remembered from walk to walk";
        registry.register("icecore_probes_sockets_known", remembered, metrics.remembered.clone());
        let peers = "Peers of processes with series of their own";
        registry.register("icecore_probes_peers", peers, metrics.peers.clone());
        let overflowed = "Accounts that went into the series of all others";
        registry.register("icecore_probes_peer_overflows", overflowed, metrics.overflowed.clone());
        let pairs = "Pairs of pods with rows of their own";
        registry.register("icecore_probes_pod_pairs", pairs, metrics.pairs.clone());
        let overflowed = "Accounts that went into the row of all other pairs";
        let name = "icecore_probes_pod_pair_overflows";
        registry.register(name, overflowed, metrics.pairs_overflowed.clone());
        let names = "Addresses whose names are remembered";
        registry.register("icecore_probes_names", names, metrics.names.clone());
        let uncounted = "Segments thrown away by the kernel that found no place of their own";
        let name = "icecore_probes_drop_overflows";
        registry.register(name, uncounted, metrics.drops_uncounted.clone());
        let uncounted = "Datagrams whose process and peer found no place of their own";
        let name = "icecore_probes_datagram_overflows";
        registry.register(name, uncounted, metrics.datagrams_uncounted.clone());
        let missing = "1 where nobody tells from whom datagrams are that are received";
        let name = "icecore_probes_datagram_senders_missing";
        registry.register(name, missing, metrics.senders_missing.clone());
        metrics
    }

    pub(super) fn datagrams_uncounted(&self, datagrams: u64) {
        self.datagrams_uncounted.inc_by(datagrams);
    }

    pub(super) fn senders_missing(&self, missing: bool) {
        self.senders_missing.set(i64::from(missing));
    }

    pub(super) fn drops_uncounted(&self, segments: u64) {
        self.drops_uncounted.inc_by(segments);
    }

    pub(super) fn ended(&self, ending: Ending) {
        self.ended.get_or_create(&EndingLabel { ending: ending.name() }).inc();
    }

    pub(super) fn recorded(&self) {
        self.records.get_or_create(&FateLabel { outcome: Fate::Recorded }).inc();
    }

    pub(super) fn shed(&self) {
        self.records.get_or_create(&FateLabel { outcome: Fate::Shed }).inc();
    }

    pub(super) fn forgotten(&self) {
        self.forgotten.inc();
    }

    pub(super) fn walked(&self, sockets: usize, cut: bool) {
        self.sockets.set(i64::try_from(sockets).unwrap_or(i64::MAX));
        self.walks_cut.inc_by(u64::from(cut));
    }

    pub(super) fn walks_missing(&self, missing: bool) {
        self.walks_missing.set(i64::from(missing));
    }

    pub(super) fn show_pairs(&self, pairs: &mut Pairs) {
        self.pairs_overflowed.inc_by(pairs.take_overflowed());
        self.pairs.set(i64::try_from(pairs.len()).unwrap_or(i64::MAX));
    }

    pub(super) fn show(&self, peers: &mut Peers, remembered: usize, names: usize) {
        self.overflowed.inc_by(peers.take_overflowed());
        self.peers.set(i64::try_from(peers.len()).unwrap_or(i64::MAX));
        self.remembered.set(i64::try_from(remembered).unwrap_or(i64::MAX));
        self.names.set(i64::try_from(names).unwrap_or(i64::MAX));
    }
}
