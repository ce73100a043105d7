//! Requests of `io_uring`, of which no system call says where their bytes lie: the request itself does.
//!
//! Invariant: bytes are taken from where a request says only in the process that has asked, and only while it is the
//! only one of its socket that goes this way and no other was taken up since. With several, nobody knows which of them has
//! moved them. Each is counted once as it is taken up and at most once as it ends; one whose end is missed
//! keeps others from being read, and lends them nothing.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};
use icecore_probe_events::{INBOUND, OUTBOUND, RingSettings};

use crate::atomic::add;
use crate::call::{NOWHERE, Source};
use crate::connect::{field, is_tcp};
use crate::copy::now;
use crate::socket;

/// What is asked of sockets, by the socket's address and, in its lowest bit, the way.
#[map]
static ASKED: LruHashMap<u64, Asked> = LruHashMap::with_max_entries(8192, 0);
/// Requests that are not done, by their address.
#[map]
static REQUESTS: LruHashMap<u64, Request> = LruHashMap::with_max_entries(8192, 0);
/// 1: something was asked of a socket of TCP by now. Where nobody does, the end of a socket costs one look here.
#[map]
static USED: Array<u64> = Array::with_max_entries(1, 0);

#[repr(C)]
#[derive(Clone, Copy)]
struct Asked {
    /// Requests that are not done, in the lower half, and all that were taken up so far, in the upper one: several CPUs
    /// count at the same time.
    counted: u64,
    /// What `counted` is as long as the request of which the following tells is not done and none was taken up after
    /// it. It was written when nobody else waited, so nobody else has written meanwhile.
    alone: u64,
    request: u64,
    /// Whose memory it names.
    process: u64,
    /// Where the bytes lie that were not moved yet, and how many; 0 where that is not known.
    at: u64,
    len: u64,
    /// When this was made. A request of an earlier socket at the same address does not count here.
    made: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    /// Where it is counted.
    key: u64,
    made: u64,
}

/// What a request that is taken up adds to `Asked::counted`, and one that is done.
const TAKEN_UP: u64 = 1 << 32 | 1;
const DONE: u64 = u64::MAX;
const BPF_NOEXIST: u64 = 1;

/// User space puts the offsets in place of these zeros before the programs are loaded.
#[unsafe(no_mangle)]
// SAFETY: every field is a number.
pub static RINGING: RingSettings = unsafe { core::mem::zeroed() };

macro_rules! at {
    ($field:ident) => {
        // SAFETY: the field of a static is always readable.
        unsafe { core::ptr::read_volatile(&raw const RINGING.$field) }
    };
}

/// Bits of `req->flags`: the descriptor is one that was registered; the kernel chooses the memory; no end is told of one
/// that goes well.
const FIXED_FILE: u32 = 1;
const BUFFER_SELECT: u32 = 1 << 5;
const CQE_SKIP: u32 = 1 << 6;
/// Bit of `io_sr_msg.flags`: what is sent lies in several pieces, and a list of them where a plain piece would be.
const VECTORIZED: u16 = 1 << 5;

/// What a request asks for: which way, and whether a plain piece of memory is all of it.
#[inline(always)]
fn asks(opcode: u8) -> Option<(u8, Memory)> {
    Some(match opcode {
        READV | READV_FIXED | RECVMSG | READ_MULTISHOT | RECV_ZC => (INBOUND, Memory::Unknown),
        // Of `splice`, the descriptor is the one into which it goes.
        WRITEV | WRITEV_FIXED | SENDMSG | SENDMSG_ZC | SPLICE => (OUTBOUND, Memory::Unknown),
        READ | READ_FIXED => (INBOUND, Memory::OfFile),
        WRITE | WRITE_FIXED => (OUTBOUND, Memory::OfFile),
        RECV => (INBOUND, Memory::OfSocket),
        SEND | SEND_ZC => (OUTBOUND, Memory::OfSocket),
        _ => return None,
    })
}

/// By which structure a request says it.
#[derive(Clone, Copy, PartialEq)]
enum Memory {
    OfFile,
    OfSocket,
    /// In more than one piece, by memory that need not be there any more, or not in the program's.
    Unknown,
}

/// `IORING_OP_…`
const READV: u8 = 1;
const WRITEV: u8 = 2;
const READ_FIXED: u8 = 4;
const WRITE_FIXED: u8 = 5;
const SENDMSG: u8 = 9;
const RECVMSG: u8 = 10;
const READ: u8 = 22;
const WRITE: u8 = 23;
const SEND: u8 = 26;
const RECV: u8 = 27;
const SPLICE: u8 = 30;
const SEND_ZC: u8 = 47;
const SENDMSG_ZC: u8 = 48;
const READ_MULTISHOT: u8 = 49;
const RECV_ZC: u8 = 58;
const READV_FIXED: u8 = 60;
const WRITEV_FIXED: u8 = 61;

/// A request is taken up by the kernel, on behalf of the task that runs: a `struct io_kiocb`.
#[inline(always)]
pub fn submitted(request: u64) -> Option<()> {
    // Whatever was at this address is done, though nobody has told of its end.
    completed(request);
    let (direction, memory) = asks(field(request, at!(req_opcode))?)?;
    let flags: u32 = field(request, at!(req_flags))?;
    if flags & FIXED_FILE != 0 {
        return None;
    }
    let descriptor: u32 = field(request, at!(req_fd))?;
    let sk = socket(u64::from(descriptor)).filter(|&sk| is_tcp(sk))?;
    note_use();
    let key = key(sk, direction);
    let asked = asked(key)?;
    // SAFETY: the pointer is valid while the program runs.
    let made = unsafe {
        let before = add(&raw mut (*asked).counted, TAKEN_UP);
        if before as u32 == 0 {
            let (at, len) = lies(request, memory, flags).unwrap_or((0, 0));
            (*asked).alone = before + TAKEN_UP;
            (*asked).request = request;
            (*asked).process = process();
            (*asked).at = at;
            (*asked).len = len;
        }
        (*asked).made
    };
    // Without a place the socket's next requests are not read.
    let _ = REQUESTS.insert(&request, &Request { key, made }, 0);
    Some(())
}

/// From now on sockets may have been asked for something when they end.
#[inline(always)]
fn note_use() {
    let Some(used) = USED.get_ptr_mut(0) else { return };
    // SAFETY: the pointer is valid while the program runs, and whoever writes writes the same.
    unsafe {
        if *used == 0 {
            *used = 1;
        }
    }
}

/// What is asked of a socket this way; made if there is nothing yet.
#[inline(always)]
fn asked(key: u64) -> Option<*mut Asked> {
    if let Some(asked) = ASKED.get_ptr_mut(&key) {
        return Some(asked);
    }
    let none = Asked { counted: 0, alone: 0, request: 0, process: 0, at: 0, len: 0, made: now() };
    // Another CPU may have been faster.
    let _ = ASKED.insert(&key, &none, BPF_NOEXIST);
    ASKED.get_ptr_mut(&key)
}

/// Where the bytes of a request lie, and how many; none where that is not known, or where nobody would tell that it is done.
#[inline(always)]
fn lies(request: u64, memory: Memory, flags: u32) -> Option<(u64, u64)> {
    let command = at!(req_cmd);
    let (at, len) = match memory {
        _ if flags & (BUFFER_SELECT | CQE_SKIP) != 0 => return None,
        Memory::OfFile => (at!(rw_addr), at!(rw_len)),
        Memory::OfSocket if field::<u16>(request, command + at!(sr_flags))? & VECTORIZED == 0 => {
            (at!(sr_buf), at!(sr_len))
        }
        Memory::OfSocket | Memory::Unknown => return None,
    };
    Some((field(request, command + at)?, u64::from(field::<u32>(request, command + len)?)))
}

/// A request is done, or given up.
#[inline(always)]
pub fn completed(request: u64) {
    // SAFETY: the value is copied out at once.
    let Some(Request { key, made }) = (unsafe { REQUESTS.get(&request) }).copied() else { return };
    // Who takes it away has counted it.
    if REQUESTS.remove(&request).is_err() {
        return;
    }
    let Some(asked) = ASKED.get_ptr_mut(&key) else { return };
    // SAFETY: the pointer is valid while the program runs.
    unsafe {
        if (*asked).made == made {
            add(&raw mut (*asked).counted, DONE);
        }
    }
}

/// Nothing will pass on this socket any more, and another may come to its address.
#[inline(always)]
pub fn ended(sk: u64) {
    if USED.get(0).is_none_or(|used| *used == 0) {
        return;
    }
    let _ = ASKED.remove(&key(sk, INBOUND));
    let _ = ASKED.remove(&key(sk, OUTBOUND));
}

/// Where bytes lie that a socket has just moved for a request.
#[inline(always)]
pub fn source(sk: u64, direction: u8, moved: u64) -> Source {
    // Nothing is ever asked there. The verifier drops what follows, so that no kernel without these requests has to
    // know the atomic instruction.
    if at!(req_flags) == 0 {
        return NOWHERE;
    }
    let Some(asked) = ASKED.get_ptr_mut(&key(sk, direction)) else { return NOWHERE };
    // SAFETY: the pointer is valid while the program runs.
    let asked = unsafe { &mut *asked };
    if asked.counted != asked.alone || asked.process != process() || asked.len < moved {
        return NOWHERE;
    }
    let source = Source { at: asked.at, len: moved, ..NOWHERE };
    // It may take several turns. With the last one it is done: its end may be told only after that of others.
    asked.at += moved;
    asked.len -= moved;
    if asked.len == 0 {
        completed(asked.request);
    }
    source
}

/// The process of the task that runs. Workers of the kernel belong to that for which they work.
#[inline(always)]
fn process() -> u64 {
    bpf_get_current_pid_tgid() >> 32
}

/// The verifier lets a number be added to what it knows as a pointer, and no bit set.
#[inline(always)]
fn key(sk: u64, direction: u8) -> u64 {
    sk + u64::from(direction & 1)
}
