//! What the profiler's kernel program says of a CPU at one moment.
//!
//! Invariant: a record is a [`Sample`], then as much of the stack as it says, then as many addresses of
//! the kernel as it says, and nothing else.

/// Addresses of the kernel in one sample; of a deeper stack the outermost are left out.
pub const KERNEL_FRAMES_MAX: usize = 128;

/// Bytes of a program's stack in one sample at most. A power of two; a sample has less than this.
pub const STACK_BYTES_MAX: usize = 64 << 10;

/// What was running on a CPU.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Monotonic clock in nanoseconds.
    pub time: u64,
    /// When the process was started, in nanoseconds since boot; 0 when unknown.
    pub started: u64,
    /// The process (thread group).
    pub pid: u32,
    /// Its thread.
    pub thread: u32,
    /// The kernel's name of the thread.
    pub comm: [u8; 16],
    /// Where the program was in its own code; 0: it has none, as a thread of the kernel.
    pub ip: u64,
    /// Its stack pointer: where the copy of the stack begins.
    pub sp: u64,
    /// Its frame pointer, or whatever the program keeps in that register.
    pub fp: u64,
    /// Where it returns to, on machines with a register for that.
    pub lr: u64,
    /// How often the process has become another program; tells apart what has the same pid.
    pub execs: u32,
    /// Bytes of the stack.
    pub stack_bytes: u32,
    /// Addresses of the kernel, innermost first.
    pub kernel_frames: u32,
    /// Always 0.
    pub reserved: u32,
}

/// What user space tells the profiler's program before it is loaded.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProfileSettings {
    /// What is copied of a stack; below [`STACK_BYTES_MAX`].
    pub stack_bytes_max: u32,
    /// Bytes in the ring that wake the agent.
    pub wake_bytes: u32,
    /// `task_struct.self_exec_id`
    pub task_self_exec_id: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Figures that the profiler's program keeps on each CPU: each sample that was taken was submitted or
/// refused.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleCounter {
    /// A program or a thread of the kernel was running.
    Taken = 0,
    /// In the ring.
    Submitted,
    /// The ring had no room.
    Refused,
    /// Of those in the ring: nothing of the program's stack could be read.
    StackUnread,
}

/// How many figures there are.
pub const SAMPLE_COUNTERS: usize = 4;

/// A sample with its stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampled<'a> {
    /// What was running.
    pub sample: Sample,
    /// The program's stack, from its stack pointer on.
    pub stack: &'a [u8],
    kernel: &'a [u8],
}

impl<'a> Sampled<'a> {
    /// Reads a record as the kernel program wrote it; none when its length is not what it says.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(size_of::<Sample>())?;
        // SAFETY: `head` is as long as a `Sample`, any bit pattern of which is valid.
        let sample = unsafe { head.as_ptr().cast::<Sample>().read_unaligned() };
        let (stack, kernel) = rest.split_at_checked(sample.stack_bytes as usize)?;
        let whole = kernel.len() == sample.kernel_frames as usize * size_of::<u64>();
        whole.then_some(Self { sample, stack, kernel })
    }

    /// Addresses in the kernel, innermost first.
    pub fn kernel(&self) -> impl Iterator<Item = u64> + 'a {
        let (addresses, _) = self.kernel.as_chunks::<8>();
        addresses.iter().map(|address| u64::from_le_bytes(*address))
    }
}

impl ProfileSettings {
    /// As the kernel program will read them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: `ProfileSettings` is made of numbers without padding between them.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

const _: () = assert!(size_of::<Sample>() == 88, "no padding");
const _: () = assert!(size_of::<ProfileSettings>() == 4 * 4, "no padding");
const _: () = assert!(STACK_BYTES_MAX.is_power_of_two(), "one mask bounds it");
const _: () = assert!(SampleCounter::StackUnread as usize + 1 == SAMPLE_COUNTERS, "all have room");
