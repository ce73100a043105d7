//! What processes and their peers tell each other by UDP.
//!
//! Invariant: what the kernel programs have counted is added to the metrics once: to its process and peer, or to what
//! has no series of its own.

use std::net::IpAddr;

use icecore_probe_events::Talk;

use super::Network;
use super::pairs::Pair;
use super::peer::Peer;
use super::series::Moved;
use crate::attach::Chat;
use crate::clock::{WallClock, monotonic};
use crate::connection::address;
use crate::pipeline::Pipeline;

impl Network {
    /// Datagrams have passed.
    pub(super) fn talked(&mut self, chats: &[Chat], clock: &WallClock, pipeline: &mut Pipeline) {
        let now = clock.wall(monotonic());
        for Chat { talk, moved, comm } in chats {
            let [sent, received, segments_sent, segments_received] = *moved;
            let moved = Moved { sent, received, segments_sent, segments_received, retransmits: 0 };
            if *talk == Talk::ELSEWHERE {
                self.metrics.datagrams_uncounted(segments_sent + segments_received);
                self.peers.of_nobody(now).moved(&moved);
                continue;
            }
            let who = pipeline.who(talk.pid, talk.started, comm);
            let (local, remote) = ends(talk);
            let there = pipeline.pod_at(remote);
            let meant = is_meant(&moved, remote);
            let pair = Pair::by_datagrams((local, remote), who.pod.as_deref(), there.as_deref());
            match pair {
                Some(pair) if meant => self.pairs.add(pair, &moved, now),
                Some(pair) => self.pairs.add_stranger(pair, &moved, now),
                None => {}
            }
            let peer = Peer {
                client: talk.client != 0,
                datagrams: true,
                address: remote,
                port: talk.port,
                name: self.names.name(talk.netns, remote).map(str::to_owned),
                whose: pipeline.peer(remote),
            };
            let series = if meant {
                self.peers.of(&who, &peer, now)
            } else {
                self.peers.of_stranger(&who, &peer, now)
            };
            series.moved(&moved);
        }
    }
}

/// Anybody may write a sender and a port into a datagram: only who is answered, or asked, was meant. Unknown senders
/// are all one.
fn is_meant(moved: &Moved, remote: IpAddr) -> bool {
    moved.segments_sent > 0 || remote.is_unspecified()
}

/// The owner's address and the other end's.
fn ends(talk: &Talk) -> (IpAddr, IpAddr) {
    let of = |bytes| address(bytes, talk.version == 6).to_canonical();
    (of(talk.local_addr), of(talk.remote_addr))
}
