//! All connections that are followed, by the identity of their socket.
//!
//! Invariants: an identity stands for one connection at a time, told apart by generation; the
//! table never holds more than its bound; what leaves it was closed first, so that no exchange
//! stays open.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hashbrown::HashMap;
use icecore_probe_events::{
    End, FLAG_DATAGRAM, FLAG_FROM_START, FLAG_IPV6, FLAG_LOOKING, FLAG_PLAIN, FLAG_RESET, FLAG_TLS,
    INBOUND, Owner, PLAIN, Piece,
};

use super::handshake::Handshake;
use super::newest::Newest;
use super::numbers::{place_of, sequences};
use super::stream::{Place, Stream};
use crate::budget::{Holder, Memory};
use crate::clock::WallClock;
use crate::pipeline::{ConnectionInfo, Memo};
use crate::protocol::{Closing, Counts, Direction, Exchange, Followed, Following, Limits, Segment};

/// Bounds of the table.
#[derive(Debug, Clone)]
pub(crate) struct TableConfig {
    pub(crate) connections_max: usize,
    pub(crate) idle_max_nanos: u64,
    pub(crate) limits: Arc<Limits>,
    /// Of which connections have a part.
    pub(crate) memory: Memory,
}

/// What the kernel should do with a connection from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing has changed.
    Same,
    /// Copy everything: its protocol is known. Told once for each connection.
    Copy,
    /// Copy what may begin a request: nothing that has passed is understood. Told once as well.
    Watch,
    /// Stop copying: nothing more can be learnt. Told once for each connection.
    Ignore,
    /// It was to be ignored already.
    Ignored,
}

/// What happened in the table, to be counted. Additive; taken by [`Table::take_figures`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) pieces_followed: u64,
    pub(crate) pieces_ignored: u64,
    pub(crate) gaps: u64,
    pub(crate) gap_bytes: u64,
    pub(crate) evicted: u64,
    pub(crate) evicted_for_memory: u64,
    pub(crate) expired: u64,
    pub(crate) replaced: u64,
    pub(crate) tls_read: u64,
    pub(crate) tls_unread: u64,
}

/// Pieces of a connection after which it is weighed anew, and bytes, whichever comes first.
const WEIGHED_EVERY: u32 = 8;
const WEIGHED_EVERY_BYTES: usize = 4 << 10;

/// One connection.
#[derive(Debug)]
struct Tracked {
    generation: u64,
    info: ConnectionInfo,
    /// Of those who take its exchanges.
    memo: Memo,
    following: Following,
    streams: [Stream; 2],
    last_seen: u64,
    /// What it held when that was last weighed, and pieces and bytes since then.
    held_bytes: usize,
    unweighed: u32,
    unweighed_bytes: usize,
    /// The kernel copies for want of knowing better.
    looking: bool,
    watched: bool,
    ignored: bool,
    /// It carries TLS. What is inside is followed as a connection of its own.
    handshake: Option<Handshake>,
    /// Something of what is inside was seen.
    inside_seen: bool,
}

/// Where exchanges go, with the connection on which they were seen and what is remembered of it there.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&ConnectionInfo, &mut Memo, Exchange);

/// All connections.
#[derive(Debug)]
pub(crate) struct Table {
    config: TableConfig,
    tracked: HashMap<u64, Tracked>,
    figures: Figures,
    counts: Counts,
    exchanges: Vec<Exchange>,
}

impl Table {
    pub(crate) fn new(config: TableConfig) -> Self {
        Self {
            config,
            tracked: HashMap::new(),
            figures: Figures::default(),
            counts: Counts::default(),
            exchanges: Vec::new(),
        }
    }

    /// So much of each body is kept on connections that begin from now on.
    pub(crate) fn keep_of_bodies(&mut self, bytes_max: usize) {
        let limits = Limits::clone(&self.config.limits);
        self.config.limits = Arc::new(Limits { body_bytes_max: bytes_max, ..limits });
    }

    /// Connections that are followed.
    pub(crate) fn len(&self) -> usize {
        self.tracked.len()
    }

    /// The kernel's generation of a connection was this when it was last heard of.
    pub(crate) fn info(&self, connection: u64) -> Option<&ConnectionInfo> {
        self.tracked.get(&connection).map(|tracked| &tracked.info)
    }

    /// What a piece that was fed has begun, if anything; `time`: when it passed, as requests have it.
    pub(crate) fn newest(&self, piece: &Piece, time: u64) -> Option<Newest<'_>> {
        let tracked = self.tracked.get(&piece.connection).filter(|tracked| !tracked.ignored)?;
        let begun = tracked.following.newest();
        let here = begun.filter(|begun| begun.start == time && begun.waiting == 1);
        let place = here.and_then(|_| place_of(piece));
        let Tracked { info, following, .. } = tracked;
        let beside = following.beside(time);
        Some(Newest { connection: info, role: following.role(), begun, beside, place })
    }

    /// A connection that is not in the table, or is there under an older generation, begins here.
    /// True when it does: the caller may want to look at its owner.
    pub(crate) fn begin(&mut self, piece: &Piece, clock: &WallClock, sink: Sink<'_>) -> bool {
        if let Some(tracked) = self.tracked.get_mut(&piece.connection) {
            if tracked.generation == piece.generation {
                return tracked.note_owner(&piece.owner);
            }
            self.figures.replaced += 1;
            self.close(piece.connection, clock.wall(piece.time), Closing::Orderly, sink);
        }
        if self.tracked.len() >= self.config.connections_max {
            self.figures.evicted += self.evict(|tracked| (0, tracked.last_seen), clock, sink);
        }
        let limits = Arc::clone(&self.config.limits);
        let mut tracked = Tracked::new(piece, limits, clock);
        if piece.flags & FLAG_PLAIN != 0 {
            let outer = self.tracked.get_mut(&(piece.connection ^ PLAIN));
            let handshake = outer.and_then(|outer| {
                outer.inside_seen = true;
                outer.handshake.as_ref()
            });
            tracked.info.cookie = piece.connection ^ PLAIN;
            tracked.info.tls = Some(handshake.map(Handshake::tls).cloned().unwrap_or_default());
        }
        self.tracked.insert(piece.connection, tracked);
        true
    }

    /// Nothing of a handshake was seen before this piece of one.
    pub(crate) fn turns_to_tls(&self, piece: &Piece) -> bool {
        let known = self.tracked.get(&piece.connection);
        known.is_some_and(|tracked| tracked.handshake.is_none())
    }

    /// Feeds a piece of a connection that [`Table::begin`] was told of.
    pub(crate) fn feed(
        &mut self,
        piece: &Piece,
        payload: &[u8],
        clock: &WallClock,
        sink: Sink<'_>,
    ) -> Verdict {
        let Some(tracked) = self.tracked.get_mut(&piece.connection) else {
            return Verdict::Ignored;
        };
        tracked.last_seen = piece.time;
        let direction = direction(piece);
        // Whatever was understood before: a connection may have turned to it.
        let shakes_hands = piece.flags & FLAG_TLS != 0;
        if shakes_hands {
            tracked.shake_hands(piece, direction, payload);
        }
        if tracked.ignored {
            self.figures.pieces_ignored += 1;
            return Verdict::Ignored;
        }
        self.figures.pieces_followed += 1;
        if shakes_hands {
            return Verdict::Same;
        }
        let time = clock.wall(piece.time);
        let place = tracked.stream(direction).place(piece);
        // Of what is only watched, most is left out.
        if let Place::After(missing) = place
            && !tracked.watched
        {
            self.figures.gaps += 1;
            self.figures.gap_bytes += missing;
            tracked.info.gaps = true;
            tracked.lost(direction, missing, time, &mut self.exchanges);
        }
        let omitted = piece.omitted;
        let segment = Segment { direction, time, captured: payload, omitted, gap_before: false };
        let followed = tracked.following.feed(&segment, &mut self.exchanges);
        self.counts.add(tracked.following.take_counts());
        let Tracked { info, memo, .. } = tracked;
        self.exchanges.drain(..).for_each(|exchange| sink(info, memo, exchange));
        let verdict = tracked.verdict(followed, piece.flags & FLAG_LOOKING != 0);
        tracked.weigh(payload.len(), &self.config.memory);
        if self.config.memory.connections_are_full() {
            let heaviest =
                |tracked: &Tracked| (u64::MAX - tracked.held_bytes as u64, tracked.last_seen);
            self.figures.evicted_for_memory += self.evict(heaviest, clock, sink);
        }
        verdict
    }

    /// Nothing more is to be learnt of a connection, whatever it carries. The piece at hand, which has shown it, is
    /// ignored as well.
    pub(crate) fn ignore(&mut self, connection: u64) {
        self.figures.pieces_ignored += 1;
        if let Some(tracked) = self.tracked.get_mut(&connection) {
            // The agent's own talk, whose inside nobody misses.
            (tracked.ignored, tracked.inside_seen) = (true, true);
        }
    }

    /// The kernel saw a connection end.
    pub(crate) fn end(&mut self, end: &End, clock: &WallClock, sink: Sink<'_>) {
        let known = self.tracked.get_mut(&end.connection);
        let Some(tracked) = known.filter(|tracked| tracked.generation == end.generation) else {
            return;
        };
        let [inbound, outbound] = end.passed;
        for (direction, passed) in [(Direction::Inbound, inbound), (Direction::Outbound, outbound)]
        {
            let missing = tracked.stream(direction).missing_of(passed);
            // What is not copied any more is not missing.
            let encrypted = end.flags & FLAG_TLS != 0;
            let followed = !tracked.ignored && !tracked.watched && !encrypted;
            if missing > 0 && followed {
                self.figures.gaps += 1;
                self.figures.gap_bytes += missing;
                tracked.info.gaps = true;
                tracked.lost(direction, missing, clock.wall(end.time), &mut self.exchanges);
            }
        }
        let reset = end.flags & FLAG_RESET != 0;
        let closing = if reset { Closing::Reset } else { Closing::Orderly };
        self.close(end.connection, clock.wall(end.time), closing, sink);
    }

    /// Forgets connections that were idle for too long. Cost: one look at each connection.
    pub(crate) fn expire(&mut self, now: u64, clock: &WallClock, sink: Sink<'_>) {
        let oldest = now.saturating_sub(self.config.idle_max_nanos);
        let idle: Vec<u64> = self.older_than(oldest).collect();
        self.figures.expired += idle.len() as u64;
        for connection in idle {
            self.close_as_last_seen(connection, clock, sink);
        }
    }

    /// Closes everything: the agent stops.
    pub(crate) fn close_all(&mut self, clock: &WallClock, sink: Sink<'_>) {
        let all: Vec<u64> = self.tracked.keys().copied().collect();
        for connection in all {
            self.close_as_last_seen(connection, clock, sink);
        }
    }

    /// What happened since the last call.
    pub(crate) fn take_figures(&mut self) -> (Figures, Counts) {
        (std::mem::take(&mut self.figures), std::mem::take(&mut self.counts))
    }

    /// Makes room by closing the sixteenth part that comes first by this: what was used the longest ago, or
    /// holds the most.
    fn evict(
        &mut self,
        by: impl Fn(&Tracked) -> (u64, u64),
        clock: &WallClock,
        sink: Sink<'_>,
    ) -> u64 {
        let mut ranks: Vec<(u64, u64)> = self.tracked.values().map(&by).collect();
        let share = (ranks.len() / 16).min(ranks.len().saturating_sub(1));
        if ranks.is_empty() {
            return 0;
        }
        let (_, limit, _) = ranks.select_nth_unstable(share);
        let limit = *limit;
        let first = self.tracked.iter().filter(|(_, tracked)| by(tracked) <= limit);
        let first: Vec<u64> = first.map(|(&connection, _)| connection).take(share + 1).collect();
        let evicted = first.len() as u64;
        for connection in first {
            self.close_as_last_seen(connection, clock, sink);
        }
        evicted
    }

    fn older_than(&self, time: u64) -> impl Iterator<Item = u64> {
        let old = self.tracked.iter().filter(move |(_, tracked)| tracked.last_seen < time);
        old.map(|(&connection, _)| connection)
    }

    fn close_as_last_seen(&mut self, connection: u64, clock: &WallClock, sink: Sink<'_>) {
        let Some(tracked) = self.tracked.get(&connection) else { return };
        let time = clock.wall(tracked.last_seen);
        self.close(connection, time, Closing::Unwatched, sink);
    }

    fn close(&mut self, connection: u64, time: u64, closing: Closing, sink: Sink<'_>) {
        let Some(mut tracked) = self.tracked.remove(&connection) else { return };
        self.config.memory.change(Holder::Connections, tracked.held_bytes, 0);
        if tracked.handshake.as_ref().is_some_and(|handshake| handshake.tls().version.is_some()) {
            self.figures.tls_read += u64::from(tracked.inside_seen);
            self.figures.tls_unread += u64::from(!tracked.inside_seen);
        }
        tracked.following.close(time, closing, &mut self.exchanges);
        self.counts.add(tracked.following.take_counts());
        let Tracked { info, memo, .. } = &mut tracked;
        self.exchanges.drain(..).for_each(|exchange| sink(info, memo, exchange));
    }
}

impl Tracked {
    fn new(piece: &Piece, limits: Arc<Limits>, clock: &WallClock) -> Self {
        let from_start = piece.flags & FLAG_FROM_START != 0;
        let stream = if from_start { Stream::from_start() } else { Stream::default() };
        Self {
            generation: piece.generation,
            info: info(piece, clock),
            memo: Memo::default(),
            following: Following::new(limits, from_start),
            streams: [stream; 2],
            last_seen: piece.time,
            held_bytes: 0,
            unweighed: 0,
            unweighed_bytes: 0,
            looking: true,
            watched: false,
            ignored: false,
            handshake: None,
            inside_seen: false,
        }
    }

    /// Takes bytes of a TLS handshake, behind which nothing of this connection is copied.
    fn shake_hands(&mut self, piece: &Piece, direction: Direction, payload: &[u8]) {
        let place = self.stream(direction).place(piece);
        let handshake = self.handshake.get_or_insert_default();
        if place == Place::Next {
            handshake.feed(direction, payload);
        }
        if place != Place::Next || piece.omitted > 0 {
            handshake.finish(direction);
        }
    }

    /// What the kernel has to be told, if it does not know. `looking`: it copied the piece only to
    /// find out.
    fn verdict(&mut self, followed: Followed, looking: bool) -> Verdict {
        match followed {
            Followed::Ignored => {
                self.ignored = true;
                Verdict::Ignore
            }
            Followed::Parsing(_) if looking && self.looking => {
                (self.looking, self.watched) = (false, false);
                Verdict::Copy
            }
            Followed::Parsing(_) => {
                self.watched = false;
                Verdict::Same
            }
            Followed::Watching if !self.watched => {
                (self.looking, self.watched) = (true, true);
                Verdict::Watch
            }
            Followed::Watching | Followed::Undecided => Verdict::Same,
        }
    }

    /// Now and then, as it takes a look at each request that waits, and once more when nothing else
    /// will come of it.
    fn weigh(&mut self, bytes: usize, memory: &Memory) {
        self.unweighed_bytes = self.unweighed_bytes.saturating_add(bytes);
        let much = self.unweighed >= WEIGHED_EVERY || self.unweighed_bytes >= WEIGHED_EVERY_BYTES;
        if self.held_bytes == 0 || much || self.ignored {
            let remembered = self.memo.held_bytes();
            let held_bytes = size_of::<Self>() + self.following.held_bytes() + remembered;
            memory.change(Holder::Connections, self.held_bytes, held_bytes);
            (self.held_bytes, self.unweighed, self.unweighed_bytes) = (held_bytes, 0, 0);
        }
        self.unweighed += 1;
    }

    fn stream(&mut self, direction: Direction) -> &mut Stream {
        let [inbound, outbound] = &mut self.streams;
        match direction {
            Direction::Inbound => inbound,
            Direction::Outbound => outbound,
        }
    }

    /// Bytes are missing, but how many is known: a body goes on behind them.
    fn lost(
        &mut self,
        direction: Direction,
        missing: u64,
        time: u64,
        exchanges: &mut Vec<Exchange>,
    ) {
        let lost = Segment { direction, time, captured: &[], omitted: missing, gap_before: false };
        self.following.feed(&lost, exchanges);
    }

    /// True when another process has taken the socket over.
    fn note_owner(&mut self, owner: &Owner) -> bool {
        let same = self.info.pid == owner.pid && self.info.process_started == owner.started;
        if !same {
            self.memo = Memo::default();
            self.info.pid = owner.pid;
            self.info.process_started = owner.started;
            self.info.comm = comm(owner);
        }
        !same
    }
}

pub(super) fn direction(piece: &Piece) -> Direction {
    if piece.direction == u16::from(INBOUND) { Direction::Inbound } else { Direction::Outbound }
}

pub(super) fn info(piece: &Piece, clock: &WallClock) -> ConnectionInfo {
    let flow = &piece.flow;
    let ipv6 = piece.flags & FLAG_IPV6 != 0;
    let from_start = piece.flags & FLAG_FROM_START != 0;
    ConnectionInfo {
        cookie: piece.connection,
        netns: flow.netns,
        local: SocketAddr::new(address(flow.local_addr, ipv6), flow.local_port),
        remote: SocketAddr::new(address(flow.remote_addr, ipv6), flow.remote_port),
        transport: if piece.flags & FLAG_DATAGRAM == 0 { "tcp" } else { "udp" },
        opened: from_start.then(|| clock.wall(piece.generation)),
        sequences: sequences(piece).filter(|_| from_start),
        pid: piece.owner.pid,
        process_started: piece.owner.started,
        comm: comm(&piece.owner),
        tls: None,
        gaps: false,
    }
}

/// An IPv4 address that an IPv6 socket carries is given as what it is.
pub(crate) fn address(bytes: [u8; 16], ipv6: bool) -> IpAddr {
    let [a, b, c, d, ..] = bytes;
    if ipv6 { Ipv6Addr::from(bytes).to_canonical() } else { Ipv4Addr::new(a, b, c, d).into() }
}

pub(crate) fn comm(owner: &Owner) -> String {
    text(&owner.comm)
}

/// A text of the kernel's, up to the zero byte behind it.
pub(crate) fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
pub(crate) mod tests;
