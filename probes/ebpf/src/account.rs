//! Accounts of TCP sockets: what each has sent and received, how it began and how it ended.
//!
//! Invariants: the figures are the kernel's own, read when a connection ends or when user space walks
//! over all sockets; no packet and no call costs anything here.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::helpers::generated::bpf_seq_write;
use icecore_probe_events::{
    ACCOUNT_CLIENT, ACCOUNT_CLOSED_HERE, ACCOUNT_CLOSED_THERE, ACCOUNT_IPV6, ACCOUNT_SERVER,
    Account, Counter, Opened, Owner,
};

use crate::connect::{
    CLOSE, CLOSE_WAIT, ESTABLISHED, SYN_RECV, SYN_SENT, current_owner, field, flow_into, identity,
    is_tcp,
};
use crate::copy::{NO_WAKEUP, now};
use crate::maps::{ACCOUNT, CONNECTIONS, EVENTS, OPENED, count, setting};
use crate::socket_of;

const FIN_WAIT1: i32 = 4;
const LAST_ACK: i32 = 9;
const LISTEN: i32 = 10;
/// Bit of `sk->sk_flags`: the other end has said that it will send no more, which took a byte's place
/// in what was received.
const SOCK_DONE: u64 = 1 << 1;

/// The scratch account of what ends.
const ENDING: u32 = 0;
/// The scratch account of what is walked over.
const WALKING: u32 = 1;
const NOBODY: Owner = Owner { pid: 0, thread: 0, started: 0, cgroup: 0, comm: [0; 16] };

/// What an iterator over open files is called with: `struct bpf_iter__task_file`.
#[repr(C)]
pub struct TaskFile {
    meta: *const Meta,
    task: u64,
    fd: u64,
    file: u64,
}

/// `struct bpf_iter_meta`, whose first field is where to write to.
#[repr(C)]
pub struct Meta {
    seq: *mut aya_ebpf::bindings::seq_file,
}

/// A TCP socket goes from one state to another.
#[inline(always)]
pub fn state_changed(sk: u64, old: i32, new: i32) {
    match new {
        // In the call of whoever connects.
        SYN_SENT => begin(sk, ACCOUNT_CLIENT),
        ESTABLISHED if old == SYN_RECV => begin(sk, ACCOUNT_SERVER),
        ESTABLISHED => established(sk),
        // In the call of whoever closes.
        FIN_WAIT1 => closing(sk, ACCOUNT_CLOSED_HERE),
        LAST_ACK => closing(sk, 0),
        CLOSE_WAIT => closed_there(sk),
        CLOSE if old != LISTEN && old != CLOSE && old != SYN_RECV => ended(sk, old),
        _ => {}
    }
}

#[inline(never)]
fn begin(sk: u64, role: u32) {
    let client = role == ACCOUNT_CLIENT;
    let now = now();
    let opened = Opened {
        opened: now,
        established: if client { 0 } else { now },
        owner: if client { current_owner() } else { NOBODY },
        flags: role,
        reserved: 0,
    };
    // Without a place the account will say less.
    let _ = OPENED.insert(&sk, &opened, 0);
}

#[inline(always)]
fn remembered(sk: u64) -> Option<&'static mut Opened> {
    // SAFETY: the pointer is valid while the program runs, and the states of a socket change one
    // after the other, under its lock.
    OPENED.get_ptr_mut(&sk).map(|opened| unsafe { &mut *opened })
}

#[inline(always)]
fn established(sk: u64) {
    if let Some(opened) = remembered(sk) {
        opened.established = now();
    }
}

#[inline(always)]
fn closing(sk: u64, flag: u32) {
    let Some(opened) = remembered(sk) else { return };
    opened.flags |= flag;
    if opened.owner.pid == 0 {
        opened.owner = current_owner();
    }
}

#[inline(always)]
fn closed_there(sk: u64) {
    if let Some(opened) = remembered(sk) {
        opened.flags |= ACCOUNT_CLOSED_THERE;
    }
}

#[inline(never)]
fn ended(sk: u64, old: i32) {
    let Some(account) = made(ENDING, sk) else { return };
    account.state = old as u32;
    let cut_off = account.error == 0 && (old == ESTABLISHED || old == CLOSE_WAIT);
    if account.owner.pid == 0 && cut_off {
        // In the call of whoever closes.
        account.owner = current_owner();
    } else if account.owner.pid == 0 {
        last_user(sk, &mut account.owner);
    }
    let _ = OPENED.remove(&sk);
    if account.owner.pid == setting!(own_pid) {
        return;
    }
    match EVENTS.output::<Account>(&*account, NO_WAKEUP) {
        Ok(()) => count(Counter::AccountsSubmitted),
        Err(_) => count(Counter::AccountsRefused),
    }
}

/// Who was seen to send or receive on it.
#[inline(always)]
fn last_user(sk: u64, owner: &mut Owner) {
    // SAFETY: the value is copied out at once.
    if let Some(connection) = unsafe { CONNECTIONS.get(&identity(sk)) } {
        *owner = connection.owner;
    }
}

/// What a socket has done by now, in the scratch account of this CPU that is the caller's.
#[inline(always)]
fn made(scratch: u32, sk: u64) -> Option<&'static mut Account> {
    // SAFETY: the kernel runs no program within itself on one CPU.
    let account = unsafe { &mut *ACCOUNT.get_ptr_mut(scratch)? };
    account.socket = sk;
    account.time = now();
    account.flags = 0;
    remember(account, sk);
    let ipv6 = flow_into(&mut account.flow, sk)?;
    if ipv6 {
        account.flags |= ACCOUNT_IPV6;
    }
    // What remembers the port without its byte order is cleared before the end.
    account.flow.local_port = u16::from_be(field(sk, setting!(inet_sport))?);
    let number = |offset| field::<u32>(sk, offset).unwrap_or(0);
    let total = |offset| field::<u64>(sk, offset).unwrap_or(0);
    account.sent = total(setting!(tcp_bytes_sent)).saturating_sub(total(setting!(tcp_bytes_retrans)));
    account.received = total(setting!(tcp_bytes_received));
    if account.received > 0 && total(setting!(sk_flags)) & SOCK_DONE != 0 {
        account.received -= 1;
    }
    account.segments_sent = number(setting!(tcp_segs_out));
    account.segments_received = number(setting!(tcp_segs_in));
    account.retransmits = number(setting!(tcp_total_retrans));
    account.rtt_micros = number(setting!(tcp_srtt_us)) >> 3;
    account.error = number(setting!(sk_err));
    account.backlog = number(setting!(sk_ack_backlog));
    account.backlog_max = number(setting!(sk_max_ack_backlog));
    account.state = u32::from(field::<u8>(sk, setting!(sk_state)).unwrap_or(0));
    account.reserved = 0;
    Some(account)
}

/// What is known of how the socket began.
#[inline(always)]
fn remember(account: &mut Account, sk: u64) {
    // SAFETY: the value is read at once.
    if let Some(opened) = unsafe { OPENED.get(&sk) } {
        account.opened = opened.opened;
        account.established = opened.established;
        account.owner = opened.owner;
        account.flags = opened.flags;
    } else {
        account.opened = 0;
        account.established = 0;
        // The scratch holds the account before.
        account.owner = NOBODY;
    }
}

/// One open file of one process: written down if it is a TCP socket that listens or is connected.
#[inline(always)]
pub fn walked(ctx: *const TaskFile) {
    // SAFETY: the kernel calls with such a structure, and knows the types behind its pointers.
    let (seq, task, file) = unsafe {
        let meta = (&raw const (*ctx).meta).read_volatile();
        let seq = (&raw const (*meta).seq).read_volatile();
        let task = (&raw const (*ctx).task).read_volatile();
        (seq, task, (&raw const (*ctx).file).read_volatile())
    };
    if task == 0 || file == 0 {
        return;
    }
    let Some(sk) = socket_of(file).filter(|&sk| is_tcp(sk)) else { return };
    let state = field::<u8>(sk, setting!(sk_state)).unwrap_or(0);
    if i32::from(state) == CLOSE {
        return;
    }
    let Some(account) = made(WALKING, sk) else { return };
    if owned_by(&mut account.owner, task).is_none() || account.owner.pid == setting!(own_pid) {
        return;
    }
    let bytes: *const c_void = ptr::from_ref(account).cast();
    // SAFETY: the kernel gave `seq`, and the account is as long as is said. Without room the kernel
    // shows the file again at the next read.
    unsafe { bpf_seq_write(seq, bytes, size_of::<Account>() as u32) };
}

/// The process that a task belongs to.
#[inline(always)]
fn owned_by(owner: &mut Owner, task: u64) -> Option<()> {
    let leader: u64 = field(task, setting!(task_group_leader))?;
    owner.pid = field(task, setting!(task_tgid))?;
    owner.thread = owner.pid;
    owner.started = field(leader, setting!(task_start_boottime))?;
    owner.cgroup = 0;
    owner.comm = field(leader, setting!(task_comm))?;
    Some(())
}
