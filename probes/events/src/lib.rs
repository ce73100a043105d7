//! The records that cross from kernel to user space, and the settings that cross the other way.
//!
//! Invariant: both sides read the same bytes in the same way: every type is `repr(C)`, has no
//! padding, any bit pattern of it is valid, and its size is asserted here.
#![no_std]
#![deny(missing_docs)]

mod counter;
mod datagrams;
mod drops;
mod process;
mod ring;
mod sample;
pub mod shape;

pub use counter::{COUNTERS, Counter};
pub use datagrams::{TALK_BYTES, TALKED_BYTES, Talk, Talked};
pub use drops::{DROPPED_BYTES, DropSettings, Dropped};
pub use process::{PROCESS_ENDED, PROCESS_OUT_OF_MEMORY, PROCESS_RUNS, ProcessEvent};
pub use ring::RingSettings;
pub use sample::{
    KERNEL_FRAMES_MAX, ProfileSettings, SAMPLE_COUNTERS, STACK_BYTES_MAX, Sample, SampleCounter,
    Sampled,
};

/// What is copied into one record at most; longer calls take several. A power of two.
pub const PIECE_BYTES_MAX: usize = 8 << 10;

/// The owner received the bytes.
pub const INBOUND: u8 = 0;
/// The owner sent the bytes.
pub const OUTBOUND: u8 = 1;

/// The connection is known from its first byte.
pub const FLAG_FROM_START: u32 = 1;
/// Addresses are IPv6 (or IPv4 in IPv6), else the first four bytes of each count.
pub const FLAG_IPV6: u32 = 2;
/// The connection was reset, or an error ended it.
pub const FLAG_RESET: u32 = 4;
/// Of a piece: copied so that user space can tell the protocol, and not for good.
pub const FLAG_LOOKING: u32 = 8;
/// The bytes are what passed inside TLS, taken from the library that encrypts; the connection is the
/// inside of another one, see [`PLAIN`].
pub const FLAG_PLAIN: u32 = 16;
/// The connection carries TLS: a piece holds records of the handshake as they passed on the wire, and
/// what passes behind them is not copied.
pub const FLAG_TLS: u32 = 32;

/// What is inside a TLS connection is followed as a connection of its own, whose identity is that of
/// the socket with this bit turned over: no cookie and no kernel address gives another one's.
pub const PLAIN: u64 = 1 << 62;

/// Of a piece: a datagram, which is a connection of its own.
pub const FLAG_DATAGRAM: u32 = 64;

/// Of a piece that was received: the descriptor blocks, so that the thread itself has waited for these
/// bytes, and runs what comes of them.
pub const FLAG_WAITS: u32 = 128;

/// Of a piece: `Owner::thread` is not a thread but the goroutine that has moved the bytes, or that has others send them for
/// it: the lower half of a sixty-fourth of where the runtime of Go keeps it.
pub const FLAG_GOROUTINE: u32 = 256;

/// Nobody has told the protocol yet: the first bytes are copied, and behind them calls that may
/// begin a request.
pub const VERDICT_UNDECIDED: u32 = 0;
/// Calls are copied.
pub const VERDICT_COPY: u32 = 1;
/// Nothing can be learnt from this connection: calls are only counted.
pub const VERDICT_IGNORE: u32 = 2;
/// What has passed so far is not understood: only calls that may begin a request are copied.
pub const VERDICT_WATCH: u32 = 3;
/// It carries TLS: the beginning of the handshake is copied, and nothing behind it.
pub const VERDICT_TLS: u32 = 4;

/// Who is connected to whom.
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
    /// The process (thread group); 0 while no call was seen.
    pub pid: u32,
    /// Its thread that made the call; of a piece with [`FLAG_GOROUTINE`], the goroutine.
    pub thread: u32,
    /// When the process started, in nanoseconds since boot; 0 when unknown.
    pub started: u64,
    /// Its cgroup (v2) id.
    pub cgroup: u64,
    /// The kernel's name of the thread.
    pub comm: [u8; 16],
}

/// What the kernel programs remember of a connection; the value of the map `CONNECTIONS`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// When it was first seen, monotonic clock in nanoseconds; tells apart connections that had
    /// the same identity one after the other.
    pub generation: u64,
    /// Bytes that passed since then, by direction.
    pub passed: [u64; 2],
    /// Who last used it.
    pub owner: Owner,
    /// Who is connected to whom.
    pub flow: Flow,
    /// `VERDICT_…`
    pub verdict: u32,
    /// `FLAG_…`
    pub flags: u32,
    /// Bytes that were copied before the protocol was told, or of the TLS handshake.
    pub looked: u32,
    /// Always 0.
    pub reserved: u32,
    /// TCP's numbers of the first byte that is counted here each way, received and sent; the other end
    /// numbers it alike, whatever translates addresses in between.
    pub sequences: [u32; 2],
}

/// What the kernel programs remember of the life of a TCP socket; the value of the map `OPENED`, by the
/// socket's address.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// When it began to connect, or was accepted by the kernel; monotonic clock in nanoseconds.
    pub opened: u64,
    /// When it was established; 0: not yet.
    pub established: u64,
    /// Who connected or closed it; pid 0 while neither was seen.
    pub owner: Owner,
    /// `ACCOUNT_…`
    pub flags: u32,
    /// Always 0.
    pub reserved: u32,
}

/// The owner of a socket connected it.
pub const ACCOUNT_CLIENT: u32 = 1;
/// The owner of a socket accepted it.
pub const ACCOUNT_SERVER: u32 = 2;
/// The owner was the first to stop sending.
pub const ACCOUNT_CLOSED_HERE: u32 = 4;
/// The other end was the first to stop sending.
pub const ACCOUNT_CLOSED_THERE: u32 = 8;
/// Addresses are IPv6 (or IPv4 in IPv6), else the first four bytes of each count.
pub const ACCOUNT_IPV6: u32 = 16;

/// What a TCP socket has done since it was made: in the ring `EVENTS` when its connection ends, and one
/// for each open socket when all of them are walked over.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The socket's address: no two have the same at a time.
    pub socket: u64,
    /// Now, monotonic clock in nanoseconds.
    pub time: u64,
    /// As in [`Opened::opened`]; 0: before the agent came.
    pub opened: u64,
    /// As in [`Opened::established`]; 0: never, or before the agent came.
    pub established: u64,
    /// Bytes of payload that were sent, those sent again not counted again.
    pub sent: u64,
    /// Bytes of payload that were received.
    pub received: u64,
    /// Who owns it; pid 0 where nobody is known to.
    pub owner: Owner,
    /// Who is connected to whom.
    pub flow: Flow,
    /// Segments that were sent, with and without payload.
    pub segments_sent: u32,
    /// Segments that were received, with and without payload.
    pub segments_received: u32,
    /// Segments that were sent again.
    pub retransmits: u32,
    /// The smoothed round trip time in microseconds; 0: not measured.
    pub rtt_micros: u32,
    /// The socket's error, an `errno`; 0: none.
    pub error: u32,
    /// Of a socket that listens: connections that wait to be accepted.
    pub backlog: u32,
    /// Of a socket that listens: how many may.
    pub backlog_max: u32,
    /// `ACCOUNT_…`
    pub flags: u32,
    /// The socket's state as the kernel numbers them; of one that has ended, the one before.
    pub state: u32,
    /// Always 0.
    pub reserved: u32,
}

/// What user space found out of a connection; the value of the map `VERDICTS`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// As in [`Connection::generation`]; of another one it is out of date.
    pub generation: u64,
    /// `VERDICT_…`
    pub verdict: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Goes before the payload of each record in the ring `DATA`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Identity of the socket: its cookie, or its address where it has none.
    pub connection: u64,
    /// As in [`Connection::generation`].
    pub generation: u64,
    /// When the call returned, monotonic clock in nanoseconds.
    pub time: u64,
    /// Bytes of this direction that passed before this piece, since `generation`.
    pub position: u64,
    /// Bytes of the other direction that passed before this piece, since `generation`.
    pub position_other: u64,
    /// Bytes that passed right after the payload and were not copied.
    pub omitted: u64,
    /// Who made the call.
    pub owner: Owner,
    /// Who is connected to whom.
    pub flow: Flow,
    /// As in [`Connection::sequences`].
    pub sequences: [u32; 2],
    /// Bytes that follow.
    pub captured: u16,
    /// [`INBOUND`] or [`OUTBOUND`].
    pub direction: u16,
    /// `FLAG_…`
    pub flags: u32,
}

/// A connection has ended: in the ring `DATA` behind its last piece, or in the ring `CONTROL` when
/// the other was full. Told from a piece by its length.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// As in [`Piece::connection`].
    pub connection: u64,
    /// As in [`Piece::generation`].
    pub generation: u64,
    /// When it ended, monotonic clock in nanoseconds.
    pub time: u64,
    /// As in [`Connection::passed`]: more than the pieces told of when the last of them were lost.
    pub passed: [u64; 2],
    /// `FLAG_…`
    pub flags: u32,
    /// Always 0.
    pub reserved: u32,
}

/// What the kernel programs are told when they are loaded; offsets are in bytes and come from
/// the type information of the running kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// The agent's own process: its calls are filtered.
    pub own_pid: u32,
    /// What is copied of one call.
    pub call_bytes_max: u32,
    /// What is copied of a connection before its protocol is told.
    pub look_bytes_max: u32,
    /// What is copied of a TLS handshake, both ways together.
    pub handshake_bytes_max: u32,
    /// 1: calls into TLS libraries are tied to the sockets that they use.
    pub tls: u32,
    /// Bytes in the data ring that wake the agent.
    pub wake_bytes: u32,
    /// Bytes in the data ring beyond which only the first piece of a call is copied, so that there
    /// is room for the heads of others.
    pub crowded_bytes: u32,
    /// `sock.__sk_common.skc_family`
    pub sk_family: u32,
    /// `sock.__sk_common.skc_daddr`
    pub sk_daddr: u32,
    /// `sock.__sk_common.skc_rcv_saddr`
    pub sk_rcv_saddr: u32,
    /// `sock.__sk_common.skc_dport`
    pub sk_dport: u32,
    /// `sock.__sk_common.skc_num`
    pub sk_num: u32,
    /// `sock.__sk_common.skc_net`
    pub sk_net: u32,
    /// `sock.__sk_common.skc_v6_daddr`; 0 where the kernel has no IPv6
    pub sk_v6_daddr: u32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`; 0 where the kernel has no IPv6
    pub sk_v6_rcv_saddr: u32,
    /// `sock.__sk_common.skc_cookie`
    pub sk_cookie: u32,
    /// `sock.sk_protocol`
    pub sk_protocol: u32,
    /// `sock.sk_shutdown`
    pub sk_shutdown: u32,
    /// `sock.sk_userlocks`, in bits
    pub sk_userlocks_bits: u32,
    /// `sock.sk_err`
    pub sk_err: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.start_boottime`
    pub task_start_boottime: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.max_fds`
    pub fdt_max_fds: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `file.private_data`
    pub file_private_data: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// 1: what TCP sockets do is accounted for.
    pub accounts: u32,
    /// `sock.__sk_common.skc_state`
    pub sk_state: u32,
    /// `sock.__sk_common.skc_flags`
    pub sk_flags: u32,
    /// `sock.sk_ack_backlog`
    pub sk_ack_backlog: u32,
    /// `sock.sk_max_ack_backlog`
    pub sk_max_ack_backlog: u32,
    /// `inet_sock.inet_sport`
    pub inet_sport: u32,
    /// `tcp_sock.bytes_sent`
    pub tcp_bytes_sent: u32,
    /// `tcp_sock.bytes_retrans`
    pub tcp_bytes_retrans: u32,
    /// `tcp_sock.bytes_received`
    pub tcp_bytes_received: u32,
    /// `tcp_sock.segs_out`
    pub tcp_segs_out: u32,
    /// `tcp_sock.segs_in`
    pub tcp_segs_in: u32,
    /// `tcp_sock.total_retrans`
    pub tcp_total_retrans: u32,
    /// `tcp_sock.srtt_us`
    pub tcp_srtt_us: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `task_struct.flags`
    pub task_flags: u32,
    /// `task_struct.exit_code`
    pub task_exit_code: u32,
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `signal_struct.live`
    pub signal_live: u32,
    /// `signal_struct.flags`
    pub signal_flags: u32,
    /// `signal_struct.group_exit_code`
    pub signal_group_exit_code: u32,
    /// `signal_struct.oom_mm`
    pub signal_oom_mm: u32,
    /// `linux_binprm.filename`
    pub binprm_filename: u32,
    /// `tcp_sock.snd_una`
    pub tcp_snd_una: u32,
    /// `tcp_sock.bytes_acked`
    pub tcp_bytes_acked: u32,
    /// `tcp_sock.write_seq`
    pub tcp_write_seq: u32,
    /// `tcp_sock.copied_seq`
    pub tcp_copied_seq: u32,
    /// `file.f_flags`
    pub file_flags: u32,
    /// What passes by UDP is counted by so many processes and peers; 0: not at all.
    pub datagrams: u32,
    /// `task_struct.thread_info.status`, where the processor is an x86
    pub task_status: u32,
}

impl Settings {
    /// As the kernel programs will read them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: `Settings` is made of numbers without padding between them.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

/// A record of either ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// Bytes that passed, and what was copied of them.
    Piece(Piece, &'a [u8]),
    /// A connection has ended.
    End(End),
}

impl<'a> Record<'a> {
    /// Reads a record as the kernel programs wrote it; none when its length fits no kind.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() == size_of::<End>() {
            // SAFETY: the length was checked, and any bit pattern is an `End`.
            return Some(Self::End(unsafe { bytes.as_ptr().cast::<End>().read_unaligned() }));
        }
        let (head, payload) = bytes.split_at_checked(size_of::<Piece>())?;
        // SAFETY: `head` is as long as a `Piece`, any bit pattern of which is valid.
        let piece = unsafe { head.as_ptr().cast::<Piece>().read_unaligned() };
        let captured = payload.split_at_checked(usize::from(piece.captured))?.0;
        Some(Self::Piece(piece, captured))
    }
}

impl Account {
    /// Reads an account as the kernel programs wrote it; none when its length is not that of one.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        // SAFETY: the length is checked, and any bit pattern is an `Account`.
        (bytes.len() == size_of::<Self>())
            .then(|| unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}

impl Told {
    /// As it stands in the map.
    #[must_use]
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        // SAFETY: the sizes are equal, and a `Told` has no padding.
        unsafe { core::mem::transmute(self) }
    }
}

impl Connection {
    /// As it stands in the map.
    #[must_use]
    pub fn from_bytes(bytes: [u8; size_of::<Self>()]) -> Self {
        // SAFETY: the sizes are equal, and any bit pattern is a `Connection`.
        unsafe { core::mem::transmute(bytes) }
    }

    /// As it stands in the map.
    #[must_use]
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        // SAFETY: the sizes are equal, and a `Connection` has no padding.
        unsafe { core::mem::transmute(self) }
    }
}

const _: () = assert!(size_of::<Flow>() == 40, "no padding");
const _: () = assert!(size_of::<Owner>() == 40, "no padding");
const _: () = assert!(size_of::<Connection>() == 128, "no padding");
const _: () = assert!(size_of::<Told>() == 16, "no padding");
const _: () = assert!(size_of::<Piece>() == 144, "no padding");
const _: () = assert!(size_of::<End>() == 48, "no padding");
const _: () = assert!(size_of::<Opened>() == 64, "no padding");
const _: () = assert!(size_of::<Account>() == 168, "no padding");
const _: () = assert!(size_of::<Settings>() == 62 * 4, "no padding");
const _: () = assert!(PIECE_BYTES_MAX.is_power_of_two() && PIECE_BYTES_MAX <= 1 << 14, "fits u16");
