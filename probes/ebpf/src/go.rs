//! What passes inside TLS in programs written in Go, which bring their own TLS.
//!
//! A goroutine may enter a function on one thread and leave it on another, its stack may be moved
//! meanwhile, and a function that finds its stack too small begins anew. So a call is known by its
//! goroutine and by how deep in the stack it stands, which none of this changes; and it is seen to end
//! where each of its returning instructions stands. Invariants: a call that was not seen to begin is not
//! seen to end; what is sent is recorded before it is sent, since another thread may read the answer
//! before the call returns; of a connection older than the hooks nothing is taken before a call was
//! seen to begin to read from it.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::ProbeContext;
use icecore_probe_events::{Counter, FLAG_FROM_START, INBOUND, PLAIN, VERDICT_TLS, shape};

use crate::arch::{GO_ARGUMENTS, GO_GOROUTINE, GO_RESULT, STACK_POINTER};
use crate::connect::{field, identity_by_number};
use crate::maps::{CONNECTIONS, count, setting};
use crate::tls::{self, Session, Socket, TLS_SESSIONS, TlsCall};
use crate::{file, goroutine, socket_of};

/// Calls that have not returned, by goroutine.
#[map]
static GO_CALLS: LruHashMap<Goroutine, GoCall> = LruHashMap::with_max_entries(4096, 0);
/// Sessions that a call was seen to begin to read from. As many as there may be sessions.
#[map]
static GO_READ: LruHashMap<Session, u64> = LruHashMap::with_max_entries(1024, 0);

/// Where `net.Conn` has its value, in `tls.Conn`, of which it is the first field.
const CONN_VALUE: u64 = 8;
/// Where `netFD` has its descriptor: behind a lock.
const DESCRIPTOR: u64 = 16;
/// No descriptor is as large.
const DESCRIPTORS_MAX: u64 = 1 << 30;

/// A goroutine: where the runtime keeps it, and in which process.
#[repr(C)]
#[derive(Clone, Copy)]
struct Goroutine {
    at: u64,
    pid: u64,
}

/// A call that has not returned.
#[repr(C)]
#[derive(Clone, Copy)]
struct GoCall {
    call: TlsCall,
    /// From the end of the stack to where the call stands.
    depth: u64,
    /// Where the stack ended when it began, if the caller's bytes lie in it; else 0.
    stack_end: u64,
    /// 1: what it sends is recorded.
    told: u64,
}

/// A function is called, or begins anew with a larger stack.
#[inline(always)]
pub fn enter(ctx: &ProbeContext) {
    let pid = bpf_get_current_pid_tgid() >> 32;
    if pid as u32 == setting!(own_pid) {
        return;
    }
    // SAFETY: the context is the program's.
    let shape = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    if shape & shape::ASKS != 0 {
        return goroutine::asks(ctx);
    }
    let Some((goroutine, stack, depth)) = place(ctx, pid) else { return };
    let session = register(ctx, GO_ARGUMENTS[0]);
    let (at, len) = (register(ctx, GO_ARGUMENTS[1]), register(ctx, GO_ARGUMENTS[2]));
    let kind = shape & shape::KIND;
    // SAFETY: the value is copied out at once.
    let begun = unsafe { GO_CALLS.get(&goroutine) }.copied();
    // A handshake inside another call uses the socket for that one.
    if begun.is_some_and(|begun| {
        let again = begun.depth == depth && begun.call.shape == shape;
        begun.call.session == session && (again || begun.depth < depth && kind == shape::TOUCH)
    }) {
        return;
    }
    if kind == shape::READ {
        note_read(Session { at: session, pid }, shape);
    }
    let call = TlsCall { shape, session, at, count_at: 0, connection: 0, sent: 0 };
    let told = kind == shape::WRITE && len != 0 && told_at_once(pid, &call, len);
    let within = at >= stack.start && at < stack.end;
    let stack_end = if within { stack.end } else { 0 };
    // Without a place the call is not seen to return, and its bytes show as a hole.
    let _ = GO_CALLS.insert(&goroutine, &GoCall { call, depth, stack_end, told: told.into() }, 0);
}

/// A function returns, here and now.
#[inline(always)]
pub fn leave(ctx: &ProbeContext) {
    let pid = bpf_get_current_pid_tgid() >> 32;
    let Some((goroutine, stack, depth)) = place(ctx, pid) else { return };
    // SAFETY: the value is copied out at once.
    let Some(begun) = (unsafe { GO_CALLS.get(&goroutine) }).copied() else { return };
    if begun.depth != depth {
        return;
    }
    let _ = GO_CALLS.remove(&goroutine);
    let mut call = begun.call;
    let socket = socket(pid, &call);
    let moved = register(ctx, GO_RESULT);
    if begun.told != 0 || moved as i64 <= 0 {
        return;
    }
    count(Counter::Seen);
    if !socket.some() {
        return count(Counter::Unplaced);
    }
    if !begins(pid, &call, socket) {
        return count(Counter::Undecided);
    }
    if begun.stack_end != 0 {
        call.at = stack.end - (begun.stack_end - call.at);
    }
    tls::record(&call, socket, moved);
}

/// A goroutine uses a socket: if it is in a call, the socket is that of the call's session.
#[inline(always)]
pub fn passed(pid: u64, socket: Socket, sends: bool) {
    // SAFETY: both helpers return objects of the current task, and the other checks the address.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    let at = field::<u64>(registers, GO_GOROUTINE as u32).unwrap_or(0);
    let Some(call) = GO_CALLS.get_ptr_mut(&Goroutine { at, pid }) else { return };
    // SAFETY: the pointer is valid while the program runs, and only this goroutine writes here.
    let call = unsafe { &mut (*call).call };
    if call.shape & shape::KIND != shape::TOUCH {
        return tls::used(call, socket.connection, sends);
    }
    // A handshake is not seen to end: the first socket that it uses is its own, and no other.
    if call.session != 0 {
        let _ = TLS_SESSIONS.insert(&Session { at: call.session, pid }, &socket, 0);
        call.session = 0;
    }
}

/// A stack, up to its end, from where it grows.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stack {
    start: u64,
    end: u64,
}

/// The goroutine that runs, its stack, and how deep in there a function stands that begins or returns.
#[inline(always)]
fn place(ctx: &ProbeContext, pid: u64) -> Option<(Goroutine, Stack, u64)> {
    let at = register(ctx, GO_GOROUTINE);
    // SAFETY: the helper checks the address; a goroutine begins with its stack.
    let stack = unsafe { bpf_probe_read_user(at as *const Stack) }.ok()?;
    Some((Goroutine { at, pid }, stack, stack.end.wrapping_sub(register(ctx, STACK_POINTER))))
}

#[inline(always)]
pub fn register(ctx: &ProbeContext, offset: usize) -> u64 {
    // SAFETY: the context is made of the registers, at offsets that are the kernel's ABI.
    unsafe { ctx.as_ptr().cast::<u8>().add(offset).cast::<u64>().read_volatile() }
}

/// Notes that all is seen of what is read from a session from now on.
#[inline(always)]
fn note_read(session: Session, shape: u64) {
    // SAFETY: nothing of the value is read.
    if tls::ready(shape) != 0 && unsafe { GO_READ.get(&session) }.is_none() {
        let _ = GO_READ.insert(&session, &1, 0);
    }
}

/// Records what is sent, if it is known on which connection, and that the handshake is behind it.
#[inline(always)]
fn told_at_once(pid: u64, call: &TlsCall, len: u64) -> bool {
    let socket = socket(pid, call);
    if !socket.some() || !encrypted(socket.connection) || !begins(pid, call, socket) {
        return false;
    }
    count(Counter::Seen);
    tls::record(call, socket, len);
    true
}

#[inline(always)]
fn encrypted(connection: u64) -> bool {
    // SAFETY: one field is read at once.
    unsafe { CONNECTIONS.get(&connection) }.is_some_and(|outer| outer.verdict == VERDICT_TLS)
}

/// Whether these bytes count. All do of a connection that is younger than the hooks. Of an older one
/// somebody may have been inside a call to read when they came, and that answer is not seen: it begins
/// with what is sent when the next call to read has begun, and with what is received by one that had to
/// take it from the socket, at the beginning of a record.
#[inline(always)]
fn begins(pid: u64, call: &TlsCall, socket: Socket) -> bool {
    // SAFETY: one field is read at once.
    let inner = unsafe { CONNECTIONS.get(&(socket.connection ^ PLAIN)) };
    if inner.is_some_and(|inner| inner.passed[usize::from(INBOUND)] != 0)
        || is_young(socket, call.shape)
    {
        return true;
    }
    if call.shape & shape::KIND == shape::READ {
        return call.connection != 0;
    }
    // SAFETY: nothing of the value is read.
    unsafe { GO_READ.get(&Session { at: call.session, pid }) }.is_some()
}

/// A connection has begun when all functions were hooked.
#[inline(always)]
fn is_young(socket: Socket, shape: u64) -> bool {
    let ready = tls::ready(shape);
    // SAFETY: one field is read at once.
    let from_start = unsafe { CONNECTIONS.get(&socket.connection) }
        .is_some_and(|outer| outer.flags & FLAG_FROM_START != 0);
    from_start && ready != 0 && ready < socket.generation
}

/// The connection of the session of a call.
#[inline(always)]
fn socket(pid: u64, call: &TlsCall) -> Socket {
    let found = tls::used_or_known(pid, call);
    if found.some() {
        return found;
    }
    let beneath = tls::current(beneath(call.session).unwrap_or(0));
    if beneath.some() && encrypted(beneath.connection) {
        let _ = TLS_SESSIONS.insert(&Session { at: call.session, pid }, &beneath, 0);
        return beneath;
    }
    found
}

/// The identity of the socket beneath a session; what else lies there is no descriptor of a socket that carries TLS.
#[inline(always)]
fn beneath(session: u64) -> Option<u64> {
    Some(identity_by_number(net_socket(beneath_of(session)?)?))
}

/// The connection beneath one of TLS.
#[inline(always)]
pub fn beneath_of(session: u64) -> Option<u64> {
    user(session + CONN_VALUE)
}

/// The socket of a connection of the package `net` that is in nobody else's wrapping; none where it is something else.
#[inline(always)]
pub fn net_socket(connection: u64) -> Option<u64> {
    let descriptor = user(user(connection)? + DESCRIPTOR)?;
    if descriptor >= DESCRIPTORS_MAX {
        return None;
    }
    socket_of(file(descriptor)?)
}

#[inline(always)]
pub fn user(at: u64) -> Option<u64> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(at as *const u64) }.ok()
}
