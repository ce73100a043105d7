//! What the kernel has thrown away of TCP's segments.
//!
//! Invariant: as all that crosses: no padding, and any bit pattern is valid.

/// What thrown away segments have in common; the key of the map `DROPS`, whose values count them.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dropped {
    /// Who has sent it, in network order.
    pub source: [u8; 16],
    /// To whom.
    pub destination: [u8; 16],
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// Inode of the network namespace of the device that it was on; 0: of none.
    pub netns: u32,
    /// Why, as the kernel that runs numbers it.
    pub reason: u32,
    /// Of IP: 4 or 6; 0: [`Dropped::ELSEWHERE`].
    pub version: u32,
}

/// Bytes of a key.
pub const DROPPED_BYTES: usize = size_of::<Dropped>();

impl Dropped {
    /// Stands for all that found no place of its own in the map.
    pub const ELSEWHERE: Self = Self {
        source: [0; 16],
        destination: [0; 16],
        source_port: 0,
        destination_port: 0,
        netns: 0,
        reason: 0,
        version: 0,
    };

    /// As it stands in the map.
    #[must_use]
    pub fn from_bytes(bytes: [u8; DROPPED_BYTES]) -> Self {
        // SAFETY: the sizes are equal, and any bit pattern is a `Dropped`.
        unsafe { core::mem::transmute(bytes) }
    }

    /// As it stands in the map.
    #[must_use]
    pub fn to_bytes(self) -> [u8; DROPPED_BYTES] {
        // SAFETY: the sizes are equal, and a `Dropped` has no padding.
        unsafe { core::mem::transmute(self) }
    }
}

/// Where the kernel program finds what it reads, in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DropSettings {
    /// `sk_buff.head`
    pub skb_head: u32,
    /// `sk_buff.network_header`
    pub skb_network_header: u32,
    /// `sk_buff.protocol`
    pub skb_protocol: u32,
    /// `sk_buff.dev`
    pub skb_dev: u32,
    /// `net_device.nd_net.net`
    pub dev_net: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
}

impl DropSettings {
    /// As the kernel program will read them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: `DropSettings` is made of numbers without padding between them.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

const _: () = assert!(DROPPED_BYTES == 48, "no padding");
const _: () = assert!(size_of::<DropSettings>() == 6 * 4, "no padding");
