//! What the capturing side tells of itself.
//!
//! Invariant: a figure that the kernel programs keep is shown as it stands there, never estimated.

use icecore_probe_events::Counter as Figure;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::balance::Balance;
use crate::connection::Figures;
use crate::loss::Losses;

/// Gives the values of a label their names, in lower case.
macro_rules! label_names {
    ($label:ident { $($value:ident => $name:literal),+ $(,)? }) => {
        impl ::prometheus_client::encoding::EncodeLabelValue for $label {
            fn encode(
                &self,
                encoder: &mut ::prometheus_client::encoding::LabelValueEncoder<'_>,
            ) -> Result<(), ::std::fmt::Error> {
                let name = match self {
                    $(Self::$value => $name),+
                };
                ::prometheus_client::encoding::EncodeLabelValue::encode(&name, encoder)
            }
        }
    };
}
pub(crate) use label_names;

/// A counter for each of these labels, looked up once: to look it up each time takes longer than all else that counts
/// a request.
pub(crate) fn of_each<L, const N: usize>(
    family: &Family<L, Counter>,
    labels: [L; N],
) -> [Counter; N]
where
    L: Clone + Eq + std::hash::Hash,
{
    labels.map(|label| family.get_or_create(&label).clone())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Own,
    NotTcp,
    Peeked,
    Undecided,
    Unnamed,
    Ignored,
    Encrypted,
    Unplaced,
    Untracked,
    Submitted,
    Refused,
    Followed,
    Malformed,
    Evicted,
    Memory,
    Expired,
    Replaced,
    Read,
    Unread,
}

label_names!(Fate {
    Own => "own",
    NotTcp => "not_tcp",
    Peeked => "peeked",
    Undecided => "undecided",
    Unnamed => "unnamed",
    Ignored => "ignored",
    Encrypted => "encrypted",
    Unplaced => "unplaced",
    Untracked => "untracked",
    Submitted => "submitted",
    Refused => "refused",
    Followed => "followed",
    Malformed => "malformed",
    Evicted => "evicted",
    Memory => "memory",
    Expired => "expired",
    Replaced => "replaced",
    Read => "read",
    Unread => "unread",
});

type Counts = Family<Outcome, Counter>;

/// The metrics of capture and of the connection table.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    last: Balance,
    calls_seen: Counter,
    calls: Counts,
    calls_unread: Counter,
    calls_cut: Counter,
    rings_missing: Gauge,
    kernel_pieces: Counts,
    kernel_ends: Counts,
    kernel_accounts: Counts,
    kernel_processes: Counts,
    pieces: Counts,
    gaps: Counter,
    gap_bytes: Counter,
    connections: Gauge,
    connections_given_up: Counts,
    tls_connections: Counts,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        let seen = "Calls of sockets and TLS libraries that moved bytes";
        counter("icecore_probes_calls_seen", seen, &metrics.calls_seen);
        let unread = "Calls whose memory could not be read";
        counter("icecore_probes_calls_unread", unread, &metrics.calls_unread);
        let cut = "Calls with more parts or messages than are walked";
        counter("icecore_probes_calls_cut", cut, &metrics.calls_cut);
        counter("icecore_probes_gaps", "Holes in what was captured", &metrics.gaps);
        counter("icecore_probes_gap_bytes", "Size of those holes", &metrics.gap_bytes);
        let mut family = |name: &str, help: &str, family: &Counts| {
            registry.register(name, help, family.clone());
        };
        let calls = "What became of the calls that were seen";
        family("icecore_probes_calls", calls, &metrics.calls);
        let kernel_pieces = "Pieces of calls, by the ring's answer";
        family("icecore_probes_kernel_pieces", kernel_pieces, &metrics.kernel_pieces);
        let kernel_ends = "Ends of connections, by the ring's answer";
        family("icecore_probes_kernel_ends", kernel_ends, &metrics.kernel_ends);
        let accounts = "Accounts of connections that have ended, by the ring's answer";
        family("icecore_probes_kernel_accounts", accounts, &metrics.kernel_accounts);
        let processes = "Starts and ends of processes, by the ring's answer";
        family("icecore_probes_kernel_process_events", processes, &metrics.kernel_processes);
        let pieces = "What became of the pieces that were read";
        family("icecore_probes_pieces", pieces, &metrics.pieces);
        let given_up = "Connections that were given up before their end was seen";
        family("icecore_probes_connections_given_up", given_up, &metrics.connections_given_up);
        let tls = "Connections with TLS that have ended, by whether something inside was seen";
        family("icecore_probes_tls_connections", tls, &metrics.tls_connections);
        let missing = "1 where what io_uring moves is counted and not read";
        registry.register("icecore_probes_rings_missing", missing, metrics.rings_missing.clone());
        let connections = metrics.connections.clone();
        registry.register("icecore_probes_connections", "Connections followed", connections);
        metrics
    }

    /// Says whether what `io_uring` moves is counted and not read.
    pub(crate) fn set_rings_missing(&self, missing: bool) {
        self.rings_missing.set(i64::from(missing));
    }

    /// Shows the figures as they stand.
    pub(crate) fn show(&mut self, balance: &Balance, table: Figures, connections: usize) {
        let last = std::mem::replace(&mut self.last, *balance);
        let grown = |figure| balance.kernel(figure).saturating_sub(last.kernel(figure));
        self.calls_seen.inc_by(grown(Figure::Seen));
        self.calls_unread.inc_by(grown(Figure::Unread));
        self.calls_cut.inc_by(grown(Figure::Cut));
        for (figure, fate) in [
            (Figure::Own, Fate::Own),
            (Figure::NotTcp, Fate::NotTcp),
            (Figure::Peeked, Fate::Peeked),
            (Figure::Undecided, Fate::Undecided),
            (Figure::Unnamed, Fate::Unnamed),
            (Figure::Ignored, Fate::Ignored),
            (Figure::Encrypted, Fate::Encrypted),
            (Figure::Unplaced, Fate::Unplaced),
            (Figure::Untracked, Fate::Untracked),
            (Figure::CallsSubmitted, Fate::Submitted),
            (Figure::CallsRefused, Fate::Refused),
        ] {
            add(&self.calls, fate, grown(figure));
        }
        add(&self.kernel_pieces, Fate::Submitted, grown(Figure::PiecesSubmitted));
        add(&self.kernel_pieces, Fate::Refused, grown(Figure::PiecesRefused));
        add(&self.kernel_ends, Fate::Submitted, grown(Figure::EndsSubmitted));
        add(&self.kernel_ends, Fate::Refused, grown(Figure::EndsRefused));
        add(&self.kernel_accounts, Fate::Submitted, grown(Figure::AccountsSubmitted));
        add(&self.kernel_accounts, Fate::Refused, grown(Figure::AccountsRefused));
        add(&self.kernel_processes, Fate::Submitted, grown(Figure::ProcessesSubmitted));
        add(&self.kernel_processes, Fate::Refused, grown(Figure::ProcessesRefused));
        add(&self.pieces, Fate::Malformed, balance.malformed - last.malformed);
        self.show_table(table);
        self.connections.set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    fn show_table(&self, table: Figures) {
        let Figures {
            pieces_followed,
            pieces_ignored,
            gaps,
            gap_bytes,
            evicted,
            evicted_for_memory,
            expired,
            replaced,
            tls_read,
            tls_unread,
        } = table;
        add(&self.pieces, Fate::Followed, pieces_followed);
        add(&self.pieces, Fate::Ignored, pieces_ignored);
        self.gaps.inc_by(gaps);
        self.gap_bytes.inc_by(gap_bytes);
        add(&self.connections_given_up, Fate::Evicted, evicted);
        add(&self.connections_given_up, Fate::Memory, evicted_for_memory);
        add(&self.connections_given_up, Fate::Expired, expired);
        add(&self.connections_given_up, Fate::Replaced, replaced);
        add(&self.tls_connections, Fate::Read, tls_read);
        add(&self.tls_connections, Fate::Unread, tls_unread);
    }
}

impl Metrics {
    /// What of these figures is loss.
    pub(crate) fn losses(&self, losses: &mut Losses) {
        let mut lost = |what, family: &Counts, reason, outcome| {
            losses.add(what, reason, &family.get_or_create(&Outcome { outcome }));
        };
        lost("calls", &self.calls, "untracked", Fate::Untracked);
        lost("calls", &self.calls, "unplaced", Fate::Unplaced);
        lost("calls", &self.calls, "ring_full", Fate::Refused);
        lost("pieces", &self.kernel_pieces, "ring_full", Fate::Refused);
        lost("pieces", &self.pieces, "malformed", Fate::Malformed);
        lost("ends", &self.kernel_ends, "ring_full", Fate::Refused);
        lost("accounts", &self.kernel_accounts, "ring_full", Fate::Refused);
        lost("process_events", &self.kernel_processes, "ring_full", Fate::Refused);
        lost("connections", &self.connections_given_up, "evicted", Fate::Evicted);
        lost("connections", &self.connections_given_up, "memory", Fate::Memory);
        lost("connections", &self.connections_given_up, "replaced", Fate::Replaced);
        losses.add("calls", "unread", &self.calls_unread);
        losses.add("calls", "cut", &self.calls_cut);
        losses.add("bytes", "gap", &self.gap_bytes);
    }
}

fn add(family: &Counts, outcome: Fate, by: u64) {
    family.get_or_create(&Outcome { outcome }).inc_by(by);
}

/// The agent has stopped: its last figures, and a warning when something is missing.
pub(crate) fn log_balance(balance: &Balance) {
    let (seen, filtered) = (balance.kernel(Figure::Seen), balance.filtered());
    let (submitted, refused) =
        (balance.kernel(Figure::CallsSubmitted), balance.kernel(Figure::CallsRefused));
    let (records, read) = (balance.submitted(), balance.read());
    let (unread, cut) = (balance.kernel(Figure::Unread), balance.kernel(Figure::Cut));
    tracing::info!(
        seen,
        filtered,
        refused,
        submitted,
        records,
        read,
        followed = balance.followed,
        ignored = balance.ignored,
        unread,
        cut,
        "probe balance"
    );
    if !balance.closes() {
        tracing::warn!(seen, records, read, "probe balance does not close");
    }
}
