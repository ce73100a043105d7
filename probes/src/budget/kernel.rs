//! What the kernel programs cost the programs that they look at.
//!
//! The kernel can be told to time every program, which costs each run of each program of the machine some 30
//! nanoseconds, ours or not. So it is told to for one look in ten: what a call that was seen has cost then is the
//! price of all that are seen until the next time, unless they are many times as many: few calls, most of them the first of a
//! connection, cost several times what many do. Then it is timed at once. Invariants: the timing is off whenever no look is under way that
//! needs it, and when this is dropped; a kernel that does not time programs leaves the price at what it is known
//! to be at least.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, TryLockError, Weak};

use aya::Ebpf;
use aya::sys::{Stats, enable_stats};

/// Looks from one that is timed to the next.
const EVERY: u32 = 10;
/// Fewer calls tell no price.
const CALLS_MIN: u64 = 32;
/// So many times the calls that a price was measured of tell that it is another one by now.
const CALLS_TIMES: u64 = 4;
/// Taken for the price of a call where it was not measured: what one costs on a slow machine.
const NANOS_A_CALL: f64 = 1_500.0;

/// Times of all programs so far, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Times {
    /// Of those that run when bytes pass or connections change.
    calls: u64,
    /// Of those that run as time goes by: samples, processes.
    others: u64,
}

/// Prices the kernel's part.
#[derive(Debug)]
pub(super) struct Kernel {
    /// None where the kernel does not time programs. Whoever holds them decides how long they stay.
    programs: Option<Weak<Mutex<Ebpf>>>,
    timing: Option<(OwnedFd, Times)>,
    price: Price,
    looks: u32,
}

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Price {
    nanos_a_call: f64,
    /// Of how many a second.
    calls: u64,
    /// Nanoseconds a nanosecond.
    others: f64,
}

impl Price {
    /// Whether it is that of so many calls.
    const fn is_of(self, calls: u64) -> bool {
        calls < CALLS_MIN || calls / CALLS_TIMES <= self.calls
    }

    /// What so many calls cost in so much time, where it was not measured.
    fn estimate(self, calls: u64, elapsed: u64) -> f64 {
        let nanos_a_call = if self.is_of(calls) { self.nanos_a_call } else { NANOS_A_CALL };
        nanos_a_call * calls as f64 + self.others * elapsed as f64
    }

    /// As it was measured last.
    fn measured(self, times: Times, calls: u64, elapsed: u64) -> Self {
        let others = times.others as f64 / (elapsed as f64).max(1.0);
        if calls < CALLS_MIN {
            return Self { others, ..self };
        }
        Self { nanos_a_call: times.calls as f64 / calls as f64, calls, others }
    }
}

impl Kernel {
    /// Nothing is timed before the first look.
    pub(super) fn new(programs: &Arc<Mutex<Ebpf>>) -> Self {
        let price = Price { nanos_a_call: NANOS_A_CALL, calls: 0, others: 0.0 };
        Self { programs: Some(Arc::downgrade(programs)), timing: None, price, looks: 0 }
    }

    /// What the programs have cost since the last look, in nanoseconds: so many calls were seen.
    pub(super) fn look(&mut self, calls: u64, elapsed: u64) -> f64 {
        self.looks += 1;
        let timed = self.timing.take().and_then(|(_on, before)| {
            let now = self.times()?;
            let calls = now.calls.saturating_sub(before.calls);
            Some(Times { calls, others: now.others.saturating_sub(before.others) })
        });
        let is_new = timed.is_none() && !self.price.is_of(calls);
        if self.looks % EVERY == 1 || is_new {
            self.begin();
        }
        let Some(times) = timed else { return self.price.estimate(calls, elapsed) };
        self.price = self.price.measured(times, calls, elapsed);
        (times.calls + times.others) as f64
    }

    /// The price of a call, in nanoseconds.
    pub(super) fn nanos_a_call(&self) -> f64 {
        self.price.nanos_a_call
    }

    fn begin(&mut self) {
        if self.programs.is_none() {
            return;
        }
        match enable_stats(Stats::RunTime) {
            Ok(on) => self.timing = self.times().map(|times| (on, times)),
            Err(error) => {
                let reason: &dyn std::error::Error = &error;
                tracing::debug!(reason, "the kernel does not time its programs");
                self.programs = None;
            }
        }
    }

    /// None while programs are being put in or taken out.
    fn times(&self) -> Option<Times> {
        let programs = self.programs.as_ref()?.upgrade()?;
        let programs = match programs.try_lock() {
            Ok(programs) => programs,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let mut times = Times::default();
        for (name, program) in programs.programs() {
            // Those that are not loaded have none.
            let Ok(info) = program.info() else { continue };
            let nanos = u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX);
            match at_cost_of(name) {
                Cost::Calls => times.calls += nanos,
                Cost::Time => times.others += nanos,
                Cost::Agent => {}
            }
        }
        Some(times)
    }
}

/// By what the runs of a program become more.
#[derive(Debug, PartialEq, Eq)]
enum Cost {
    /// Calls that are seen.
    Calls,
    /// Time that goes by, however much passes.
    Time,
    /// It runs within the agent's own calls, whose time is counted as the agent's. A walk is over in some milliseconds
    /// once in a while: whoever timed one, and took it for what passes all the time, would count it tenfold besides.
    Agent,
}

fn at_cost_of(program: &str) -> Cost {
    match program {
        "sockets" => Cost::Agent,
        "profile" => Cost::Time,
        _ if program.starts_with("sched_") => Cost::Time,
        _ => Cost::Calls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: programs of each kind.
    /// Guarantees: what runs within the agent's own calls is not counted once more.
    #[test]
    fn each_program_is_counted_once() {
        assert_eq!(at_cost_of("sockets"), Cost::Agent);
        assert_eq!(
            (at_cost_of("profile"), at_cost_of("sched_process_exit")),
            (Cost::Time, Cost::Time)
        );
        assert_eq!(
            (at_cost_of("sock_send_length"), at_cost_of("tls_enter")),
            (Cost::Calls, Cost::Calls)
        );
    }

    /// Scenario: a look that was timed, one with hardly a call, and one that was not timed.
    /// Guarantees: the price is what was measured, is not learnt from a handful of calls, and is asked of the
    /// calls that nobody timed.
    #[test]
    fn the_price_is_what_was_measured() {
        let first = Price { nanos_a_call: NANOS_A_CALL, calls: 0, others: 0.0 };
        let times = Times { calls: 800_000, others: 2_000_000 };
        let known = first.measured(times, 1_000, 1_000_000_000);
        assert_eq!(known, Price { nanos_a_call: 800.0, calls: 1_000, others: 0.002 });
        let still = known.measured(Times { calls: 90_000, others: 0 }, 3, 1_000_000_000);
        assert_eq!(still, Price { others: 0.0, ..known });
        assert_eq!(known.estimate(500, 2_000_000_000), 4_400_000.0);
    }

    /// Scenario: a price that is dear, since it was measured of some hundred calls; then as many calls, and twenty thousand.
    /// Guarantees: it is asked of the former, and not of the latter, which are to be timed.
    #[test]
    fn the_price_of_few_is_not_that_of_many() {
        let dear = Price { nanos_a_call: 4_800.0, calls: 500, others: 0.0 };
        assert!(dear.is_of(3) && dear.is_of(500) && dear.is_of(2_000) && !dear.is_of(20_000));
        assert_eq!(dear.estimate(500, 1), 2_400_000.0);
        assert_eq!(dear.estimate(20_000, 1), 20_000.0 * NANOS_A_CALL);
    }
}
