//! The maps, and the settings that user space writes before the programs are loaded.
//!
//! Invariant: a figure is only ever added to, on its own CPU.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{LruHashMap, PerCpuArray, RingBuf};
use icecore_probe_events::{
    Account, COUNTERS, Connection, Counter, Opened, PIECE_BYTES_MAX, Piece, ProcessEvent, Settings,
    Told,
};

use crate::call::Source;
use crate::record::Passed;

/// User space sets the sizes of the rings and of the connection table when it loads them.
#[map]
pub static DATA: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
#[map]
pub static CONTROL: RingBuf = RingBuf::with_byte_size(1 << 16, 0);
#[map]
pub static CONNECTIONS: LruHashMap<u64, Connection> = LruHashMap::with_max_entries(1024, 0);
/// Accounts of connections that have ended.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);
/// Where accounts are made: of what ends, and of what is walked over.
#[map]
pub static ACCOUNT: PerCpuArray<Account> = PerCpuArray::with_max_entries(2, 0);
/// Processes that begin a program, and that end.
#[map]
pub static PROCESSES: RingBuf = RingBuf::with_byte_size(1 << 16, 0);
/// Where what is told of them is made.
#[map]
pub static PROCESS: PerCpuArray<ProcessEvent> = PerCpuArray::with_max_entries(1, 0);
/// By the address of the socket.
#[map]
pub static OPENED: LruHashMap<u64, Opened> = LruHashMap::with_max_entries(1024, 0);
/// Written by user space alone, so that neither side undoes what the other counts.
#[map]
pub static VERDICTS: LruHashMap<u64, Told> = LruHashMap::with_max_entries(1024, 0);
#[map]
pub static FIGURES: PerCpuArray<[u64; COUNTERS]> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static SCRATCH: PerCpuArray<Record> = PerCpuArray::with_max_entries(SCRATCHES, 0);
/// Where a connection is made, and what stands for one while a datagram is copied: a place for each scratch
/// record, and one for what becomes of sockets, which interrupts all others.
#[map]
pub static MADE: PerCpuArray<Connection> = PerCpuArray::with_max_entries(SCRATCHES + 1, 0);
/// Where a thread is in a call that moves several messages.
#[map]
pub static MESSAGES: LruHashMap<u64, MessageCursor> = LruHashMap::with_max_entries(1024, 0);

/// Scratch records of each CPU. The first belongs to the tracepoints, which nothing interrupts; the
/// others to probes in programs and on functions, which may be interrupted on the way and take one that
/// is free.
pub const SCRATCHES: u32 = 4;
/// The scratch record of the tracepoints.
pub const TRACEPOINTS: u32 = 0;
/// The place in `MADE` of sockets whose state changes.
pub const STATES: u32 = SCRATCHES;

/// A piece and its payload. The payload's space is three times what is used, so that one mask on
/// the start and one on the length are all the proof of bounds that the verifier needs.
#[repr(C)]
pub struct Record {
    pub piece: Piece,
    pub payload: [u8; 3 * PIECE_BYTES_MAX],
    pub walk: Walk,
    /// What a hook hands over.
    pub passed: Passed,
    /// 1: a probe is at work here.
    pub taken: u64,
}

/// How far the copying of a call has come.
#[repr(C)]
pub struct Walk {
    pub source: Source,
    /// Bytes that may still be copied.
    pub left: u64,
    /// Bytes that are not in the ring yet.
    pub uncovered: u64,
    /// Bytes in the payload.
    pub filled: u64,
    /// 1: a piece found no room.
    pub refused: u64,
}

/// Which message of a `sendmmsg` or `recvmmsg` comes next.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MessageCursor {
    pub vector: u64,
    pub next: u64,
}

/// User space puts the settings in place of these zeros before the programs are loaded.
#[unsafe(no_mangle)]
// SAFETY: every field is a number.
pub static SETTINGS: Settings = unsafe { core::mem::zeroed() };

/// One setting. The compiler must not take the zeros above for the values.
macro_rules! setting {
    ($field:ident) => {
        // SAFETY: the field of a static is always readable.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::SETTINGS.$field) }
    };
}
pub(crate) use setting;

/// Adds one to a figure of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    count_so_many(counter, 1);
}

/// Adds so many to a figure of this CPU.
#[inline(always)]
pub fn count_so_many(counter: Counter, more: u64) {
    if let Some(figures) = FIGURES.get_ptr_mut(0) {
        // SAFETY: the index is below `COUNTERS`, and only this CPU writes here.
        unsafe { *figures.cast::<u64>().add(counter as usize) += more }
    }
}

/// A scratch record that no other probe on this CPU is at work with.
#[inline(always)]
pub fn take_scratch() -> Option<u32> {
    let mut index = 1;
    while index < SCRATCHES {
        let record = SCRATCH.get_ptr_mut(index)?;
        // SAFETY: the pointer is valid while the program runs; the field is read and written by
        // programs on this CPU alone, which take turns.
        unsafe {
            let taken = &raw mut (*record).taken;
            if taken.read_volatile() == 0 {
                taken.write_volatile(1);
                return Some(index);
            }
        }
        index += 1;
    }
    None
}

/// Lets the next one have it.
#[inline(always)]
pub fn give_scratch(index: u32) {
    if let Some(record) = SCRATCH.get_ptr_mut(index) {
        // SAFETY: as above.
        unsafe { (&raw mut (*record).taken).write_volatile(0) };
    }
}
