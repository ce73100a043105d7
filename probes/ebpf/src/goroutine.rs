//! Which goroutine moves bytes: in programs written in Go, threads run whichever is ready, and say nothing.
//!
//! Invariants: the register that holds the goroutine is believed only where the thread stands on the stack of that
//! goroutine, as it does in every call of Go's own, and in none of C's; only programs are asked that user space has
//! named. What one goroutine sends for another one is told as of the latter, once for each request that it was given.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap};
use aya_ebpf::programs::ProbeContext;
use icecore_probe_events::{FLAG_GOROUTINE, FLAG_PLAIN, OUTBOUND, PLAIN, Piece};

use crate::arch::{GO_ARGUMENTS, GO_GOROUTINE, STACK_POINTER};
use crate::connect::{field, identity_by_number};
use crate::go::{beneath_of, net_socket, register, user};
use crate::maps::SCRATCH;

/// Processes whose goroutines wait for what they read: user space writes them down.
#[map]
static GO_PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(4096, 0);
/// Who has given a connection its next request, by the connection.
#[map]
static GO_ASKED: LruHashMap<u64, Asked> = LruHashMap::with_max_entries(4096, 0);

/// A goroutine, and its process.
#[repr(C)]
#[derive(Clone, Copy)]
struct Asked {
    goroutine: u64,
    pid: u64,
}

/// Where `http.persistConn` has the value of its connection: behind two words, one, seven (`connectMethodKey`), and its type.
const CONNECTION: u64 = 88;

/// `persistConn.roundTrip` begins: its goroutine has a request, and the connection nobody else's until it is answered.
#[inline(always)]
pub fn asks(ctx: &ProbeContext) {
    let pid = bpf_get_current_pid_tgid() >> 32;
    let goroutine = register(ctx, GO_GOROUTINE);
    let Some(connection) = user(register(ctx, GO_ARGUMENTS[0]) + CONNECTION) else { return };
    let socket = net_socket(connection).or_else(|| net_socket(beneath_of(connection)?));
    let Some(sk) = socket else { return };
    let _ = GO_ASKED.insert(&identity_by_number(sk), &Asked { goroutine, pid }, 0);
}

/// Puts the goroutine in the place of the thread, in the piece of a scratch record, where there is one.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn goroutine_named(scratch: u32) -> u64 {
    let pid = bpf_get_current_pid_tgid() >> 32;
    // SAFETY: nothing of the value is read.
    if unsafe { GO_PROCESSES.get(&(pid as u32)) }.is_none() {
        return 0;
    }
    let Some(record) = SCRATCH.get_ptr_mut(scratch) else { return 0 };
    // SAFETY: the scratch record is the caller's while the program runs.
    let piece = unsafe { &mut (*record).piece };
    let asked = if piece.direction == u16::from(OUTBOUND) { asked(piece, pid) } else { None };
    if let Some(at) = asked.or_else(running) {
        piece.owner.thread = (at >> 6) as u32;
        piece.flags |= FLAG_GOROUTINE;
    }
    0
}

/// Who has asked for what is sent now.
#[inline(always)]
fn asked(piece: &Piece, pid: u64) -> Option<u64> {
    let inside = piece.flags & FLAG_PLAIN != 0;
    let socket = if inside { piece.connection ^ PLAIN } else { piece.connection };
    // SAFETY: the value is copied out at once.
    let asked = unsafe { GO_ASKED.get(&socket) }.copied()?;
    let _ = GO_ASKED.remove(&socket);
    (asked.pid == pid).then_some(asked.goroutine)
}

/// The goroutine that runs; none where the thread does something else than to run one.
#[inline(always)]
fn running() -> Option<u64> {
    // SAFETY: both helpers return objects of the current task, and the other checks the address.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    let at = field::<u64>(registers, GO_GOROUTINE as u32)?;
    let stack = field::<u64>(registers, STACK_POINTER as u32)?;
    // SAFETY: the helper checks the address; a goroutine begins with its stack.
    let [start, end] = unsafe { bpf_probe_read_user(at as *const [u64; 2]) }.ok()?;
    (stack >= start && stack < end).then_some(at)
}
