//! Figures of the kernel programs.
//!
//! Invariant: user space finds each by the number that the kernel counts it under.

/// Figures that the kernel programs keep on each CPU.
///
/// Each call that moved bytes, of a socket or into a TLS library, is `Seen`, and then one of those up to and with `CallsRefused`: the
/// two sides are equal whenever nothing runs.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Calls that moved bytes on a socket, or into and out of a TLS library.
    Seen = 0,
    /// Made by the agent itself.
    Own,
    /// Neither on TCP over IPv4 or IPv6 nor a datagram of DNS.
    NotTcp,
    /// The bytes were only looked at by their owner and will be seen again, or lie beside the stream (urgent
    /// data).
    Peeked,
    /// On a connection where nothing was understood yet, and not copied.
    Undecided,
    /// On a connection where nothing was understood yet, and no memory of the caller is known to hold the
    /// bytes: moved by `io_uring`, `sendfile`, `splice` or the kernel itself.
    Unnamed,
    /// On a connection of which nothing can be learnt.
    Ignored,
    /// Encrypted bytes, which nobody can read.
    Encrypted,
    /// Bytes inside TLS of which the connection is not known.
    Unplaced,
    /// On a connection that found no place in the kernel's table.
    Untracked,
    /// Every piece went into the ring.
    CallsSubmitted,
    /// At least one piece found no room in the ring.
    CallsRefused,
    /// Pieces in the ring.
    PiecesSubmitted,
    /// Pieces without room.
    PiecesRefused,
    /// Calls of which memory could not be read; their size is known, and they were submitted.
    Unread,
    /// Calls with more parts than are walked, or more bytes than a crowded ring takes: their size is
    /// known, and they were submitted. Also the messages of a call behind those that are walked, which are
    /// in no other figure.
    Cut,
    /// Ends of connections in the ring.
    EndsSubmitted,
    /// Ends of connections without room.
    EndsRefused,
    /// Accounts of connections that have ended, in the ring.
    AccountsSubmitted,
    /// Accounts of connections that have ended, without room.
    AccountsRefused,
    /// Starts and ends of processes in the ring.
    ProcessesSubmitted,
    /// Starts and ends of processes without room.
    ProcessesRefused,
}

/// How many figures there are.
pub const COUNTERS: usize = 22;

impl Counter {
    /// All of them, in order.
    pub const ALL: [Self; COUNTERS] = [
        Self::Seen,
        Self::Own,
        Self::NotTcp,
        Self::Peeked,
        Self::Undecided,
        Self::Unnamed,
        Self::Ignored,
        Self::Encrypted,
        Self::Unplaced,
        Self::Untracked,
        Self::CallsSubmitted,
        Self::CallsRefused,
        Self::PiecesSubmitted,
        Self::PiecesRefused,
        Self::Unread,
        Self::Cut,
        Self::EndsSubmitted,
        Self::EndsRefused,
        Self::AccountsSubmitted,
        Self::AccountsRefused,
        Self::ProcessesSubmitted,
        Self::ProcessesRefused,
    ];
}

const _: () = assert!(Counter::ProcessesRefused as usize + 1 == COUNTERS, "ALL is complete");
