//! The kernel programs: they see bytes pass on TCP sockets and copy those that may be understood.
//!
//! Three rungs share everything but the hook. On the first, the tracepoints at the end of a socket's
//! send and receive hand over the socket, and the registers of the task say where the bytes lie.
//! On the second, the functions of TCP and UDP that do the work hand it over as they return. On the
//! third, the tracepoint at the end of every system call does, and the socket is looked up in the
//! task's table of descriptors. What passes inside TLS is taken from the libraries that encrypt,
//! and joins the connection whose socket they use. No program writes to any memory but its own maps.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod account;
mod arch;
mod atomic;
mod call;
mod connect;
mod copy;
mod datagram;
mod drops;
mod functions;
mod go;
mod goroutine;
mod hello;
mod libraries;
mod look;
mod maps;
mod narrow;
mod process;
mod profile;
mod record;
mod ring;
mod rustls;
mod talk;
mod tls;

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf,
    bpf_get_socket_cookie, bpf_task_pt_regs,
};
use aya_ebpf::macros::{btf_tracepoint, cgroup_sock_addr, perf_event, raw_tracepoint};
use aya_ebpf::programs::{
    BtfTracePointContext, PerfEventContext, RawTracePointContext, SockAddrContext,
};
use icecore_probe_events::{Counter, FLAG_WAITS, INBOUND, OUTBOUND};

use account::TaskFile;
use arch::{narrow_number, number};
use call::{Call, NOWHERE, NO_CALL, Shape};
use connect::{
    IPPROTO_TCP, IPPROTO_UDP, entry, field, identity, identity_by_number, is_tcp, protocol,
    protocol_of, taken,
};
use maps::{MESSAGES, TRACEPOINTS, count, count_so_many, setting};
use record::{Passed, record};

/// The byte lies beside the stream: of what is sent, the last one.
const MSG_OOB: u64 = 0x1;
/// The bytes stay in the socket and will be received again.
const MSG_PEEK: u64 = 0x2;
/// The bytes are thrown away and not written to memory.
const MSG_TRUNC: u64 = 0x20;
/// Whoever receives does not wait: it was asked for, or the descriptor does not block.
const MSG_DONTWAIT: u64 = 0x40;
/// `O_NONBLOCK`
const O_NONBLOCK: u64 = 0o4000;
/// What is received comes from the error queue and not from the peer.
const MSG_ERRQUEUE: u64 = 0x2000;
/// Messages of one call that are walked on the third rung.
const MESSAGES_MAX: u64 = 8;

#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the first argument is a socket.
    let id = || unsafe { bpf_get_socket_cookie(ctx.arg(0)) };
    let protocol = || protocol_of(ctx.arg(0));
    socket_call(ctx.arg(0), ctx.arg(1), 0, OUTBOUND, TRACEPOINTS, (id, protocol));
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the first argument is a socket.
    let id = || unsafe { bpf_get_socket_cookie(ctx.arg(0)) };
    let protocol = || protocol_of(ctx.arg(0));
    socket_call(ctx.arg(0), ctx.arg(1), ctx.arg(2), INBOUND, TRACEPOINTS, (id, protocol));
    0
}

/// Somebody takes bytes out of a TCP socket. It is asked for what no other hook sees: `splice` to a pipe.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn tcp_rcv_space_adjust(ctx: BtfTracePointContext) -> i32 {
    if may_be_splice() && task_call().number == number::SPLICE {
        spliced_from(&ctx);
    }
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    if is_tcp(sk) {
        // SAFETY: the first argument is a socket.
        let cookie = unsafe { bpf_get_socket_cookie(ctx.arg(0)) };
        // The account asks the connection for its owner, which is forgotten behind it.
        if setting!(accounts) != 0 {
            account::state_changed(sk, old, new);
        }
        connect::state_changed(cookie, sk, old, new);
    }
    0
}

#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tcp_destroy_sock(ctx: BtfTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    connect::ended(identity(sk), sk, 0);
    ring::ended(sk);
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    process::runs(ctx.arg(0), ctx.arg(2));
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    process::ends(ctx.arg(0));
    0
}

/// The kernel throws a packet away: `struct sk_buff`, where in the kernel, and why.
#[btf_tracepoint(function = "kfree_skb")]
pub fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    drops::dropped(ctx.arg(0), ctx.arg(2));
    0
}

/// Called for each open file of each process while user space reads.
// SAFETY: the name is that of no other function, and the section is what the loader looks for.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn sockets(ctx: *const TaskFile) -> i32 {
    account::walked(ctx);
    0
}

/// A task is given a datagram, and told from whom it is. 1: that goes on.
#[cgroup_sock_addr(recvmsg4)]
pub fn sender4(ctx: SockAddrContext) -> i32 {
    talk::sender_told(ctx.sock_addr, 4);
    1
}

/// The same on a socket of IPv6.
#[cgroup_sock_addr(recvmsg6)]
pub fn sender6(ctx: SockAddrContext) -> i32 {
    talk::sender_told(ctx.sock_addr, 6);
    1
}

/// `io_uring` takes up a request: a `struct io_kiocb`.
#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn io_uring_submit_req(ctx: BtfTracePointContext) -> i32 {
    let _ = ring::submitted(ctx.arg(0));
    0
}

/// `io_uring` tells of the end of a request, which comes second; 0: of none.
#[btf_tracepoint(function = "io_uring_complete")]
pub fn io_uring_complete(ctx: BtfTracePointContext) -> i32 {
    ring::completed(ctx.arg(1));
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn sys_exit(ctx: RawTracePointContext) -> i32 {
    let moved: i64 = ctx.arg(1);
    if moved > 0 {
        system_call(ctx.arg(0), moved as u64);
    }
    0
}

/// Called on each CPU, so many times a second.
#[perf_event]
pub fn profile(ctx: PerfEventContext) -> u32 {
    profile::sample(&ctx);
    0
}

/// First and second rung: a socket has sent or received, with this result. `id` asks for its cookie, `protocol` for
/// what it speaks.
#[inline(always)]
fn socket_call(
    sk: u64,
    result: i32,
    flags: i32,
    direction: u8,
    scratch: u32,
    (id, protocol): (impl FnOnce() -> u64, impl FnOnce() -> u16),
) {
    if result <= 0 {
        if result == 0 {
            talk::empty(sk, flags as u64, direction, scratch);
        } else {
            failed();
        }
        return;
    }
    let (moved, flags) = (result as u64, flags as u64);
    let Some(tcp) = counted_in(protocol, flags) else { return };
    let call = task_call();
    let moved = of_stream(direction, moved, call.flags());
    if moved == 0 {
        return count(Counter::Peeked);
    }
    let (source, name) = match call.shape() {
        Some((way, _)) if way != direction => (NOWHERE, 0),
        _ if flags & MSG_TRUNC != 0 => (NOWHERE, 0),
        Some((_, Shape::Messages)) => call.next_message(moved),
        Some((_, shape)) => (call.source(shape), call.name(shape)),
        None => (NOWHERE, 0),
    };
    // What is received says from whom only when it has reached the caller.
    let name = if direction == OUTBOUND { name } else { 0 };
    // What is thrown away was never written to where it would lie.
    let by_ring = call.shape().is_none() && flags & MSG_TRUNC == 0 && may_be_ring();
    let by_ring = u64::from(by_ring);
    let (direction, flags) = (u32::from(direction), waits(flags));
    let passed = Passed { sk, source, bytes: moved, name, direction, flags, tcp, by_ring };
    record(id(), passed, scratch);
}

/// Counts a call as seen, and filters what is not for us. `flags` are those of a call that receives. 1: it is one
/// of TCP; 0: of UDP.
#[inline(always)]
fn counted_in(protocol: impl FnOnce() -> u16, flags: u64) -> Option<u64> {
    count(Counter::Seen);
    if (bpf_get_current_pid_tgid() >> 32) as u32 == setting!(own_pid) {
        count(Counter::Own);
        return None;
    }
    let protocol = protocol();
    if protocol != IPPROTO_TCP && protocol != IPPROTO_UDP {
        count(Counter::NotTcp);
        return None;
    }
    if flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB) != 0 {
        count(Counter::Peeked);
        return None;
    }
    Some(u64::from(protocol == IPPROTO_TCP))
}

/// How many of the bytes that a call has moved belong to the stream, by the flags of the call.
#[inline(always)]
fn of_stream(direction: u8, moved: u64, flags: u64) -> u64 {
    if direction == OUTBOUND { moved - (flags & MSG_OOB) } else { moved }
}

/// The flag of what is received by who waits for it, by the flags of the call. Without a branch, of
/// which the verifier would follow both sides through all that comes.
#[inline(always)]
fn waits(flags: u64) -> u32 {
    const {
        assert!(MSG_DONTWAIT << 1 == FLAG_WAITS as u64);
    }
    ((!flags & MSG_DONTWAIT) << 1) as u32
}

/// The system call that the current task is in; `NO_CALL` where it is in none that moves bytes. The kernel
/// knows the type behind the pointer, so its fields are read directly.
#[inline(always)]
pub(crate) fn task_call() -> Call {
    // SAFETY: both helpers return objects of the current task; the offsets are the kernel's ABI.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
        let read = |at: usize| registers.add(at).cast::<u64>().read_volatile();
        if arch::in_progress(read) { Call::read(read) } else { NO_CALL }
    }
}

/// What the current task moves may be what a request of `io_uring` asks for: the task is in a call of a ring, or in none, as
/// its workers are, and whoever is on the way out of a call.
#[inline(always)]
fn may_be_ring() -> bool {
    // SAFETY: as above.
    let in_progress = unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
        arch::in_progress(|at| registers.add(at).cast::<u64>().read_volatile())
    };
    !in_progress || number::RINGS.contains(&number_of_call())
}

/// The number of the call that the current task is in, or was in last, as its own kind of program numbers it.
#[inline(always)]
fn number_of_call() -> u32 {
    // SAFETY: as above.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
        registers.add(arch::REGISTERS[0]).cast::<u64>().read_volatile() as u32
    }
}

/// The call may be `splice`: what nearly every call that receives is asked, before it is asked for more.
#[inline(always)]
fn may_be_splice() -> bool {
    let number = number_of_call();
    number == number::SPLICE || number == narrow_number::SPLICE
}

/// A socket has nothing more for a call, or no room: a call of several messages is over, wherever it was.
#[inline(always)]
pub(crate) fn failed() {
    let number = number_of_call();
    let native = number == number::RECVMMSG || number == number::SENDMMSG;
    let narrow = number == narrow_number::RECVMMSG
        || number == narrow_number::RECVMMSG_TIME64
        || number == narrow_number::SENDMMSG;
    if native || narrow {
        let _ = MESSAGES.remove(&bpf_get_current_pid_tgid());
    }
}

/// First and second rung: `splice` has taken bytes out of a socket, that never were in the caller's memory.
#[inline(always)]
fn spliced_from(ctx: &BtfTracePointContext) {
    let sk: u64 = ctx.arg(0);
    // SAFETY: the first argument is a socket.
    let id = unsafe { bpf_get_socket_cookie(ctx.arg(0)) };
    // Of a connection that is older than the probe, nobody knows how much was taken before.
    let Some(connection) = entry(id, sk, INBOUND, 0, TRACEPOINTS) else { return };
    // SAFETY: the pointer is valid while the program runs.
    let moved = taken(unsafe { &*connection }, sk);
    if moved == 0 {
        return;
    }
    if let Some(tcp) = counted_in(|| protocol(sk), 0) {
        let direction = u32::from(INBOUND);
        let (source, name, flags) = (NOWHERE, 0, 0);
        let passed = Passed { sk, source, bytes: moved, name, direction, flags, tcp, by_ring: 0 };
        record(id, passed, TRACEPOINTS);
    }
}

/// Third rung: any system call has ended.
#[inline(always)]
fn system_call(registers: u64, moved: u64) {
    let call = Call::read(|at| field::<u64>(registers, at as u32).unwrap_or(0));
    if call.number == number::SPLICE {
        spliced(&call, moved);
        return;
    }
    let Some((direction, shape)) = call.shape() else { return };
    let Some(file) = file(call.args[0]) else { return };
    let Some(sk) = socket_of(file) else { return };
    if shape == Shape::Messages {
        messages(&call, sk, direction, moved);
        return;
    }
    let flags = if direction == INBOUND { call.flags() } else { 0 };
    let Some(tcp) = counted_in(|| protocol(sk), flags) else { return };
    let moved = of_stream(direction, moved, call.flags());
    if moved == 0 {
        return count(Counter::Peeked);
    }
    let source = if flags & MSG_TRUNC == 0 { call.source(shape) } else { NOWHERE };
    let flags = waits(flags | does_not_block(file));
    let (name, direction) = (call.name(shape), u32::from(direction));
    passed(Passed { sk, source, bytes: moved, name, direction, flags, tcp, by_ring: 0 });
}

/// Third rung: bytes have passed on a socket of which only the address is known.
#[inline(always)]
fn passed(passed: Passed) {
    record(identity_by_number(passed.sk), passed, TRACEPOINTS);
}

/// `MSG_DONTWAIT` where a descriptor does not block.
#[inline(always)]
fn does_not_block(file: u64) -> u64 {
    const {
        assert!(O_NONBLOCK >> 5 == MSG_DONTWAIT);
    }
    field::<u32>(file, setting!(file_flags)).map_or(MSG_DONTWAIT, |flags| u64::from(flags) >> 5)
}

/// `splice` between a pipe and a socket: the bytes never were in the caller's memory.
#[inline(always)]
fn spliced(call: &Call, moved: u64) {
    let (sk, direction) = match (socket(call.args[2]), socket(call.args[0])) {
        (Some(sk), _) => (sk, OUTBOUND),
        (None, Some(sk)) => (sk, INBOUND),
        (None, None) => return,
    };
    if let Some(tcp) = counted_in(|| protocol(sk), 0) {
        let (source, name, direction) = (NOWHERE, 0, u32::from(direction));
        passed(Passed { sk, source, bytes: moved, name, direction, flags: 0, tcp, by_ring: 0 });
    }
}

/// `sendmmsg` and `recvmmsg`: the result counts messages, and each says how long it became.
#[inline(always)]
fn messages(call: &Call, sk: u64, direction: u8, moved: u64) {
    let flags = if direction == INBOUND { call.flags() } else { 0 };
    if moved > MESSAGES_MAX && is_counted(sk, flags) {
        count_so_many(Counter::Cut, moved - MESSAGES_MAX);
    }
    let mut index = 0;
    while index < MESSAGES_MAX {
        if index >= moved {
            break;
        }
        let at = call.message_at(index);
        let Some(len) = call.message_len(index) else { break };
        index += 1;
        if len == 0 {
            continue;
        }
        if let Some(tcp) = counted_in(|| protocol(sk), flags) {
            let (source, name) = (call::message(at, call.width), call::name(at, call.width));
            let (bytes, direction) = (u64::from(len), u32::from(direction));
            passed(Passed { sk, source, bytes, name, direction, flags: 0, tcp, by_ring: 0 });
        }
    }
}

/// What passes on this socket by a call of these flags is looked at.
#[inline(always)]
fn is_counted(sk: u64, flags: u64) -> bool {
    let protocol = protocol(sk);
    let own = (bpf_get_current_pid_tgid() >> 32) as u32 == setting!(own_pid);
    let ours = !own && (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP);
    ours && flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB) == 0
}

/// The socket behind a descriptor of the current task, if it is one.
#[inline(always)]
pub(crate) fn socket(descriptor: u64) -> Option<u64> {
    socket_of(file(descriptor)?)
}

/// The open file behind a descriptor of the current task.
#[inline(always)]
pub(crate) fn file(descriptor: u64) -> Option<u64> {
    let descriptor = descriptor as u32;
    // SAFETY: always allowed.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = field(task, setting!(task_files))?;
    let table: u64 = field(files, setting!(files_fdt))?;
    if descriptor >= field::<u32>(table, setting!(fdt_max_fds))? {
        return None;
    }
    let open: u64 = field(table, setting!(fdt_fd))?;
    field(open + u64::from(descriptor) * 8, 0)
}

/// The socket that an open file is, if it is one.
#[inline(always)]
pub(crate) fn socket_of(file: u64) -> Option<u64> {
    let inode: u64 = field(file, setting!(file_inode))?;
    if field::<u16>(inode, setting!(inode_mode))? & 0o170_000 != 0o140_000 {
        return None;
    }
    let socket: u64 = field(file, setting!(file_private_data))?;
    field(socket, setting!(socket_sk)).filter(|&sk| sk != 0)
}

/// The verifier proves that no program can get here.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
