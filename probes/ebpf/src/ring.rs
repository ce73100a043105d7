//! Requests of `io_uring`, of which no system call says where their bytes lie: the request itself does.
//!
//! Invariant: bytes are taken from where a request says only while it is the only one of its socket that goes this
//! way. While there are several, nobody knows which of them has moved them.

use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use icecore_probe_events::{INBOUND, OUTBOUND, RingSettings};

use crate::call::{NOWHERE, Source};
use crate::connect::{field, is_tcp};
use crate::socket;

/// What is asked of sockets, by the socket's address and, in its lowest bit, the way.
#[map]
static ASKED: LruHashMap<u64, Asked> = LruHashMap::with_max_entries(8192, 0);
/// The keys of those, by the request's address.
#[map]
static REQUESTS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(8192, 0);

#[repr(C)]
#[derive(Clone, Copy)]
struct Asked {
    /// Where the bytes lie that were not moved yet, and how many; 0 where that is not known.
    at: u64,
    len: u64,
    /// Requests that are not done.
    open: u64,
    /// The first of them.
    request: u64,
}

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

/// Bits of `req->flags`: the descriptor is one that was registered; the kernel chooses the memory.
const FIXED_FILE: u32 = 1;
const BUFFER_SELECT: u32 = 1 << 5;

/// What a request asks for: which way, and whether a plain piece of memory is all of it.
#[inline(always)]
fn asks(opcode: u8) -> Option<(u8, Memory)> {
    Some(match opcode {
        READV | RECVMSG => (INBOUND, Memory::Unknown),
        WRITEV | SENDMSG | SENDMSG_ZC => (OUTBOUND, Memory::Unknown),
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
    /// In more than one piece, or by memory that need not be there any more.
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
const SEND_ZC: u8 = 47;
const SENDMSG_ZC: u8 = 48;

/// A request is taken up by the kernel, on behalf of the task that runs: a `struct io_kiocb`.
#[inline(always)]
pub fn submitted(request: u64) -> Option<()> {
    let (direction, memory) = asks(field(request, at!(req_opcode))?)?;
    let flags: u32 = field(request, at!(req_flags))?;
    if flags & FIXED_FILE != 0 {
        return None;
    }
    let descriptor: u32 = field(request, at!(req_fd))?;
    let sk = socket(u64::from(descriptor)).filter(|&sk| is_tcp(sk))?;
    let (at, len) = match memory {
        _ if flags & BUFFER_SELECT != 0 => (0, 0),
        Memory::OfFile => (at!(rw_addr), at!(rw_len)),
        Memory::OfSocket => (at!(sr_buf), at!(sr_len)),
        Memory::Unknown => (0, 0),
    };
    let mut asked = Asked { at: 0, len: 0, open: 1, request };
    if len != 0 {
        let command = at!(req_cmd);
        asked.at = field(request, command + at)?;
        asked.len = u64::from(field::<u32>(request, command + len)?);
    }
    let key = key(sk, direction);
    match ASKED.get_ptr_mut(&key) {
        // SAFETY: the pointer is valid while the program runs.
        Some(before) => unsafe {
            if (*before).open > 0 {
                asked = Asked { at: 0, len: 0, open: (*before).open + 1, request };
            }
            *before = asked;
        },
        None => drop(ASKED.insert(&key, &asked, 0)),
    }
    // Without a place the socket's next requests are not read.
    let _ = REQUESTS.insert(&request, &key, 0);
    Some(())
}

/// A request is done, or given up.
#[inline(always)]
pub fn completed(request: u64) {
    // SAFETY: the value is copied out at once.
    let Some(key) = (unsafe { REQUESTS.get(&request) }).copied() else { return };
    let _ = REQUESTS.remove(&request);
    let Some(asked) = ASKED.get_ptr_mut(&key) else { return };
    // SAFETY: the pointer is valid while the program runs.
    unsafe { (*asked).open = (*asked).open.saturating_sub(1) };
}

/// Where bytes lie that a socket has just moved, and that no system call has.
#[inline(always)]
pub fn source(sk: u64, direction: u8, moved: u64) -> Source {
    let Some(asked) = ASKED.get_ptr_mut(&key(sk, direction)) else { return NOWHERE };
    // SAFETY: the pointer is valid while the program runs.
    let asked = unsafe { &mut *asked };
    if asked.open != 1 || asked.len < moved {
        return NOWHERE;
    }
    let source = Source { at: asked.at, len: moved, ..NOWHERE };
    // It may take several turns. With the last one it is done: its end may be told only after that of others.
    asked.at += moved;
    asked.len -= moved;
    if asked.len == 0 {
        asked.open = 0;
        let _ = REQUESTS.remove(&asked.request);
    }
    source
}

#[inline(always)]
fn key(sk: u64, direction: u8) -> u64 {
    sk | u64::from(direction & 1)
}
