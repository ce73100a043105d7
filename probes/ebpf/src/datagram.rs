//! Datagrams to and from the domain name system, whatever the port.
//!
//! Invariant: a datagram is copied only if it begins as a question or an answer does; any other is
//! counted and left alone, and nothing is remembered of the socket.

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_probe_read_user, generated};
use icecore_probe_events::{Connection, FLAG_DATAGRAM, FLAG_IPV6, Flow, OUTBOUND, VERDICT_COPY};

use crate::call::{Source, stretch};
use crate::connect::{clear, flow_into};
use crate::copy::opaque;
use crate::maps::MADE;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// The head of a message, and the shortest question.
const MESSAGE_BYTES_MIN: u64 = 12 + 5;
/// Longer messages are not sent in datagrams.
const MESSAGE_BYTES_MAX: u64 = 1 << 13;

/// `struct sockaddr_in6`
#[repr(C)]
#[derive(Clone, Copy)]
struct Name {
    family: u16,
    port: u16,
    flow_info: u32,
    v6: [u8; 16],
}

/// What stands for a connection while a datagram is copied, in the place of this scratch record; none for
/// one that is not.
#[inline(always)]
pub fn entry(
    sk: u64,
    direction: u8,
    source: Source,
    moved: u64,
    name: u64,
    scratch: u32,
) -> Option<*mut Connection> {
    if moved < MESSAGE_BYTES_MIN || moved > MESSAGE_BYTES_MAX || !is_dns(source, moved) {
        return None;
    }
    // What is received says from whom only when it has reached the caller.
    let name = if direction == OUTBOUND { name } else { 0 };
    if prepare(sk, name, scratch) == 0 {
        return None;
    }
    MADE.get_ptr_mut(scratch)
}

/// Makes the entry: 1 where it is ready. Not inlined: the caller's stack is full.
#[inline(never)]
fn prepare(sk: u64, name: u64, scratch: u32) -> u64 {
    let Some(entry) = MADE.get_ptr_mut(scratch) else { return 0 };
    // SAFETY: the entry is the caller's while the program runs.
    let entry = unsafe { &mut *entry };
    let Some(ipv6) = flow_into(&mut entry.flow, sk) else { return 0 };
    entry.flags = FLAG_DATAGRAM | if ipv6 { FLAG_IPV6 } else { 0 };
    // SAFETY: always allowed.
    entry.generation = unsafe { bpf_ktime_get_ns() };
    entry.passed = [0; 2];
    // So that the owner is looked up.
    entry.owner.pid = 0;
    entry.verdict = VERDICT_COPY;
    if entry.flow.remote_port == 0 && name != 0 {
        receiver(&mut entry.flow, name);
    }
    1
}

/// The first bytes of a datagram, and how many of them there are. They may lie in two stretches: the
/// head of a message apart from the rest of it. (For streams the verifier has no patience left.)
#[inline(always)]
fn head(source: Source, moved: u64) -> Option<([u8; 8], u64)> {
    if source.len > 0 || source.vector_len == 0 {
        let (head, known) = beginning(source.at, source.len.min(moved))?;
        return (known > 0).then_some((head.to_ne_bytes(), known));
    }
    let first = stretch(source.vector, source.width)?;
    let (mut head, mut known) = beginning(first.at, first.len.min(moved))?;
    if known < 8 && source.vector_len > 1 && moved > known {
        let second = stretch(source.vector + 2 * source.width, source.width)?;
        let (more, behind) = beginning(second.at, second.len.min(moved - known))?;
        head |= more << (8 * known);
        known = (known + behind).min(8);
    }
    (known > 0).then_some((head.to_ne_bytes(), known))
}

/// Up to eight bytes of a stretch of this length, the first one lowest, and how many they are.
#[inline(always)]
fn beginning(at: u64, len: u64) -> Option<(u64, u64)> {
    let mut bytes = 0_u64;
    if len >= 8 {
        // SAFETY: the helper checks the address.
        let bytes = unsafe { bpf_probe_read_user(at as *const u64) }.ok()?;
        return Some((bytes, 8));
    }
    let size = opaque(len) & 7;
    if size == 0 {
        return Some((0, 0));
    }
    // SAFETY: at most 7 bytes go into 8; the helper checks the address.
    let result = unsafe {
        let to = (&raw mut bytes).cast();
        generated::bpf_probe_read_user(to, size as u32, at as *const _)
    };
    (result == 0).then_some((bytes, size))
}

/// As a message begins: a plain query or its answer, about one name.
#[inline(always)]
fn is_dns(source: Source, moved: u64) -> bool {
    let Some(([_, _, flags, more, high, low, answers, _], 8)) = head(source, moved) else {
        return false;
    };
    let plain = flags & 0x78 == 0 && more & 0x40 == 0;
    plain && high == 0 && low == 1 && answers < 4 && (flags & 0x80 != 0 || answers == 0)
}

/// Takes the other end's address from where the caller has named it; the version of IP, where it is one. An answer
/// says so; a question is known by it.
#[inline(always)]
pub fn receiver(flow: &mut Flow, name: u64) -> Option<u32> {
    // SAFETY: the helper checks the address.
    let family = unsafe { bpf_probe_read_user(name as *const u16) }.ok()?;
    if family == AF_INET {
        // SAFETY: the helper checks the address.
        let [_, port, address @ ..] =
            unsafe { bpf_probe_read_user(name as *const [u16; 4]) }.ok()?;
        clear(&mut flow.remote_addr);
        flow.remote_port = u16::from_be(port);
        let [a, b] = address;
        let ([a, b], [c, d]) = (a.to_ne_bytes(), b.to_ne_bytes());
        [flow.remote_addr[0], flow.remote_addr[1], flow.remote_addr[2], flow.remote_addr[3]] =
            [a, b, c, d];
        return Some(4);
    }
    if family == AF_INET6 {
        // SAFETY: the helper checks the address.
        let name = unsafe { bpf_probe_read_user(name as *const Name) }.ok()?;
        flow.remote_port = u16::from_be(name.port);
        flow.remote_addr = name.v6;
        return Some(6);
    }
    None
}
