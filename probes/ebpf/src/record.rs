//! Records what a hook has seen pass on a socket.
//!
//! Invariant: the verifier goes through this once for each hook, and not once for each way through the hook:
//! what has passed is handed over in a scratch record, as figures of which it knows nothing.

use icecore_probe_events::{Counter, FLAG_WAITS};

use crate::call::Source;
use crate::connect::entry;
use crate::copy::{self, Moved};
use crate::maps::{SCRATCH, count, setting};
use crate::{datagram, ring, talk};

/// What has passed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Passed {
    pub sk: u64,
    pub source: Source,
    pub bytes: u64,
    /// Where the other end of a datagram is named, or 0: of one that is received, only behind the call, when it
    /// stands there.
    pub name: u64,
    pub direction: u32,
    pub flags: u32,
    /// 1: the socket is one of TCP, as whoever filters it has found out; 0: of UDP.
    pub tcp: u64,
    /// 1: no system call has asked for it, and `io_uring` may have; it was written to memory.
    pub by_ring: u64,
}

/// `id`: who the socket is. `scratch`: the scratch record that is the caller's.
#[inline(always)]
pub fn record(id: u64, passed: Passed, scratch: u32) {
    let Some(place) = SCRATCH.get_ptr_mut(scratch) else { return count(Counter::Untracked) };
    // SAFETY: the scratch record is the caller's while the program runs.
    unsafe { (*place).passed = passed };
    if passed.tcp == 0 && setting!(datagrams) != 0 {
        talk::talked(scratch);
    }
    recorded(id, scratch);
}

// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn recorded(id: u64, scratch: u32) -> u64 {
    let Some(place) = SCRATCH.get_ptr_mut(scratch) else { return 0 };
    // SAFETY: the scratch record is the caller's while the program runs.
    let passed = unsafe { (*place).passed };
    let Passed { sk, mut source, bytes, name, direction, mut flags, tcp, by_ring } = passed;
    let (direction, tcp) = (direction as u8, tcp != 0);
    if tcp && by_ring != 0 {
        source = ring::source(sk, direction, bytes);
        // Whoever has asked does something else meanwhile.
        flags &= !FLAG_WAITS;
    }
    let found = if tcp {
        entry(id, sk, direction, bytes, scratch)
    } else {
        datagram::entry(sk, direction, source, bytes, name, scratch)
    };
    match found {
        // SAFETY: the pointer is valid while the program runs. Two threads that use one direction
        // of one socket at the same time may lose a step of its position, which then shows as a
        // piece that overlaps.
        Some(connection) => {
            let moved = Moved { direction, source, bytes, time: 0, scratch, flags };
            copy::moved(id, unsafe { &mut *connection }, moved);
        }
        None if tcp => count(Counter::Untracked),
        None => count(Counter::NotTcp),
    }
    0
}
