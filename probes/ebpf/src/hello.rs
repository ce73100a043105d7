//! Ties sessions to connections by the random number with which a client begins its handshake.
//!
//! A program that moves the encrypted bytes by itself may receive them in one thread and have them decrypted in another,
//! as gRPC does it: there, what a thread did before tells nothing. But the number stands in clear text in the first message
//! of each connection, and in the memory of the session at both ends. Invariants: two connections of a process with the
//! same number, one way, have no session; a session that holds the number of both ways, has none either.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use icecore_probe_events::{Connection, INBOUND, OUTBOUND, shape};

use crate::maps::setting;
use crate::tls::{NONE, Receipt, Session, Socket, is_current};

/// Connections that have begun with a number. As many as there may be sessions.
#[map]
static TLS_HELLOS: LruHashMap<Hello, Socket> = LruHashMap::with_max_entries(1024, 0);

/// Connections whose last record would fit a session. As many as there may be sessions.
#[map]
static TLS_FITTING: LruHashMap<Session, Socket> = LruHashMap::with_max_entries(1024, 0);

/// What a record is longer than what is inside: by TLS 1.3, and by 1.2 with AES-GCM and with ChaCha20.
const RECORD_MORE: [u64; 3] = [22, 29, 21];

/// A record of this length may hold so many bytes of content.
#[inline(always)]
pub fn is_record_of(record: u64, content: u64) -> bool {
    let more = record.wrapping_sub(content);
    let [first, second, third] = RECORD_MORE;
    more == first || more == second || more == third
}

/// Where the number stands in the record: behind the heads of record and message, and a version.
const RANDOM_AT: u64 = 11;
/// Half a number tells as well; the first may be a time.
const SECOND_HALF: u64 = 16;
/// Where the way begins in what says process and way.
const WAY: u32 = 32;

/// How a connection has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Hello {
    random: u64,
    /// The process, and above it the way that the message went.
    process: u64,
}

impl Hello {
    #[inline(always)]
    fn new(pid: u64, direction: u8, random: u64) -> Self {
        Self { random, process: pid | u64::from(direction) << WAY }
    }
}

/// The first message of a client passes, which is at `at`.
#[inline(always)]
pub fn passed(id: u64, connection: &Connection, at: u64, direction: u8) {
    if setting!(tls) == 0 {
        return;
    }
    let random = number(at + RANDOM_AT + SECOND_HALF);
    if random == 0 {
        return;
    }
    let hello = Hello::new(bpf_get_current_pid_tgid() >> 32, direction, random);
    let socket = Socket { connection: id, generation: connection.generation };
    // SAFETY: the value is copied out at once.
    let before = unsafe { TLS_HELLOS.get(&hello) }.copied().unwrap_or(NONE);
    let other = before.some() && is_current(&before);
    let _ = TLS_HELLOS.insert(&hello, if other { &NONE } else { &socket }, 0);
}

/// The number that a session holds; 0 for one of a library of which it is not known where.
#[inline(always)]
pub fn random(session: u64, shape: u64) -> u64 {
    if shape & shape::BY_RANDOM == 0 {
        return 0;
    }
    let state = number(session + (shape >> shape::STATE_SHIFT & shape::STATE));
    number(state + (shape >> shape::RANDOM_SHIFT & shape::RANDOM) + SECOND_HALF)
}

/// The connection of this process that has begun with a number.
#[inline(always)]
pub fn connection(pid: u64, random: u64) -> Socket {
    if random == 0 {
        return NONE;
    }
    let received = begun(Hello::new(pid, INBOUND, random));
    let sent = begun(Hello::new(pid, OUTBOUND, random));
    match (received.some(), sent.some()) {
        (true, false) => received,
        (false, true) => sent,
        _ => NONE,
    }
}

/// The connection of a session whose beginning was not seen: twice, and of no other in between, what its thread had
/// received last was as long as a record of what the session has read then.
#[inline(always)]
pub fn fitting(session: u64, received: &Receipt, moved: u64) -> Socket {
    let fits = moved != 0 && is_record_of(received.bytes, moved);
    if !received.socket.some() || !fits {
        return NONE;
    }
    let session = Session { at: session, pid: bpf_get_current_pid_tgid() >> 32 };
    // SAFETY: the value is copied out at once.
    let before = unsafe { TLS_FITTING.get(&session) }.copied().unwrap_or(NONE);
    let socket = received.socket;
    if before.connection == socket.connection && before.generation == socket.generation {
        return socket;
    }
    let _ = TLS_FITTING.insert(&session, &socket, 0);
    NONE
}

#[inline(always)]
fn begun(hello: Hello) -> Socket {
    // SAFETY: the value is copied out at once.
    let found = unsafe { TLS_HELLOS.get(&hello) }.copied().unwrap_or(NONE);
    if found.some() && is_current(&found) { found } else { NONE }
}

/// What stands in the memory of the caller; 0 where nothing can be read.
#[inline(always)]
pub fn number(at: u64) -> u64 {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(at as *const u64) }.unwrap_or(0)
}
