//! Time and CPU of what a test measures.

use std::fmt;
use std::time::Duration;

use crate::ports::{Clock, SystemClock};

/// Runs from when it is made.
#[derive(Debug)]
pub(in crate::index) struct Stopwatch {
    clock: SystemClock,
    cpu_ms: u64,
}

impl Stopwatch {
    pub(in crate::index) fn start() -> Self {
        Self { clock: SystemClock::new(), cpu_ms: cpu_ms() }
    }

    pub(in crate::index) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }
}

impl fmt::Display for Stopwatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} ms of CPU", self.elapsed(), cpu_ms() - self.cpu_ms)
    }
}

/// CPU time of this process.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
}
