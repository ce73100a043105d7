//! From the kernel's monotonic clock to the wall clock.
//!
//! Invariant: two records that are converted between two calls of [`WallClock::sync`] keep their
//! distance; a step of the wall clock or a suspended machine shows from the next call on.

/// How often two clocks are read together; the tightest pair counts.
const SAMPLES: usize = 5;

/// What to add to monotonic time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallClock {
    ahead: i128,
}

impl WallClock {
    /// Reads both clocks.
    pub(crate) fn new() -> Self {
        let mut clock = Self { ahead: 0 };
        clock.sync();
        clock
    }

    /// Reads both clocks again. Takes a microsecond.
    pub(crate) fn sync(&mut self) {
        self.sync_by(read);
    }

    fn sync_by(&mut self, read: impl Fn(libc::clockid_t) -> u64) {
        let samples = (0..SAMPLES).map(|_| {
            let before = read(libc::CLOCK_MONOTONIC);
            let wall = read(libc::CLOCK_REALTIME);
            let after = read(libc::CLOCK_MONOTONIC);
            (after - before, i128::from(wall) - i128::from(before + (after - before) / 2))
        });
        self.ahead = samples.min().map_or(self.ahead, |(_, ahead)| ahead);
    }

    /// Nanoseconds of the wall clock.
    pub(crate) fn wall(&self, monotonic: u64) -> u64 {
        u64::try_from(i128::from(monotonic) + self.ahead).unwrap_or(0)
    }
}

/// Nanoseconds of the clock that the kernel programs read.
pub(crate) fn monotonic() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread, in nanoseconds; takes some 0.3 microseconds.
pub(crate) fn thread_nanos() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` can be written; the clocks exist on every kernel, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0) * 1_000_000_000 + nanos.unwrap_or(0)
}

#[cfg(test)]
impl WallClock {
    /// The wall shows so much more.
    pub(crate) fn ahead(nanos: i64) -> Self {
        Self { ahead: i128::from(nanos) }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Scenario: now, on both clocks.
    /// Guarantees: they agree to a millisecond, and distances are kept.
    #[test]
    fn monotonic_time_becomes_wall_time() {
        let clock = WallClock::new();
        let (mono, wall) = (monotonic(), read(libc::CLOCK_REALTIME));
        assert!(clock.wall(mono).abs_diff(wall) < 1_000_000);
        assert_eq!(clock.wall(mono + 1_234) - clock.wall(mono), 1_234);
    }

    /// Scenario: clocks that are told what they show, and take time to be read, once much; the wall clock is
    /// set forward and back, while the other goes on.
    /// Guarantees: a record has the time that the wall clock showed at the last look; the distance between
    /// two records is that of the kernel's clock, whatever the wall clock did in between.
    #[test]
    fn a_wall_clock_that_steps_is_followed() {
        let (mono, ahead, looks) = (Cell::new(1_000_000_u64), Cell::new(500_i64), Cell::new(0));
        let read = |clock| {
            looks.set(looks.get() + 1);
            // Somebody else has the CPU at the second look.
            mono.set(mono.get() + if looks.get() % 15 == 4 { 90_000 } else { 20 });
            let wall = clock == libc::CLOCK_REALTIME;
            mono.get().saturating_add_signed(if wall { ahead.get() } else { 0 })
        };
        let mut clock = WallClock { ahead: 0 };
        for step in [500, 3_600_000_000_000, -900_000] {
            let before = clock.wall(mono.get());
            ahead.set(step);
            assert_eq!(clock.wall(mono.get()), before, "nobody has looked yet");
            clock.sync_by(read);
            let now = mono.get();
            assert_eq!(clock.wall(now), now.saturating_add_signed(step), "{step}");
            assert_eq!(clock.wall(now + 77) - clock.wall(now), 77, "{step}");
        }
    }
}
