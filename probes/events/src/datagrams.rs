//! What passed by UDP, as the kernel counts it.
//!
//! Invariant: as all that crosses: no padding, and any bit pattern is valid.

/// Who has talked to whom; the key of the map `DATAGRAMS`. Of the two ports only the server's is part of it: the other
/// one is drawn by chance.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Talk {
    /// When the process started, in nanoseconds since boot.
    pub started: u64,
    /// The owner's address, in network order; zeros of a socket that is bound to none.
    pub local_addr: [u8; 16],
    /// The other end's.
    pub remote_addr: [u8; 16],
    /// The process; 0: [`Talk::ELSEWHERE`].
    pub pid: u32,
    /// Inode of the network namespace.
    pub netns: u32,
    /// The server's port; 0 where it is the other end's, and that is not known.
    pub port: u16,
    /// 1: the server is the other end.
    pub client: u16,
    /// Of IP: 4 or 6.
    pub version: u32,
}

/// How much; the value of the map `DATAGRAMS`, on each CPU.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Talked {
    /// Bytes of payload that were sent.
    pub sent: u64,
    /// Bytes of payload that were received.
    pub received: u64,
    /// Calls that have sent, each a datagram but where the kernel cuts it into several.
    pub datagrams_sent: u64,
    /// Datagrams that were received.
    pub datagrams_received: u64,
    /// The kernel's name of the process, which is its first thread's; zeros on a CPU where nothing has passed.
    pub comm: [u8; 16],
}

impl Talked {
    /// As it begins.
    pub const NOTHING: Self =
        Self { sent: 0, received: 0, datagrams_sent: 0, datagrams_received: 0, comm: [0; 16] };
}

/// Bytes of a key.
pub const TALK_BYTES: usize = size_of::<Talk>();
/// Bytes of a value.
pub const TALKED_BYTES: usize = size_of::<Talked>();

impl Talk {
    /// Stands for all that found no place of its own in the map.
    pub const ELSEWHERE: Self = Self {
        started: 0,
        local_addr: [0; 16],
        remote_addr: [0; 16],
        pid: 0,
        netns: 0,
        port: 0,
        client: 0,
        version: 0,
    };

    /// As it stands in the map.
    #[must_use]
    pub fn from_bytes(bytes: [u8; TALK_BYTES]) -> Self {
        // SAFETY: the sizes are equal, and any bit pattern is a `Talk`.
        unsafe { core::mem::transmute(bytes) }
    }

    /// As it stands in the map.
    #[must_use]
    pub fn to_bytes(self) -> [u8; TALK_BYTES] {
        // SAFETY: the sizes are equal, and a `Talk` has no padding.
        unsafe { core::mem::transmute(self) }
    }
}

const _: () = assert!(TALK_BYTES == 56, "no padding");
const _: () = assert!(TALKED_BYTES == 4 * 8 + 16, "no padding");
