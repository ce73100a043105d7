//! Runs of kernel programs that the kernel has left out.
//!
//! No program runs within itself: where an interrupt comes to a hook whose program is at work on its CPU, or (on functions, which
//! may lose their CPU amid it) another thread does, the kernel passes over the program, and counts that. Invariant: what is told is
//! the kernel's own count; where it has none, nothing is.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::{Arc, Mutex, TryLockError, Weak};

use aya::Ebpf;

/// Looks from one count to the next: a file is read for each program.
const EVERY: u32 = 10;
/// How the kernel calls it.
const FIELD: &str = "recursion_misses:";

/// Counts them.
#[derive(Debug)]
pub(super) struct Missed {
    /// Whoever holds them decides how long they stay.
    programs: Weak<Mutex<Ebpf>>,
    known: u64,
    looks: u32,
}

impl Missed {
    pub(super) fn new(programs: &Arc<Mutex<Ebpf>>) -> Self {
        Self { programs: Arc::downgrade(programs), known: 0, looks: 0 }
    }

    /// How many there were since they were counted last; none where it is not their time yet.
    pub(super) fn look(&mut self) -> u64 {
        self.looks += 1;
        if self.looks.is_multiple_of(EVERY) { self.count() } else { 0 }
    }

    /// How many there were since they were counted last.
    pub(super) fn count(&mut self) -> u64 {
        let Some(sum) = self.sum() else { return 0 };
        let more = sum.saturating_sub(self.known);
        self.known = self.known.max(sum);
        more
    }

    /// None while programs are being put in or taken out.
    fn sum(&self) -> Option<u64> {
        let programs = self.programs.upgrade()?;
        let programs = match programs.try_lock() {
            Ok(programs) => programs,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        // Those that are not loaded have no descriptor.
        let loaded = programs.programs().filter_map(|(_, program)| program.fd().ok());
        let missed = loaded.filter_map(|program| {
            let descriptor = program.as_fd().as_raw_fd();
            misses(&fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?)
        });
        Some(missed.sum())
    }
}

/// What the kernel says of a program's descriptor.
fn misses(info: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix(FIELD))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: what kernels say of a program, with the count and, before Linux 5.12, without.
    /// Guarantees: the count is read; without one there is none.
    #[test]
    fn the_kernel_counts() {
        let with =
            "pos:\t0\nprog_type:\t17\nrun_cnt:\t9\nrecursion_misses:\t42\nverified_insns:\t7\n";
        assert_eq!(misses(with), Some(42));
        assert_eq!(misses("pos:\t0\nprog_type:\t17\n"), None);
        assert_eq!(misses("recursion_misses:\tmany\n"), None);
    }
}
