//! What the kernel programs tell of processes.
//!
//! Invariant: as for all records: no padding, and any bit pattern is valid.

/// Of a process event: it runs a program from here on.
pub const PROCESS_RUNS: u32 = 1;
/// Of a process event: it has ended.
pub const PROCESS_ENDED: u32 = 2;
/// Of a process that has ended: the kernel killed it for want of memory.
pub const PROCESS_OUT_OF_MEMORY: u32 = 1;

/// A process begins a program, or has ended: in the ring `PROCESSES`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessEvent {
    /// Now, monotonic clock in nanoseconds.
    pub time: u64,
    /// When the process started, in nanoseconds since boot.
    pub started: u64,
    /// For how long it is there, in nanoseconds.
    pub lived: u64,
    /// The process (thread group).
    pub pid: u32,
    /// The process that it belongs to.
    pub parent: u32,
    /// `PROCESS_RUNS` or `PROCESS_ENDED`
    pub kind: u32,
    /// Of one that has ended, the status that its parent is told.
    pub status: u32,
    /// `PROCESS_…`
    pub flags: u32,
    /// Always 0.
    pub reserved: u32,
    /// The kernel's name of its first thread.
    pub comm: [u8; 16],
    /// Of one that begins a program, the file as it was called, up to a zero byte.
    pub program: [u8; 128],
}

impl ProcessEvent {
    /// Reads an event as the kernel programs wrote it; none when its length is not that of one.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        // SAFETY: the length is checked, and any bit pattern is a `ProcessEvent`.
        (bytes.len() == size_of::<Self>())
            .then(|| unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}

const _: () = assert!(size_of::<ProcessEvent>() == 192, "no padding");
