//! The records that cross from kernel to user space, and the settings that cross the other way.
//!
//! Invariant: both sides read the same bytes in the same way: every type is `repr(C)`, has no
//! padding, any bit pattern of it is valid, and its size is asserted here.
#![no_std]
#![deny(missing_docs)]

/// What is copied into one record at most; longer calls take several.
pub const PIECE_BYTES_MAX: usize = 16 << 10;

/// The owner received the bytes.
pub const INBOUND: u8 = 0;
/// The owner sent the bytes.
pub const OUTBOUND: u8 = 1;

/// The connection's bytes are known from its first one.
pub const FLAG_FROM_START: u8 = 1;
/// Addresses are IPv6 (or IPv4 in IPv6), else the first four bytes of each count.
pub const FLAG_IPV6: u8 = 2;

/// Who is connected to whom; filled when a connection is first seen.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The owner's address, in network order.
    pub local_addr: [u8; 16],
    /// The other end's address, in network order.
    pub remote_addr: [u8; 16],
    /// The owner's port.
    pub local_port: u16,
    /// The other end's port.
    pub remote_port: u16,
    /// Inode of the network namespace.
    pub netns: u32,
}

/// The process that last used a socket.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The process (thread group).
    pub pid: u32,
    /// Its thread that made the call.
    pub thread: u32,
    /// When the process started, in nanoseconds since boot; 0 when unknown.
    pub started: u64,
    /// Its cgroup (v2) id.
    pub cgroup: u64,
    /// The kernel's name of the thread.
    pub comm: [u8; 16],
}

/// Goes before the payload of each record in the data ring.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Identity of the socket: its cookie, or its address where it has none.
    pub connection: u64,
    /// When the kernel program began to follow this connection, monotonic clock in nanoseconds;
    /// tells apart connections that had the same identity one after the other.
    pub generation: u64,
    /// When the call returned, monotonic clock in nanoseconds.
    pub time: u64,
    /// Bytes of this direction that passed before this piece, since `generation`.
    pub position: u64,
    /// Bytes that passed right after the payload and were not copied.
    pub omitted: u64,
    /// Who made the call.
    pub owner: Owner,
    /// Who is connected to whom.
    pub flow: Flow,
    /// Bytes that follow.
    pub captured: u32,
    /// [`INBOUND`] or [`OUTBOUND`].
    pub direction: u8,
    /// [`FLAG_FROM_START`], [`FLAG_IPV6`].
    pub flags: u8,
    /// Always 0.
    pub reserved: [u8; 2],
}

/// A record in the control ring: a connection has ended.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// As in [`Piece::connection`].
    pub connection: u64,
    /// As in [`Piece::generation`].
    pub generation: u64,
    /// When it ended, monotonic clock in nanoseconds.
    pub time: u64,
    /// 1: reset or failed; 0: closed.
    pub reset: u32,
    /// Always 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Flow>() == 40, "no padding");
const _: () = assert!(size_of::<Owner>() == 40, "no padding");
const _: () = assert!(size_of::<Piece>() == 128, "no padding");
const _: () = assert!(size_of::<End>() == 32, "no padding");
