//! What passes by UDP, counted by process and peer on each CPU.
//!
//! Invariant: a datagram counts once: under its own key, or, where that finds no place, under the entry that stands
//! for all others. User space makes that entry before any program is attached.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{LruHashMap, PerCpuArray, PerCpuHashMap};
use icecore_probe_events::{Flow, INBOUND, OUTBOUND, Talk, Talked};

use crate::call::{NOWHERE, Shape};
use crate::connect::{
    IPPROTO_UDP, field, flow_into, process_name_into, process_started, protocol,
};
use crate::datagram::receiver;
use crate::maps::{MADE, SCRATCH, SCRATCHES, setting};
use crate::record::Passed;
use crate::{MSG_ERRQUEUE, MSG_PEEK, task_call};

/// User space sets its size when it loads it.
#[map]
pub static DATAGRAMS: PerCpuHashMap<Talk, Talked> = PerCpuHashMap::with_max_entries(64, 0);
/// Where a key is made: the callers' stacks are full.
#[map]
static TALKS: PerCpuArray<Talk> = PerCpuArray::with_max_entries(SCRATCHES, 0);
/// From whom the datagram is that a task is about to be given, by the task.
#[map]
static SENDERS: LruHashMap<u64, Sender> = LruHashMap::with_max_entries(4096, 0);

/// Who has sent a datagram.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sender {
    /// The socket that has received it; 0: nothing is known of any.
    sk: u64,
    address: [u32; 4],
    /// In network order.
    port: u16,
    /// Of IP.
    version: u16,
    reserved: u32,
}

/// Bit of `sk->sk_userlocks`: its owner has chosen the port.
const BOUND_TO_PORT: u8 = 8;
/// Ports from here on are drawn by chance, unless somebody has set it otherwise.
const CHANCE_MIN: u16 = 32_768;
/// Makes an entry only where there is none.
const NEW: u64 = 1;

/// The kernel tells from whom a datagram is, as it gives it to a task that has asked.
#[inline(always)]
pub fn sender_told(ctx: *const bpf_sock_addr, version: u16) {
    // SAFETY: the kernel calls with such a structure, and reads these fields of it in place of the program.
    let sender = unsafe {
        let sk = (&raw const (*ctx).__bindgen_anon_1.sk).read_volatile();
        let port = (&raw const (*ctx).user_port).read_volatile() as u16;
        let mut address = [0_u32; 4];
        if version == 4 {
            address[0] = (&raw const (*ctx).user_ip4).read_volatile();
        } else {
            let mut index = 0;
            while index < 4 {
                address[index] = (&raw const (*ctx).user_ip6[index]).read_volatile();
                index += 1;
            }
        }
        Sender { sk: sk as u64, address, port, version, reserved: 0 }
    };
    // SAFETY: always allowed.
    let task = unsafe { bpf_get_current_task() };
    match SENDERS.get_ptr_mut(&task) {
        // SAFETY: the pointer is valid while the program runs, and a task is in one place at a time.
        Some(known) => unsafe { *known = sender },
        // Without a place the peer of one datagram is not known.
        None => drop(SENDERS.insert(&task, &sender, 0)),
    }
}

/// Counts what a call has sent or received by UDP, as it stands in this scratch record. The verifier goes through
/// this once, apart from its callers.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn talked(scratch: u32) -> u64 {
    let (Some(place), Some(made)) = (SCRATCH.get_ptr_mut(scratch), MADE.get_ptr_mut(scratch)) else {
        return 0;
    };
    let Some(key) = TALKS.get_ptr_mut(scratch) else { return 0 };
    // SAFETY: all three are the caller's while the program runs.
    let (passed, flow, key) = unsafe { (&(*place).passed, &mut (*made).flow, &mut *key) };
    let sent = passed.direction == u32::from(OUTBOUND);
    let Some(ipv6) = flow_into(flow, passed.sk) else { return 0 };
    let mut version = if ipv6 { 6 } else { 4 };
    if passed.name != 0 {
        version = receiver(flow, passed.name).unwrap_or(version);
    } else if !sent && flow.remote_port == 0 {
        version = sender_into(key, passed.sk).map_or(version, |(port, version)| {
            flow.remote_port = port;
            flow.remote_addr = key.remote_addr;
            version
        });
    }
    key.started = process_started().unwrap_or(0);
    key.local_addr = flow.local_addr;
    key.remote_addr = flow.remote_addr;
    key.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    key.netns = flow.netns;
    let client = is_client(flow, passed.sk);
    key.client = u16::from(client);
    key.port = if client { flow.remote_port } else { flow.local_port };
    key.version = version;
    let bytes = passed.bytes;
    if !add(key, bytes, sent) {
        let _ = DATAGRAMS.insert(&*key, &Talked::NOTHING, NEW);
        if !add(key, bytes, sent) {
            add(&Talk::ELSEWHERE, bytes, sent);
        }
    }
    0
}

/// A socket whose port was drawn by chance asks. One that was bound to its port may ask as well, at a lower one: as
/// resolvers draw theirs by themselves. Where the other end's was drawn by chance, and is one of several, it answers.
#[inline(always)]
fn is_client(flow: &Flow, sk: u64) -> bool {
    let bits = setting!(sk_userlocks_bits);
    let locks = field::<u8>(sk, bits / 8).unwrap_or(0) >> (bits % 8);
    if locks & BOUND_TO_PORT == 0 {
        return true;
    }
    let connected = field::<u16>(sk, setting!(sk_dport)).unwrap_or(0) != 0;
    let by_chance = flow.remote_port >= CHANCE_MIN && !connected;
    flow.remote_port != 0 && flow.remote_port < flow.local_port && !by_chance
}

/// Writes down from whom the datagram is that was just received here; its port and the version of IP. It is told
/// once.
#[inline(always)]
fn sender_into(key: &mut Talk, sk: u64) -> Option<(u16, u32)> {
    // SAFETY: always allowed.
    let task = unsafe { bpf_get_current_task() };
    let known = SENDERS.get_ptr_mut(&task)?;
    // SAFETY: the pointer is valid while the program runs, and a task is in one place at a time.
    let sender = unsafe { &mut *known };
    if sender.sk != sk {
        return None;
    }
    sender.sk = 0;
    let words = (&raw mut key.remote_addr).cast::<u32>();
    let mut index = 0;
    while index < 4 {
        // SAFETY: within the address, which begins where a word may.
        unsafe { words.add(index).write_volatile(sender.address[index]) };
        index += 1;
    }
    Some((u16::from_be(sender.port), u32::from(sender.version)))
}

/// True where there is such an entry.
#[inline(always)]
fn add(key: &Talk, bytes: u64, sent: bool) -> bool {
    let Some(talked) = DATAGRAMS.get_ptr_mut(key) else { return false };
    // SAFETY: the pointer is valid while the program runs, and only this CPU writes here.
    let talked = unsafe { &mut *talked };
    if talked.comm[0] == 0 {
        process_name_into(&mut talked.comm);
    }
    if sent {
        talked.sent += bytes;
        talked.datagrams_sent += 1;
    } else {
        talked.received += bytes;
        talked.datagrams_received += 1;
    }
    true
}

/// A call has moved no bytes: on a socket of UDP that may be a datagram all the same. `flags` are those of a call
/// that receives.
#[inline(always)]
pub fn empty(sk: u64, flags: u64, direction: u8, scratch: u32) {
    if flags & (MSG_PEEK | MSG_ERRQUEUE) != 0 {
        return;
    }
    let Some(place) = SCRATCH.get_ptr_mut(scratch) else { return };
    let direction = u32::from(direction);
    let passed = Passed { sk, source: NOWHERE, bytes: 0, name: 0, direction, flags: 0, tcp: 0, by_ring: 0 };
    // SAFETY: the scratch record is the caller's while the program runs.
    unsafe { (*place).passed = passed };
    talked_empty(scratch);
}

// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn talked_empty(scratch: u32) -> u64 {
    let Some(place) = SCRATCH.get_ptr_mut(scratch) else { return 0 };
    // SAFETY: the scratch record is the caller's while the program runs.
    let passed = unsafe { &mut (*place).passed };
    let own = (bpf_get_current_pid_tgid() >> 32) as u32;
    if own == setting!(own_pid) || protocol(passed.sk) != IPPROTO_UDP {
        return 0;
    }
    let call = task_call();
    let name = match call.shape() {
        Some((way, _)) if u32::from(way) != passed.direction => 0,
        // The next one of the call is not at this place, whoever counts this one.
        Some((_, Shape::Messages)) => call.next_message(0).1,
        Some((_, shape)) => call.name(shape),
        None => 0,
    };
    if setting!(datagrams) == 0 {
        return 0;
    }
    if passed.direction != u32::from(INBOUND) {
        passed.name = name;
    }
    talked(scratch)
}
