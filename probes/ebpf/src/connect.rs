//! Connections: who they are, when they begin and when they end.
//!
//! Invariant: an identity is in the table at most once, and what is reported of a connection
//! carries the generation under which it stands there.

use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns,
    bpf_probe_read_kernel, generated,
};
use icecore_probe_events::{
    Connection, Counter, End, FLAG_FROM_START, FLAG_IPV6, FLAG_RESET, Flow, INBOUND, Owner, PLAIN,
    VERDICT_UNDECIDED,
};

use crate::copy::NO_WAKEUP;
use crate::maps::{CONNECTIONS, CONTROL, DATA, MADE, STATES, VERDICTS, count, setting};
use crate::tls;

const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const IPPROTO_TCP: u16 = 6;
pub const IPPROTO_UDP: u16 = 17;
/// Both directions: the owner has closed the socket, or it was reset.
const SHUTDOWN_BOTH: u8 = 3;

/// States of `sk->sk_state`.
pub const ESTABLISHED: i32 = 1;
pub const SYN_SENT: i32 = 2;
pub const SYN_RECV: i32 = 3;
pub const CLOSE: i32 = 7;
pub const CLOSE_WAIT: i32 = 8;

/// Reads a field of a kernel object.
#[inline(always)]
pub fn field<T: Copy>(object: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((object + u64::from(offset)) as *const T) }.ok()
}

/// Reads 16 bytes, of an address of IPv6 or of a name, to where they belong.
#[inline(always)]
fn field_into(to: &mut [u8; 16], object: u64, offset: u32) -> Option<()> {
    let from = object + u64::from(offset);
    // SAFETY: the helper checks the address, and 16 bytes go into as many.
    let result =
        unsafe { generated::bpf_probe_read_kernel(to.as_mut_ptr().cast(), 16, from as *const _) };
    (result == 0).then_some(())
}

/// A socket is TCP over IPv4 or IPv6.
#[inline(always)]
pub fn is_tcp(sk: u64) -> bool {
    protocol(sk) == IPPROTO_TCP
}

/// The protocol of a socket of IPv4 or IPv6; 0: of another family.
#[inline(always)]
pub fn protocol(sk: u64) -> u16 {
    let family: u16 = field(sk, setting!(sk_family)).unwrap_or(0);
    if family != AF_INET && family != AF_INET6 {
        return 0;
    }
    field::<u16>(sk, setting!(sk_protocol)).unwrap_or(0)
}

/// The same of a socket of which the kernel knows that it is one: its fields are read directly.
#[inline(always)]
pub fn protocol_of(sk: *const u8) -> u16 {
    // SAFETY: both are fields of a socket of this width, at offsets that were told before the program was loaded.
    let read = |offset: u32| unsafe { sk.add(offset as usize).cast::<u16>().read_volatile() };
    let family = read(setting!(sk_family));
    if family != AF_INET && family != AF_INET6 {
        return 0;
    }
    read(setting!(sk_protocol))
}

/// The identity of a TCP socket whose cookie cannot be asked for: the cookie if it has one, else its
/// address, which no cookie can be equal to. Anybody may have a socket given its cookie at any time
/// (`SO_COOKIE`, `ss`, another kernel program): one that is followed stays who it was.
#[inline(always)]
pub fn identity(sk: u64) -> u64 {
    // SAFETY: nothing of the value is read.
    let followed = unsafe { CONNECTIONS.get(&sk) }.is_some();
    match field::<u64>(sk, setting!(sk_cookie)) {
        Some(cookie) if cookie != 0 && !followed => cookie,
        _ => sk,
    }
}

/// The identity of a socket of which only the address is known. The verifier goes through it once, apart
/// from its callers, who leave it little patience; it takes no pointer that the kernel vouches for.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn identity_by_number(sk: u64) -> u64 {
    // Of other sockets nothing is remembered, and their address stays the same.
    if is_tcp(sk) { identity(sk) } else { sk }
}

/// The table's entry of a connection; made in this place if there is none, as one older than the probe.
#[inline(always)]
pub fn entry(
    id: u64,
    sk: u64,
    direction: u8,
    moved: u64,
    place: u32,
) -> Option<*mut Connection> {
    if let Some(found) = CONNECTIONS.get_ptr_mut(&id) {
        return Some(found);
    }
    begin(id, sk, early(sk), sequences_before(sk, direction, moved), place);
    CONNECTIONS.get_ptr_mut(&id)
}

/// `FLAG_FROM_START` of a connection that is not established yet: by TCP Fast Open bytes come with the
/// request for it, and may be answered at once.
#[inline(always)]
fn early(sk: u64) -> u32 {
    match field::<u8>(sk, setting!(sk_state)).map(i32::from) {
        Some(SYN_RECV) => FLAG_FROM_START,
        _ => 0,
    }
}

/// Made in a map: the callers' stacks are full.
#[inline(never)]
fn begin(id: u64, sk: u64, flags: u32, sequences: [u32; 2], place: u32) {
    let Some(made) = MADE.get_ptr_mut(place) else { return };
    // SAFETY: the entry is the caller's while the program runs.
    let made = unsafe { &mut *made };
    let Some(ipv6) = flow_into(&mut made.flow, sk) else { return };
    // SAFETY: always allowed.
    made.generation = unsafe { bpf_ktime_get_ns() };
    made.passed = [0; 2];
    (made.owner.pid, made.owner.thread, made.owner.started, made.owner.cgroup) = (0, 0, 0, 0);
    clear(&mut made.owner.comm);
    made.verdict = VERDICT_UNDECIDED;
    made.flags = flags | if ipv6 { FLAG_IPV6 } else { 0 };
    made.looked = 0;
    made.reserved = 0;
    made.sequences = sequences;
    // Without a place the call is counted as untracked, by the caller who looks it up.
    let _ = CONNECTIONS.insert(&id, &*made, 0);
}

/// Writes down who is connected to whom; true where the addresses are IPv6.
#[inline(always)]
pub fn flow_into(flow: &mut Flow, sk: u64) -> Option<bool> {
    let family: u16 = field(sk, setting!(sk_family))?;
    flow.local_port = field(sk, setting!(sk_num))?;
    flow.remote_port = u16::from_be(field(sk, setting!(sk_dport))?);
    flow.netns = netns(sk).unwrap_or(0);
    if family == AF_INET6 {
        field_into(&mut flow.local_addr, sk, setting!(sk_v6_rcv_saddr))?;
        field_into(&mut flow.remote_addr, sk, setting!(sk_v6_daddr))?;
        return Some(true);
    }
    clear(&mut flow.local_addr);
    clear(&mut flow.remote_addr);
    let local: [u8; 4] = field(sk, setting!(sk_rcv_saddr))?;
    let remote: [u8; 4] = field(sk, setting!(sk_daddr))?;
    [flow.local_addr[0], flow.local_addr[1], flow.local_addr[2], flow.local_addr[3]] = local;
    [flow.remote_addr[0], flow.remote_addr[1], flow.remote_addr[2], flow.remote_addr[3]] = remote;
    Some(false)
}

#[inline(always)]
fn netns(sk: u64) -> Option<u32> {
    let net: u64 = field(sk, setting!(sk_net))?;
    field(net, setting!(net_inum))
}

/// Of a connection that is established just now, of which nothing was received by its owner yet.
#[inline(always)]
fn sequences(sk: u64, old: i32) -> [u32; 2] {
    let read = |offset| field::<u32>(sk, offset).unwrap_or(0);
    let mut sent = read(setting!(tcp_snd_una));
    if old == SYN_SENT {
        // What went with the request for the connection has been confirmed by now. That itself counts as
        // one byte.
        let confirmed = field::<u64>(sk, setting!(tcp_bytes_acked)).unwrap_or(1);
        sent = sent.wrapping_sub((confirmed as u32).wrapping_sub(1));
    }
    [read(setting!(tcp_copied_seq)), sent]
}

/// Bytes that the owner has taken out of a connection and that were not counted: by `splice` they go to a
/// pipe, and no hook sees it.
#[inline(always)]
pub fn taken(connection: &Connection, sk: u64) -> u64 {
    let [first, _] = connection.sequences;
    let [counted, _] = connection.passed;
    let Some(taken) = field::<u32>(sk, setting!(tcp_copied_seq)) else { return 0 };
    let more = taken.wrapping_sub(first).wrapping_sub(counted as u32);
    // Beyond this it is none, but something that was counted twice.
    if more > i32::MAX as u32 { 0 } else { u64::from(more) }
}

/// Of a connection that is older than the probe, and that has just moved so many bytes this way.
#[inline(always)]
fn sequences_before(sk: u64, direction: u8, moved: u64) -> [u32; 2] {
    let read = |offset| field::<u32>(sk, offset).unwrap_or(0);
    let (received, sent) = (read(setting!(tcp_copied_seq)), read(setting!(tcp_write_seq)));
    let moved = moved as u32;
    match direction {
        INBOUND => [received.wrapping_sub(moved), sent],
        _ => [received, sent.wrapping_sub(moved)],
    }
}

/// Writes down who uses the connection now.
#[inline(always)]
pub fn note_owner(connection: &mut Connection) {
    let current = bpf_get_current_pid_tgid();
    let (pid, thread) = ((current >> 32) as u32, current as u32);
    connection.owner.thread = thread;
    if connection.owner.pid != pid {
        current_owner_into(&mut connection.owner);
    }
}

/// The process that runs now.
#[inline(always)]
pub fn current_owner() -> Owner {
    let mut owner = Owner { pid: 0, thread: 0, started: 0, cgroup: 0, comm: [0; 16] };
    current_owner_into(&mut owner);
    owner
}

/// Writes down the process that runs now: called as its first thread is, since others have names of their own.
#[inline(always)]
fn current_owner_into(owner: &mut Owner) {
    let current = bpf_get_current_pid_tgid();
    owner.pid = (current >> 32) as u32;
    owner.thread = current as u32;
    // SAFETY: always allowed.
    owner.cgroup = unsafe { bpf_get_current_cgroup_id() };
    let leader = leader().unwrap_or(0);
    owner.started = field(leader, setting!(task_start_boottime)).unwrap_or(0);
    if field_into(&mut owner.comm, leader, setting!(task_comm)).is_none() {
        clear(&mut owner.comm);
    }
}

/// The name of the process that runs now, which is its first thread's.
#[inline(always)]
pub fn process_name_into(name: &mut [u8; 16]) {
    let _ = leader().and_then(|leader| field_into(name, leader, setting!(task_comm)));
}

/// The compiler would have a function of its own do it, byte by byte: the verifier would follow each, and
/// count the function's stack.
#[inline(always)]
pub fn clear(bytes: &mut [u8; 16]) {
    let words = bytes.as_mut_ptr().cast::<u32>();
    let mut index = 0;
    while index < 4 {
        // SAFETY: within the array, which in a `Flow` and an `Owner` begins where a word may.
        unsafe { words.add(index).write_volatile(0) };
        index += 1;
    }
}

/// When the process that runs now was started, in nanoseconds since boot.
#[inline(always)]
pub fn process_started() -> Option<u64> {
    field(leader()?, setting!(task_start_boottime))
}

/// The first thread of the process that runs now.
#[inline(always)]
fn leader() -> Option<u64> {
    // SAFETY: always allowed.
    let task = unsafe { bpf_get_current_task() };
    field(task, setting!(task_group_leader))
}

/// A TCP socket goes from one state to another.
#[inline(always)]
pub fn state_changed(cookie: u64, sk: u64, old: i32, new: i32) {
    if new == ESTABLISHED && (old == SYN_SENT || old == SYN_RECV) {
        // SAFETY: nothing of the value is read.
        let known = old == SYN_RECV && unsafe { CONNECTIONS.get(&identity(sk)) }.is_some();
        // By TCP Fast Open it may have been used already.
        if !known {
            begin(cookie, sk, FLAG_FROM_START, sequences(sk, old), STATES);
        }
        return;
    }
    if new == ESTABLISHED {
        return;
    }
    let failed = field::<u32>(sk, setting!(sk_err)).unwrap_or(0) != 0;
    let cut_off = new == CLOSE && (old == ESTABLISHED || old == CLOSE_WAIT);
    let reset = if failed || cut_off { FLAG_RESET } else { 0 };
    // An owner that stopped sending, before the other end did or after it, may still read what has
    // come: then the end is that of the socket.
    let by_owner = old == ESTABLISHED;
    let shutdown = field::<u8>(sk, setting!(sk_shutdown)).unwrap_or(0);
    if by_owner && shutdown & SHUTDOWN_BOTH == SHUTDOWN_BOTH {
        return ended(cookie, sk, reset);
    }
    // What was received before a reset can still be read: the connection ends with its socket.
    if reset != 0 {
        if let Some(connection) = CONNECTIONS.get_ptr_mut(&identity(sk)) {
            // SAFETY: the pointer is valid while the program runs.
            unsafe { (*connection).flags |= FLAG_RESET };
        }
    }
}

/// Nothing will pass on this socket any more.
#[inline(always)]
pub fn ended(cookie: u64, sk: u64, flags: u32) {
    end_of(cookie, flags);
    end_of(sk, flags);
    if setting!(tls) != 0 {
        for id in [cookie, sk] {
            if let Some(id) = tls::number_of(id) {
                end_of(id ^ PLAIN, flags);
            }
        }
    }
}

#[inline(always)]
fn end_of(id: u64, flags: u32) {
    // SAFETY: the value is copied out at once.
    let Some(connection) = (unsafe { CONNECTIONS.get(&id) }).copied() else { return };
    // Another CPU may have been faster; a connection that is not there any more has ended.
    let _ = CONNECTIONS.remove(&id);
    if connection.verdict == VERDICT_UNDECIDED && connection.looked == 0 {
        return;
    }
    let _ = VERDICTS.remove(&id);
    let end = End {
        connection: id,
        generation: connection.generation,
        // SAFETY: always allowed.
        time: unsafe { bpf_ktime_get_ns() },
        passed: connection.passed,
        flags: connection.flags | flags,
        reserved: 0,
    };
    // Behind the last piece where there is room, so that the order holds; else on its own.
    let sent =
        DATA.output::<End>(&end, NO_WAKEUP).or_else(|_| CONTROL.output::<End>(&end, NO_WAKEUP));
    match sent {
        Ok(()) => count(Counter::EndsSubmitted),
        Err(_) => count(Counter::EndsRefused),
    }
}
