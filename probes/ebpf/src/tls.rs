//! What passes inside TLS, seen where a program hands it to the library that encrypts.
//!
//! A call into a library says its session and its bytes, but not its connection. That is learnt from
//! the socket which the library uses while the call lasts; or, where the program itself moves the
//! encrypted bytes, from the TLS socket that the thread has received from right before. Invariants:
//! a session that could not be tied to a living connection is counted and never guessed at; however
//! often a library is hooked, a call is recorded once, since the first to see its end takes it away.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use icecore_probe_events::{
    Connection, Counter, FLAG_FROM_START, FLAG_IPV6, FLAG_PLAIN, INBOUND, OUTBOUND, PLAIN,
    VERDICT_TLS, VERDICT_UNDECIDED, shape,
};

use crate::call::Source;
use crate::copy::{self, Moved, now};
use crate::maps::{CONNECTIONS, count, give_scratch, setting, take_scratch};
use crate::{go, hello, look, rustls};

/// Of an insertion: only where nothing is.
const BPF_NOEXIST: u64 = 1;

/// Calls into TLS libraries that have not returned, by thread.
#[map]
static TLS_CALLS: LruHashMap<u64, TlsCall> = LruHashMap::with_max_entries(4096, 0);
/// The connection of each session.
#[map]
pub static TLS_SESSIONS: LruHashMap<Session, Socket> = LruHashMap::with_max_entries(1024, 0);
/// From which TLS socket a thread has received, while no session was found for it.
#[map]
pub static TLS_RECEIVED: LruHashMap<u64, Receipt> = LruHashMap::with_max_entries(4096, 0);
/// Since when all functions of a library are hooked, monotonic clock; 0: not yet. Written by user
/// space, which also sets the size.
#[map]
static TLS_READY: Array<u64> = Array::with_max_entries(64, 0);
/// 1: what is read has come to its end, and the probes are about to be taken off. Written by user space.
#[map]
static TLS_OFF: Array<u32> = Array::with_max_entries(1, 0);
/// Where an address becomes a number, see `number_of`.
#[map]
static TLS_NUMBER: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// `PR_MSG_PEEK`
const PEEK: u64 = 2;

/// A call that has not returned.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsCall {
    /// As the hook was told, see `icecore_probe_events::shape`.
    pub shape: u64,
    pub session: u64,
    /// Where the bytes are, or will be.
    pub at: u64,
    /// Where the call will write how many there are; 0: it returns it.
    pub count_at: u64,
    /// The connection whose socket was used meanwhile; 0: none.
    pub connection: u64,
    /// When that socket sent first; 0: it has not.
    pub sent: u64,
}

/// A session of a library: where it lies, and in which process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Session {
    pub at: u64,
    pub pid: u64,
}

/// A connection, as it stands in the table. The verifier wants every field to have a value, so that none
/// at all is one as well.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Socket {
    pub connection: u64,
    pub generation: u64,
}

/// What a thread has received last of TLS.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Receipt {
    pub socket: Socket,
    /// To where; 0: to several places, or none that is known.
    pub at: u64,
    pub bytes: u64,
    /// The last six of them.
    pub last: u64,
}

/// No connection.
pub const NONE: Socket = Socket { connection: 0, generation: 0 };
/// Nothing received.
const NOTHING: Receipt = Receipt { socket: NONE, at: 0, bytes: 0, last: 0 };

impl Socket {
    #[inline(always)]
    pub fn some(&self) -> bool {
        self.connection != 0
    }
}

/// Nothing is to be recorded any more.
#[inline(always)]
pub fn off() -> bool {
    TLS_OFF.get(0).is_some_and(|off| *off != 0)
}

/// A function of a library is called.
#[inline(always)]
pub fn enter(ctx: &ProbeContext) {
    let thread = bpf_get_current_pid_tgid();
    if (thread >> 32) as u32 == setting!(own_pid) {
        return;
    }
    // SAFETY: the context is the program's.
    let shape = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let Some(session) = ctx.arg::<u64>(0) else { return };
    if shape & shape::KIND == shape::FORGET {
        let _ = TLS_SESSIONS.remove(&Session { at: session, pid: thread >> 32 });
        return;
    }
    if shape & shape::MAY_PEEK != 0 && ctx.arg::<u64>(3).unwrap_or(0) & PEEK != 0 {
        return;
    }
    let apart = shape & shape::COUNT_APART != 0;
    let call = TlsCall {
        shape,
        session,
        at: ctx.arg(1).unwrap_or(0),
        count_at: if apart { ctx.arg(3).unwrap_or(0) } else { 0 },
        connection: 0,
        sent: 0,
    };
    // Without a place the call is not seen to return, and its bytes show as a hole.
    let _ = TLS_CALLS.insert(&thread, &call, 0);
}

/// A function of a library has returned.
#[inline(always)]
pub fn leave(ctx: &RetProbeContext) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the value is copied out at once.
    let Some(mut call) = (unsafe { TLS_CALLS.get(&thread) }).copied() else { return };
    let _ = TLS_CALLS.remove(&thread);
    let random = hello::random(call.session, call.shape);
    call.session ^= random;
    if call.shape & shape::TLS_OR_NOT != 0 && is_tls(call.connection, call.session) == 0 {
        return;
    }
    let moved = moved(&call, ctx.ret());
    let socket = socket(thread, &call, random, moved);
    if moved == 0 || call.shape & shape::KIND == shape::TOUCH {
        return;
    }
    count(Counter::Seen);
    if !socket.some() {
        return count(Counter::Unplaced);
    }
    record(&call, socket, moved);
}

/// How many bytes of the caller a call has moved.
#[inline(always)]
fn moved(call: &TlsCall, result: i32) -> u64 {
    if result <= 0 {
        return 0;
    }
    if call.count_at == 0 {
        return result as u64;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(call.count_at as *const u64) }.unwrap_or(0)
}

/// The connection whose socket was used while a call lasted, which its session keeps; or else the one
/// that the session has kept.
#[inline(always)]
pub fn used_or_known(pid: u64, call: &TlsCall) -> Socket {
    let session = Session { at: call.session, pid };
    // SAFETY: the value is copied out at once.
    let known = unsafe { TLS_SESSIONS.get(&session) }.copied().unwrap_or(NONE);
    if call.connection == 0 {
        return if known.some() && is_current(&known) { known } else { NONE };
    }
    let used = current(call.connection);
    let same = known.connection == used.connection && known.generation == used.generation;
    if used.some() && !same {
        let _ = TLS_SESSIONS.insert(&session, &used, 0);
    }
    used
}

/// The connection of the session of a call that has moved so many bytes; `random` is the number of one that is
/// known by it.
#[inline(always)]
fn socket(thread: u64, call: &TlsCall, random: u64, moved: u64) -> Socket {
    let pid = thread >> 32;
    let found = used_or_known(pid, call);
    if found.some() || call.connection != 0 {
        return found;
    }
    let found = if call.shape & shape::BY_RANDOM != 0 {
        let begun = hello::connection(pid, random);
        let reads = random != 0 && moved != 0 && call.shape & shape::KIND == shape::READ;
        if begun.some() || !reads {
            begun
        } else {
            hello::fitting(call.session, &received(thread), moved)
        }
    } else {
        received(thread).socket
    };
    if found.some() {
        let session = Session { at: call.session, pid };
        let _ = TLS_SESSIONS.insert(&session, &found, 0);
    }
    found
}

/// What a thread has received, which is taken.
#[inline(always)]
fn received(thread: u64) -> Receipt {
    // SAFETY: the value is copied out at once.
    let received = unsafe { TLS_RECEIVED.get(&thread) }.copied().unwrap_or(NOTHING);
    if received.socket.some() {
        let _ = TLS_RECEIVED.remove(&thread);
    }
    if received.socket.some() && is_current(&received.socket) { received } else { NOTHING }
}

/// 1: a call that may as well move a file, or clear text, is one of TLS: that was seen on the socket which
/// the call has used, or else (0: it has used none) an earlier call of its session. Apart from its caller, of
/// whose variables the compiler would leave some unset.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_tls(connection: u64, session: u64) -> u64 {
    // SAFETY: fields are read at once, and the value is copied out.
    let is = unsafe {
        if connection != 0 {
            CONNECTIONS.get(&connection).is_some_and(|outer| outer.verdict == VERDICT_TLS)
        } else {
            let session = Session { at: session, pid: bpf_get_current_pid_tgid() >> 32 };
            TLS_SESSIONS.get(&session).copied().is_some_and(|known| is_current(&known))
        }
    };
    u64::from(is)
}

/// A connection as it stands in the table now.
#[inline(always)]
pub fn current(connection: u64) -> Socket {
    // SAFETY: one field is read at once.
    match unsafe { CONNECTIONS.get(&connection) } {
        Some(found) => Socket { connection, generation: found.generation },
        None => NONE,
    }
}

#[inline(always)]
pub fn is_current(socket: &Socket) -> bool {
    let current = current(socket.connection);
    current.some() && current.generation == socket.generation
}

/// A call has moved bytes inside a connection.
#[inline(always)]
pub fn record(call: &TlsCall, socket: Socket, bytes: u64) {
    let source = Source { at: call.at, len: bytes, vector: 0, vector_len: 0, width: 8 };
    record_from(call.shape, source, call.sent, socket.connection, bytes);
}

/// Bytes have passed inside a connection, at this time (0: now) if they were sent.
#[inline(always)]
pub fn record_from(shape: u64, source: Source, sent: u64, connection: u64, bytes: u64) {
    let Some(outer) = CONNECTIONS.get_ptr_mut(&connection) else {
        return count(Counter::Unplaced);
    };
    // SAFETY: the pointer is valid while the program runs.
    let outer = unsafe { &mut *outer };
    if outer.verdict != VERDICT_TLS {
        look::encrypted(outer, u32::MAX);
    }
    let id = connection ^ PLAIN;
    let Some(inner) = inner(id, outer, shape) else { return count(Counter::Untracked) };
    // SAFETY: the pointer is valid while the program runs.
    let inner = unsafe { &mut *inner };
    let outbound = shape & shape::KIND == shape::WRITE;
    let direction = if outbound { OUTBOUND } else { INBOUND };
    let Some(scratch) = take_scratch() else {
        inner.passed[usize::from(direction & 1)] += bytes;
        return count(Counter::CallsRefused);
    };
    let time = if outbound && sent != 0 { sent } else { now() };
    copy::moved(id, inner, Moved { direction, source, bytes, time, scratch, flags: 0 });
    give_scratch(scratch);
}

/// So many bytes have passed inside a connection that cannot be told: they show as a hole.
#[inline(always)]
pub fn missed(connection: u64, shape: u64, direction: u8, bytes: u64) {
    if bytes == 0 {
        return;
    }
    let Some(outer) = CONNECTIONS.get_ptr_mut(&connection) else { return };
    // SAFETY: the pointer is valid while the program runs.
    let outer = unsafe { &*outer };
    if let Some(inner) = inner(connection ^ PLAIN, outer, shape) {
        // SAFETY: as above.
        unsafe { (*inner).passed[usize::from(direction & 1)] += bytes };
    }
}

/// Since when all functions of a library are hooked; 0: not yet.
#[inline(always)]
pub fn ready(shape: u64) -> u64 {
    TLS_READY.get((shape >> shape::LIBRARY_SHIFT) as u32).copied().unwrap_or(0)
}

/// The table's entry for the inside of a connection; made if there is none.
#[inline(always)]
fn inner(id: u64, outer: &Connection, shape: u64) -> Option<*mut Connection> {
    if let Some(found) = CONNECTIONS.get_ptr_mut(&id) {
        return Some(found);
    }
    let ready = ready(shape);
    let kept = if ready != 0 && ready < outer.generation {
        FLAG_FROM_START | FLAG_IPV6
    } else {
        FLAG_IPV6
    };
    let connection = Connection {
        generation: outer.generation,
        passed: [0; 2],
        owner: outer.owner,
        flow: outer.flow,
        verdict: VERDICT_UNDECIDED,
        flags: outer.flags & kept | FLAG_PLAIN,
        looked: 0,
        reserved: 0,
        sequences: outer.sequences,
    };
    // Another thread may have been faster with the other direction.
    let _ = CONNECTIONS.insert(&id, &connection, BPF_NOEXIST);
    CONNECTIONS.get_ptr_mut(&id)
}

/// Bytes have passed on a socket: if its thread is in a call into a library, they are of its session.
#[inline(always)]
pub fn passed(id: u64, connection: &Connection, source: &Source, direction: u8, bytes: u64) {
    if setting!(tls) == 0 || connection.flags & FLAG_PLAIN != 0 {
        return;
    }
    let thread = bpf_get_current_pid_tgid();
    if let Some(call) = TLS_CALLS.get_ptr_mut(&thread) {
        // SAFETY: the pointer is valid while the program runs, and only this thread writes here.
        return used(unsafe { &mut *call }, id, direction == OUTBOUND);
    }
    let socket = Socket { connection: id, generation: connection.generation };
    go::passed(thread >> 32, socket, direction == OUTBOUND);
    if connection.verdict != VERDICT_TLS {
        return;
    }
    if direction == OUTBOUND {
        let Source { at, vector, vector_len, .. } = *source;
        rustls::rustls_passed(id, connection.generation, at, vector, vector_len);
    } else {
        let (at, last) = (source.at, last_bytes(source.at, bytes));
        let _ = TLS_RECEIVED.insert(&thread, &Receipt { socket, at, bytes, last }, 0);
    }
}

/// The last six of so many bytes; 0 where they cannot be read. Whoever moves records forward in a buffer, as rustls does
/// with what is left there, leaves these where they are: no record is shorter.
#[inline(always)]
pub fn last_bytes(at: u64, bytes: u64) -> u64 {
    if at == 0 { 0 } else { hello::number(at + bytes - 8) >> 16 }
}

/// A call has used a socket.
#[inline(always)]
pub fn used(call: &mut TlsCall, connection: u64, sends: bool) {
    call.connection = connection;
    if sends && call.sent == 0 {
        call.sent = now();
    }
}

/// The identity of a socket as a number like any other. The verifier lets nobody reckon with what it
/// knows to be an address, and forgets that of what was in a map.
#[inline(always)]
pub fn number_of(id: u64) -> Option<u64> {
    let place = TLS_NUMBER.get_ptr_mut(0)?;
    // SAFETY: the entry belongs to this CPU. What interrupts here ends a socket as well: at worst that
    // one is ended twice, and this one when it has been idle for long.
    unsafe {
        place.write_volatile(id);
        Some(place.read_volatile())
    }
}
