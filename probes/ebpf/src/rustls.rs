//! What passes inside TLS in programs that are written in Rust and use rustls, which never touches a socket itself.
//!
//! Nothing here goes by what a thread did before. What was received is decrypted where it lies: so bytes that are handed on
//! are those of the connection whose socket has written to that very memory, and the head of their record stands right
//! before them. What is sent is encrypted into memory of its own, which is handed to the socket as it is: so a key belongs
//! to the connection whose socket was given a record of that key, told by its address and by eight of its encrypted bytes.
//! Such a key lies in one place until it is gone, wherever its session is moved, and counts its records from zero: one that
//! is not the next is that of another key. Invariants: bytes that could not be proven to be a connection's are counted, and
//! leave a hole where they are missing; where a message lies in memory is believed only if its lengths agree.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::ProbeContext;
use icecore_probe_events::{Counter, INBOUND, OUTBOUND};

use crate::call::{Source, Stretch, stretch};
use crate::copy::now;
use crate::hello::{is_record_of, number as word};
use crate::maps::{count, setting};
use crate::tls::{self, NONE, Session, Socket, TLS_RECEIVED};

/// Calls that encrypt and have not returned, by thread.
#[map]
static RUSTLS_SEALING: LruHashMap<u64, Sealing> = LruHashMap::with_max_entries(4096, 0);
/// What a thread has encrypted last for a connection that is not known yet.
#[map]
static RUSTLS_SEALED: LruHashMap<u64, Sealed> = LruHashMap::with_max_entries(4096, 0);
/// What a thread tells next.
#[map]
static RUSTLS_TELLING: LruHashMap<u64, Telling> = LruHashMap::with_max_entries(4096, 0);
/// Keys, by where they lie. As many as there may be sessions.
#[map]
static RUSTLS_KEYS: LruHashMap<Session, Key> = LruHashMap::with_max_entries(1024, 0);

/// The kind of a record that holds what a program has sent, among those of rustls.
const DATA: u8 = 3;
/// The same on the wire.
const DATA_RECORD: u8 = 0x17;
/// The head of a record.
const HEAD: u64 = 5;
/// The longest record, without its head.
const RECORD_BYTES_MAX: u64 = (16 << 10) + 256;
/// What a record is longer than its content at least, without its head: a tag.
const TAG: u64 = 16;
/// Where encrypted bytes stand in every record, the shortest as well.
const ENCRYPTED: u64 = 13;
/// Stretches of one record that are looked through for where it begins.
const STRETCHES_MAX: u64 = 8;
/// Records of one call to send that are looked at.
const RECORDS_MAX: u64 = 8;
/// Stretches of a record that are kept until its connection is known.
const KEPT: usize = 2;

/// A call that encrypts.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sealing {
    shape: u64,
    /// Where it puts the record.
    result: u64,
    key: u64,
    message: u64,
    /// Which record of its key it is.
    number: u64,
}

/// A key that encrypts.
#[repr(C)]
#[derive(Clone, Copy)]
struct Key {
    /// When it was seen first: another may lie there later.
    born: u64,
    socket: Socket,
    /// The number of its next record.
    next: u64,
    /// Bytes that were encrypted since and could not be told.
    missed: u64,
}

/// A record that waits for its connection.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sealed {
    shape: u64,
    key: u64,
    born: u64,
    /// Where it lies, and eight bytes of it.
    record: u64,
    encrypted: u64,
    /// The connection that it was sent on.
    socket: Socket,
    /// Bytes inside; 0: none that a program has sent.
    bytes: u64,
    /// Bytes that were missed before it.
    missed: u64,
    stretches: [Stretch; KEPT],
    /// How the first stretch began.
    begun: u64,
    /// How many of the stretches were told.
    told: u64,
}

/// Bytes that are told.
#[repr(C)]
#[derive(Clone, Copy)]
struct Telling {
    connection: u64,
    shape: u64,
    source: Source,
    bytes: u64,
}

/// A function is called that encrypts a record.
#[inline(always)]
pub fn seal(ctx: &ProbeContext) {
    let thread = bpf_get_current_pid_tgid();
    if (thread >> 32) as u32 == setting!(own_pid) {
        return;
    }
    let argument = |index| ctx.arg::<u64>(index).unwrap_or(0);
    let sealing = Sealing {
        // SAFETY: the context is the program's.
        shape: unsafe { bpf_get_attach_cookie(ctx.as_ptr()) },
        result: argument(0),
        key: argument(1),
        message: argument(2),
        number: argument(3),
    };
    // Without a place the next record is not the one that is expected, and the key begins anew.
    let _ = RUSTLS_SEALING.insert(&thread, &sealing, 0);
}

/// It returns. This and its like hold next to nothing themselves: what their functions hold and what `told` does must
/// fit into one stack, together.
#[inline(always)]
pub fn sealed() {
    let thread = bpf_get_current_pid_tgid();
    if rustls_note(thread) != 0 {
        rustls_told(thread);
    }
}

/// Notes a record. 1: its connection is known, and it is to be told.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rustls_note(thread: u64) -> u64 {
    // SAFETY: the value is copied out at once.
    let Some(sealing) = (unsafe { RUSTLS_SEALING.get(&thread) }).copied() else { return 0 };
    let _ = RUSTLS_SEALING.remove(&thread);
    let session = Session { at: sealing.key, pid: thread >> 32 };
    let Some((record, source, bytes)) = message(&sealing) else {
        unplaced();
        forget(session, sealing.shape, 1);
        return 0;
    };
    // SAFETY: the value is copied out at once.
    let mut key = match unsafe { RUSTLS_KEYS.get(&session) }.copied() {
        Some(key) if key.next == sealing.number => key,
        _ => {
            // Of a key that is not seen from its beginning, there is something before.
            let missed = u64::from(sealing.number != 0);
            forget(session, sealing.shape, missed);
            Key { born: now(), socket: NONE, next: 0, missed }
        }
    };
    key.next = sealing.number + 1;
    let known = key.socket.some() && tls::is_current(&key.socket);
    if known {
        // Records of it that another thread was not seen to send.
        rustls_missed(key.socket.connection, sealing.shape, u64::from(OUTBOUND), key.missed);
        key.missed = 0;
    } else {
        key.socket = NONE;
        keep(thread, &sealing, &mut key, (record, source, bytes));
    }
    let _ = RUSTLS_KEYS.insert(&session, &key, 0);
    if !known || bytes == 0 {
        return 0;
    }
    tell(thread, key.socket, sealing.shape, source, bytes)
}

/// Forgets a key. What was missed of it is a hole in its connection, of so many bytes at least.
#[inline(always)]
fn forget(session: Session, shape: u64, least: u64) {
    // SAFETY: the value is copied out at once.
    let Some(key) = (unsafe { RUSTLS_KEYS.get(&session) }).copied() else { return };
    let _ = RUSTLS_KEYS.remove(&session);
    if key.socket.some() && tls::is_current(&key.socket) {
        rustls_missed(key.socket.connection, shape, u64::from(OUTBOUND), key.missed.max(least));
    }
}

/// Makes ready what is told next.
#[inline(always)]
fn tell(thread: u64, socket: Socket, shape: u64, source: Source, bytes: u64) -> u64 {
    let telling = Telling { connection: socket.connection, shape, source, bytes };
    u64::from(RUSTLS_TELLING.insert(&thread, &telling, 0).is_ok())
}

/// Tells it. Apart from its callers: the verifier goes through it once.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rustls_told(thread: u64) -> u64 {
    let Some(telling) = RUSTLS_TELLING.get_ptr_mut(&thread) else { return 0 };
    // SAFETY: the value is copied out, and only this thread writes there.
    let Telling { connection, shape, source, bytes } = unsafe { *telling };
    count(Counter::Seen);
    tls::record_from(shape, source, 0, connection, bytes);
    0
}

/// Leaves a hole of so many bytes.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rustls_missed(connection: u64, shape: u64, direction: u64, bytes: u64) -> u64 {
    tls::missed(connection, shape, direction as u8, bytes);
    0
}

/// Where a call has put its record, and what was to be encrypted, 0 bytes where that is not a program's; none where lengths
/// do not agree.
#[inline(always)]
fn message(sealing: &Sealing) -> Option<(u64, Source, u64)> {
    let [_, _, record, record_len] = words::<4>(sealing.result)?;
    // Either no address, a stretch and its length; or where stretches are, how many, and from where to where of them.
    let [chunks, first, second, third, kind] = words::<5>(sealing.message)?;
    let bytes = if chunks == 0 { second } else { third.wrapping_sub(second) };
    if bytes > RECORD_BYTES_MAX || !is_record_of(record_len, bytes) {
        return None;
    }
    if kind as u8 != DATA {
        return Some((record, source(0, 0, 0, 0), 0));
    }
    if chunks == 0 {
        return Some((record, source(first, bytes, 0, 0), bytes));
    }
    Some((record, skipped(chunks, first, second), bytes))
}

/// What begins so far behind the beginning of stretches; nowhere, where too many of them come before.
#[inline(always)]
fn skipped(chunks: u64, count: u64, mut skip: u64) -> Source {
    let mut index = 0;
    while index < STRETCHES_MAX {
        if index >= count {
            break;
        }
        let at = chunks + index * 16;
        index += 1;
        let Some(one) = stretch(at, 8) else { break };
        if skip < one.len {
            return source(one.at + skip, one.len - skip, at + 16, count - index);
        }
        skip -= one.len;
    }
    source(0, 0, 0, 0)
}

#[inline(always)]
fn source(at: u64, len: u64, vector: u64, vector_len: u64) -> Source {
    Source { at, len, vector, vector_len, width: 8 }
}

/// Keeps a record until it is sent. One of the same key that waits already goes before; one of another is lost.
#[inline(always)]
fn keep(
    thread: u64,
    sealing: &Sealing,
    key: &mut Key,
    (record, source, bytes): (u64, Source, u64),
) {
    if let Some(before) = RUSTLS_SEALED.get_ptr_mut(&thread) {
        // SAFETY: the pointer is valid while the program runs, and only this thread writes here.
        let before = unsafe { &*before };
        if before.born != key.born {
            lost(thread, before);
        } else if before.bytes == 0 {
            key.missed += before.missed;
        } else {
            if bytes != 0 {
                key.missed += bytes;
                unplaced();
            }
            return;
        }
    }
    let second = if source.vector_len == 0 { None } else { stretch(source.vector, 8) };
    let sealed = Sealed {
        shape: sealing.shape,
        key: sealing.key,
        born: key.born,
        record,
        encrypted: word(record + ENCRYPTED),
        socket: NONE,
        bytes,
        missed: key.missed,
        stretches: [
            Stretch { at: source.at, len: source.len.min(bytes) },
            second.unwrap_or(Stretch { at: 0, len: 0 }),
        ],
        begun: word(source.at),
        told: 0,
    };
    key.missed = 0;
    let _ = RUSTLS_SEALED.insert(&thread, &sealed, 0);
}

/// A record was not seen to be sent.
#[inline(always)]
fn lost(thread: u64, sealed: &Sealed) {
    if sealed.bytes != 0 {
        unplaced();
    }
    if let Some(key) = key_of(thread, sealed) {
        key.missed += sealed.bytes + sealed.missed;
    }
}

/// The key of a record, if it is still there.
#[inline(always)]
fn key_of<'a>(thread: u64, sealed: &Sealed) -> Option<&'a mut Key> {
    let key = RUSTLS_KEYS.get_ptr_mut(&Session { at: sealed.key, pid: thread >> 32 })?;
    // SAFETY: the pointer is valid while the program runs.
    let key = unsafe { &mut *key };
    if key.born == sealed.born { Some(key) } else { None }
}

/// A thread has handed memory to the socket of a connection with TLS: if its record is among it, they belong together. Apart
/// from its callers, which the verifier goes through for each hook.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rustls_passed(
    connection: u64,
    generation: u64,
    at: u64,
    vector: u64,
    vector_len: u64,
) -> u64 {
    let thread = bpf_get_current_pid_tgid();
    let Some(sealed) = RUSTLS_SEALED.get_ptr_mut(&thread) else { return 0 };
    // SAFETY: the pointer is valid while the program runs, and only this thread writes here.
    let sealed = unsafe { &mut *sealed };
    let mut found = at == sealed.record;
    let mut index = 0;
    while index < RECORDS_MAX {
        if index >= vector_len || found {
            break;
        }
        let Some(one) = stretch(vector + index * 16, 8) else { break };
        found = one.at == sealed.record;
        index += 1;
    }
    if found && word(sealed.record + ENCRYPTED) == sealed.encrypted {
        sealed.socket = Socket { connection, generation };
    }
    0
}

/// A function returns that hands records to a socket.
#[inline(always)]
pub fn sent() {
    let thread = bpf_get_current_pid_tgid();
    let mut index = 0;
    while index < KEPT && rustls_next(thread) != 0 {
        rustls_told(thread);
        index += 1;
    }
    // Only what is over is left to be done.
    rustls_next(thread);
}

/// Goes on with what a thread has sent. 1: there is something to be told.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rustls_next(thread: u64) -> u64 {
    let Some(sealed) = RUSTLS_SEALED.get_ptr_mut(&thread) else { return 0 };
    // SAFETY: the pointer is valid while the program runs, and only this thread writes here.
    let sealed = unsafe { &mut *sealed };
    let (socket, shape) = (sealed.socket, sealed.shape);
    if !socket.some() {
        lost(thread, sealed);
        let _ = RUSTLS_SEALED.remove(&thread);
        return 0;
    }
    if sealed.told == 0 {
        rustls_missed(socket.connection, shape, u64::from(OUTBOUND), sealed.missed);
        // Whoever wrote it may have put something else there meanwhile.
        if word(sealed.stretches[0].at) != sealed.begun {
            sealed.stretches = [Stretch { at: 0, len: 0 }; KEPT];
        }
    }
    let [first, second] = sealed.stretches;
    let Stretch { at, len } = if sealed.told == 0 { first } else { second };
    let len = len.min(sealed.bytes);
    if len != 0 && sealed.told < KEPT as u64 {
        sealed.told += 1;
        sealed.bytes -= len;
        return tell(thread, socket, shape, source(at, len, 0, 0), len);
    }
    let mut left = sealed.bytes;
    if left != 0 {
        unplaced();
    }
    if let Some(key) = key_of(thread, sealed) {
        key.socket = socket;
        left += key.missed;
        key.missed = 0;
    }
    let _ = RUSTLS_SEALED.remove(&thread);
    rustls_missed(socket.connection, shape, u64::from(OUTBOUND), left);
    0
}

/// Decrypted bytes are handed on.
#[inline(always)]
pub fn opened(ctx: &ProbeContext) {
    let thread = bpf_get_current_pid_tgid();
    if (thread >> 32) as u32 == setting!(own_pid) {
        return;
    }
    // SAFETY: the context is the program's.
    let shape = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    if rustls_open(thread, shape, ctx.arg(1).unwrap_or(0)) != 0 {
        rustls_told(thread);
    }
}

/// Looks whose the bytes are that are described there. 1: they are to be told.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rustls_open(thread: u64, shape: u64, described: u64) -> u64 {
    let Some([_, at, len]) = words::<3>(described) else { return 0 };
    if len == 0 {
        return 0;
    }
    let receipt = TLS_RECEIVED.get_ptr_mut(&thread).filter(|_| len <= RECORD_BYTES_MAX);
    let Some(receipt) = receipt else {
        unplaced();
        return 0;
    };
    // SAFETY: the pointer is valid while the program runs, and only this thread writes here.
    let receipt = unsafe { &mut *receipt };
    let socket = receipt.socket;
    if !tls::is_current(&socket) {
        unplaced();
        return 0;
    }
    let (begin, end) = (at - HEAD, end_of_record(at, len));
    // Its end was received just now; and its beginning as well, or before, to the same memory. The last bytes there are
    // encrypted, or a tag: nobody has written to them since.
    let within = receipt.at != 0 && receipt.at < end && end <= receipt.at + receipt.bytes;
    if !within || tls::last_bytes(receipt.at, receipt.bytes) != receipt.last {
        unplaced();
        // A record that lies elsewhere is another connection's.
        let apart = at + len + TAG <= receipt.at || receipt.at + receipt.bytes <= begin;
        if receipt.at == 0 || !apart {
            rustls_missed(socket.connection, shape, u64::from(INBOUND), len);
        }
        return 0;
    }
    if begin < receipt.at {
        // From here on, all that was received lies in this memory.
        receipt.bytes += receipt.at - begin;
        receipt.at = begin;
    }
    tell(thread, socket, shape, source(at, len, 0, 0), len)
}

/// Where the record ends in which these bytes are, whose head stands before them; 0: none does.
#[inline(always)]
fn end_of_record(at: u64, len: u64) -> u64 {
    // SAFETY: the helper checks the address.
    let head = unsafe { bpf_probe_read_user((at - HEAD) as *const [u8; 5]) }.unwrap_or([0; 5]);
    let [kind, major, _, high, low] = head;
    let record = u64::from(high) << 8 | u64::from(low);
    if kind == DATA_RECORD && major == 3 && record >= len + TAG { at + record } else { 0 }
}

/// Bytes of which nobody knows on which connection they pass.
#[inline(always)]
fn unplaced() {
    count(Counter::Seen);
    count(Counter::Unplaced);
}

#[inline(always)]
fn words<const N: usize>(at: u64) -> Option<[u64; N]> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(at as *const [u64; N]) }.ok()
}
