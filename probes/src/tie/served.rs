//! When a thread was at work on a request, and on nothing else that is known.
//!
//! Invariant: the thread itself has waited for the request and has sent what was seen of its answer; in between
//! it has read no other one.

/// A thread, and its time for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Served {
    /// The process (thread group), and when it was started, in nanoseconds since boot.
    pub(crate) process: u32,
    pub(crate) started: u64,
    pub(crate) thread: u32,
    /// It had read the beginning of the request, by the kernel's clock in nanoseconds.
    pub(crate) from: u64,
    /// It had sent the last of the answer.
    pub(crate) until: u64,
}

impl Served {
    /// The thread of this process was at it then.
    pub(crate) fn covers(&self, process: (u32, u64), thread: u32, time: u64) -> bool {
        self.thread == thread
            && (self.from..=self.until).contains(&time)
            && (self.process, self.started) == process
    }
}
