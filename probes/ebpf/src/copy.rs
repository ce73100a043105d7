//! Copies what a call moved into the data ring.
//!
//! Invariant: the pieces of a call cover exactly the bytes that it moved: what is not copied is
//! `omitted` in the last one.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_loop, bpf_probe_read_user, generated};
use icecore_probe_events::{
    Connection, Counter, FLAG_LOOKING, PIECE_BYTES_MAX, Piece, VERDICT_COPY, VERDICT_IGNORE,
    VERDICT_TLS,
};

use crate::call::{Source, stretch};
use crate::connect::note_owner;
use crate::maps::{DATA, Record, SCRATCH, Walk, count, setting};
use crate::{goroutine, look, tls};

/// Do not wake the agent: it looks by itself every few milliseconds.
pub const NO_WAKEUP: u64 = 1;
/// Wake the agent at once.
pub const FORCE_WAKEUP: u64 = 2;
/// Asks a ring for the bytes that wait in it.
pub const AVAILABLE: u64 = 0;

/// Stretches and pieces that are walked in one call; a call with more has the rest counted only.
const STEPS_MAX: u32 = 2048;
/// Bytes of a connection without a verdict that wake the agent, which else looks every few milliseconds: at a hundred megabytes a
/// second that is longer than what may be copied of one takes.
const LOOKED_WAKES: u64 = 16 << 10;
const PIECE: u64 = PIECE_BYTES_MAX as u64;

/// What a call has moved.
pub struct Moved {
    pub direction: u8,
    pub source: Source,
    pub bytes: u64,
    /// When; 0: now.
    pub time: u64,
    /// The scratch record that is the caller's.
    pub scratch: u32,
    /// `FLAG_…` of its pieces, beside those of the connection.
    pub flags: u32,
}

/// Bytes passed on a connection.
#[inline(always)]
pub fn moved(id: u64, connection: &mut Connection, moved: Moved) {
    let Moved { direction, source, bytes, time, scratch, flags } = moved;
    let way = usize::from(direction & 1);
    let position = connection.passed[way];
    connection.passed[way] = position + bytes;
    let mut wanted = bytes.min(u64::from(setting!(call_bytes_max)));
    let call_flags = flags;
    let mut flags = connection.flags | call_flags;
    if connection.verdict != VERDICT_COPY || look::is_early(connection, bytes) {
        let looked = look::at(id, connection, source, bytes, direction);
        // Who talks in clear text within a call of a library does not do it for its session.
        if connection.verdict != VERDICT_COPY {
            tls::passed(id, connection, &source, direction, bytes);
        }
        if looked == 0 {
            return count(left_out(connection.verdict, &source));
        }
        if connection.verdict != VERDICT_COPY {
            wanted = wanted.min(looked);
            // What was found just now is told of these bytes, too.
            flags = connection.flags | call_flags | FLAG_LOOKING;
        }
    }
    note_owner(connection);
    let Some(record) = SCRATCH.get_ptr_mut(scratch) else { return count(Counter::Untracked) };
    // SAFETY: the scratch record is the caller's while the program runs.
    let record = unsafe { &mut *record };
    record.piece = Piece {
        connection: id,
        generation: connection.generation,
        time: if time == 0 { now() } else { time },
        position,
        position_other: connection.passed[way ^ 1],
        omitted: 0,
        owner: connection.owner,
        flow: connection.flow,
        sequences: connection.sequences,
        captured: 0,
        direction: u16::from(direction),
        flags,
    };
    goroutine::goroutine_named(scratch);
    record.walk = Walk { source, left: wanted, uncovered: bytes, filled: 0, refused: 0 };
    walk(record, scratch);
    if record.walk.refused == 0 {
        count(Counter::CallsSubmitted);
    } else {
        count(Counter::CallsRefused);
    }
}

/// Why nothing of a call is copied.
#[inline(always)]
fn left_out(verdict: u32, source: &Source) -> Counter {
    match verdict {
        VERDICT_IGNORE => Counter::Ignored,
        VERDICT_TLS => Counter::Encrypted,
        _ if source.is_nowhere() => Counter::Unnamed,
        _ => Counter::Undecided,
    }
}

/// The monotonic clock.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: always allowed.
    unsafe { bpf_ktime_get_ns() }
}

/// Copies what the call has moved and submits pieces.
#[inline(always)]
fn walk(record: &mut Record, scratch: u32) {
    let (left, len) = (current(&record.walk.left), current(&record.walk.source.len));
    if left <= PIECE && len >= left {
        // In one stretch, and in one piece, as most calls are.
        if read(record, 0, current(&record.walk.source.at), left) {
            record.walk.filled = left;
        } else {
            count(Counter::Unread);
        }
    } else {
        step_by_step(scratch);
    }
    let filled = current(&record.walk.filled);
    let uncovered = current(&record.walk.uncovered);
    if filled > 0 || uncovered > 0 {
        record.piece.omitted = uncovered - filled;
        output(record, filled);
    }
}

/// Walks the memory. The verifier follows one step of the loop, however many there are, since the state of the walk
/// lies in a map and not in variables.
#[inline(always)]
fn step_by_step(scratch: u32) {
    let step: extern "C" fn(u32, *mut c_void) -> i64 = step;
    let mut context = scratch;
    let pointer = ptr::from_mut(&mut context).cast();
    // SAFETY: `step` has the shape that the helper calls, and its context outlives the loop.
    let steps = unsafe { bpf_loop(STEPS_MAX, step as *mut c_void, pointer, 0) };
    if steps >= i64::from(STEPS_MAX) {
        count(Counter::Cut);
    }
}

/// What the helper calls: 0 goes on, 1 ends the loop.
extern "C" fn step(_index: u32, context: *mut c_void) -> i64 {
    // SAFETY: the context is the index that `walk` has put there.
    let scratch = unsafe { *context.cast::<u32>() };
    let Some(record) = SCRATCH.get_ptr_mut(scratch) else { return 1 };
    // SAFETY: the scratch record is the caller's while the program runs.
    i64::from(!advance(unsafe { &mut *record }))
}

/// One step: takes up the next stretch, or copies from the current one. False at the end.
#[inline(always)]
fn advance(record: &mut Record) -> bool {
    let left = current(&record.walk.left);
    let len = current(&record.walk.source.len);
    if left == 0 {
        return false;
    }
    if len == 0 {
        return next_stretch(&mut record.walk.source);
    }
    let at = current(&record.walk.source.at);
    let filled = current(&record.walk.filled);
    let wanted = len.min(left).min(PIECE - filled);
    if !read(record, filled, at, wanted) {
        count(Counter::Unread);
        return false;
    }
    record.walk.source.at = at + wanted;
    record.walk.source.len = len - wanted;
    record.walk.left = left - wanted;
    record.walk.filled = filled + wanted;
    if filled + wanted >= PIECE {
        output(record, filled + wanted);
        if left > wanted && DATA.query(AVAILABLE) >= u64::from(setting!(crowded_bytes)) {
            count(Counter::Cut);
            record.walk.left = 0;
        }
    }
    true
}

#[inline(always)]
fn next_stretch(source: &mut Source) -> bool {
    let (vector, vector_len) = (current(&source.vector), current(&source.vector_len));
    if vector_len == 0 {
        return false;
    }
    let width = current(&source.width);
    let Some(stretch) = stretch(vector, width) else {
        count(Counter::Unread);
        return false;
    };
    source.at = stretch.at;
    source.len = stretch.len;
    source.vector = vector + 2 * width;
    source.vector_len = vector_len - 1;
    true
}

/// A value as it stands in memory, whatever the compiler believes to know of it.
#[inline(always)]
fn current(value: &u64) -> u64 {
    // SAFETY: a reference can be read.
    unsafe { ptr::read_volatile(value) }
}

/// Copies user memory behind what is there already.
#[inline(always)]
fn read(record: &mut Record, filled: u64, at: u64, wanted: u64) -> bool {
    let start = opaque(filled) & (PIECE - 1);
    let size = opaque(wanted) & (2 * PIECE - 1);
    let to = record.payload.as_mut_ptr().wrapping_add(start as usize);
    // SAFETY: `start` is below one piece and `size` below two; the payload has room for three.
    // The helper checks the address that is read.
    unsafe { generated::bpf_probe_read_user(to.cast(), size as u32, at as *const _) == 0 }
}

/// Puts the record with `filled` bytes of payload into the ring, and makes ready for the next.
#[inline(always)]
fn output(record: &mut Record, filled: u64) {
    let filled = opaque(filled) & (2 * PIECE - 1);
    record.piece.captured = filled as u16;
    let is_full = || DATA.query(AVAILABLE) >= u64::from(setting!(wake_bytes));
    let flags = if wants_a_verdict(&record.piece) || is_full() { FORCE_WAKEUP } else { NO_WAKEUP };
    // SAFETY: `DATA` is a ring, and the record is longer than what is taken of it.
    let result = unsafe {
        generated::bpf_ringbuf_output(
            ptr::from_ref(&DATA).cast_mut().cast(),
            ptr::from_mut(record).cast(),
            size_of::<Piece>() as u64 + filled,
            flags,
        )
    };
    record.piece.position += filled;
    record.walk.uncovered -= filled;
    record.walk.filled = 0;
    if result == 0 {
        count(Counter::PiecesSubmitted);
    } else {
        record.walk.refused = 1;
        count(Counter::PiecesRefused);
    }
}

/// So much has passed on a connection that is only looked at that what may be copied of it could be used up before the agent
/// looks by itself.
#[inline(always)]
fn wants_a_verdict(piece: &Piece) -> bool {
    piece.flags & FLAG_LOOKING != 0 && piece.position + piece.position_other >= LOOKED_WAKES
}

/// Keeps the compiler from knowing a value, so that it leaves the mask that the verifier needs.
#[inline(always)]
pub fn opaque(value: u64) -> u64 {
    // SAFETY: a local variable can be read.
    unsafe { ptr::read_volatile(&raw const value) }
}
