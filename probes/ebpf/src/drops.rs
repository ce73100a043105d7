//! Segments of TCP that the kernel throws away, counted by flow and reason, on each CPU.
//!
//! Invariant: a segment counts once: under its own flow, or, where that finds no place, under the entry
//! that stands for all others. User space makes that entry before the program is attached.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuHashMap;
use icecore_probe_events::{DropSettings, Dropped};

use crate::connect::{IPPROTO_TCP, field};

/// User space sets its size when it loads it.
#[map]
pub static DROPS: PerCpuHashMap<Dropped, u64> = PerCpuHashMap::with_max_entries(64, 0);

/// User space puts the offsets in place of these zeros before the program is loaded.
#[unsafe(no_mangle)]
// SAFETY: every field is a number.
pub static DROPPING: DropSettings = unsafe { core::mem::zeroed() };

macro_rules! at {
    ($field:ident) => {
        // SAFETY: the field of a static is always readable.
        unsafe { core::ptr::read_volatile(&raw const DROPPING.$field) }
    };
}

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
/// Makes an entry only where there is none.
const NEW: u64 = 1;

/// A packet is thrown away. `skb`: a `struct sk_buff`.
#[inline(always)]
pub fn dropped(skb: u64, reason: u32) {
    let mut key = Dropped::ELSEWHERE;
    if read(skb, &mut key).is_none() {
        return;
    }
    key.reason = reason;
    key.netns = netns(skb).unwrap_or(0);
    if !count(&key) && DROPS.insert(&key, &1, NEW).is_err() && !count(&key) {
        count(&Dropped::ELSEWHERE);
    }
}

/// True where there is such an entry.
#[inline(always)]
fn count(key: &Dropped) -> bool {
    let Some(count) = DROPS.get_ptr_mut(key) else { return false };
    // SAFETY: the pointer is valid while the program runs, and only this CPU writes here.
    unsafe { *count += 1 };
    true
}

/// The flow of a segment; none of what is none, or is the later part of one.
#[inline(always)]
fn read(skb: u64, key: &mut Dropped) -> Option<()> {
    let protocol = u16::from_be(field(skb, at!(skb_protocol))?);
    let head: u64 = field(skb, at!(skb_head))?;
    let start = head + u64::from(field::<u16>(skb, at!(skb_network_header))?);
    let ports_at = if protocol == ETH_P_IP {
        let ip: [u8; 20] = field(start, 0)?;
        if ip[0] >> 4 != 4 || u16::from(ip[9]) != IPPROTO_TCP || ip[6] & 0x1f != 0 || ip[7] != 0 {
            return None;
        }
        [key.source[0], key.source[1], key.source[2], key.source[3]] = [ip[12], ip[13], ip[14], ip[15]];
        [key.destination[0], key.destination[1], key.destination[2], key.destination[3]] =
            [ip[16], ip[17], ip[18], ip[19]];
        key.version = 4;
        u64::from(ip[0] & 0xf) * 4
    } else if protocol == ETH_P_IPV6 {
        let fixed: [u8; 8] = field(start, 0)?;
        if fixed[0] >> 4 != 6 || u16::from(fixed[6]) != IPPROTO_TCP {
            return None;
        }
        key.source = field(start, 8)?;
        key.destination = field(start, 24)?;
        key.version = 6;
        40
    } else {
        return None;
    };
    let [source, destination]: [u16; 2] = field(start + ports_at, 0)?;
    key.source_port = u16::from_be(source);
    key.destination_port = u16::from_be(destination);
    Some(())
}

/// The network namespace of the device that it was on.
#[inline(always)]
fn netns(skb: u64) -> Option<u32> {
    let device: u64 = field(skb, at!(skb_dev)).filter(|device| *device != 0)?;
    let net: u64 = field(device, at!(dev_net))?;
    field(net, at!(net_inum))
}
