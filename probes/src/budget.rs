//! What the agent may cost: it keeps to it by telling less, bodies first, spans next, durations never.
//!
//! Invariants: what is left out is counted by those who leave it out; a span that is told says of how many it is
//! one; nothing is left out while the average over the window is within the bound.

mod control;
mod kernel;
mod level;
mod memory;
mod meter;
mod metrics;
mod missed;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aya::Ebpf;
use prometheus_client::registry::Registry;

use crate::clock::monotonic;
use crate::loss::Losses;
use control::{Allowed, Control, Spent};
use kernel::Kernel;
pub(crate) use level::Level;
pub(crate) use memory::{Holder, Memory};
pub(crate) use meter::Meter;
use metrics::BudgetMetrics;
use missed::Missed;

/// What the agent may cost.
#[derive(Debug, Clone)]
pub struct BudgetConfig {
    /// The share of one CPU, in hundredths, that the agent and its kernel programs may take. 0: any.
    pub cpu_percent_max: u64,
    /// The time over which that is an average: a burst is told whole that is over the share for less.
    pub cpu_window: Duration,
    /// Of so many traces one has spans at least, whatever that costs; 1 to 1,024.
    pub spans_one_in_max: u64,
    /// Bytes that the agent may hold: rings, maps and tables of files at their largest, what parsers hold of
    /// connections, and spans that wait.
    pub memory_bytes_max: usize,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            cpu_percent_max: 5,
            cpu_window: Duration::from_mins(1),
            spans_one_in_max: 1024,
            memory_bytes_max: 200 << 20,
        }
    }
}

/// Less is told once so much of the memory is held: before anything has to be refused.
const MEMORY_HIGH: f64 = 0.9;

/// Weighs what was used against what may be.
#[derive(Debug)]
pub(crate) struct Budget {
    allowed: Allowed,
    control: Control,
    meter: Meter,
    kernel: Kernel,
    missed: Missed,
    memory: Memory,
    metrics: BudgetMetrics,
    /// The last look: when it was, what the meter said, and how many calls had been seen.
    last: (u64, u64, u64),
}

impl Budget {
    /// Reads the clock.
    pub(crate) fn new(
        config: &BudgetConfig,
        (meter, memory): (&Meter, &Memory),
        programs: &Arc<Mutex<Ebpf>>,
        registry: &mut Registry,
    ) -> Self {
        let cpu = match config.cpu_percent_max {
            0 => f64::INFINITY,
            percent => percent as f64 / 100.0,
        };
        let (window, most) = (config.cpu_window, Level::keeping(config.spans_one_in_max));
        let allowed = Allowed { cpu, window: crate::nanos(window) as f64, most };
        let metrics = BudgetMetrics::new(registry);
        metrics.allowed(if cpu.is_finite() { cpu } else { 0.0 });
        let last = (monotonic(), meter.nanos(), 0);
        Self {
            allowed,
            control: Control::new(allowed),
            meter: meter.clone(),
            memory: memory.clone(),
            kernel: Kernel::new(programs),
            missed: Missed::new(programs),
            metrics,
            last,
        }
    }

    /// Looks at what was used, about once a second. `calls`: how many were seen so far. What is left out from
    /// now on, where that has changed.
    pub(crate) fn look(&mut self, now: u64, calls: u64) -> Option<Level> {
        let (then, agent_before, calls_before) = self.last;
        let elapsed = now.saturating_sub(then);
        if elapsed == 0 {
            return None;
        }
        let agent_now = self.meter.nanos();
        self.last = (now, agent_now, calls);
        let agent = agent_now.saturating_sub(agent_before);
        let kernel = self.kernel.look(calls.saturating_sub(calls_before), elapsed);
        let cpu = agent as f64 + kernel;
        let used = cpu / elapsed as f64;
        self.metrics.spent(agent, whole(kernel), used);
        self.metrics.call(self.kernel.nanos_a_call());
        self.metrics.missed(self.missed.look());
        self.metrics.memory(&self.memory);
        let before = self.control.level();
        let spent =
            Spent { elapsed: elapsed as f64, cpu, memory: self.memory.share() / MEMORY_HIGH };
        self.control = self.control.after(spent, self.allowed);
        let level = self.control.level();
        (level != before).then(|| self.change(before, level, used))
    }

    /// The programs are about to be taken off.
    pub(crate) fn look_last(&mut self) {
        self.metrics.missed(self.missed.count());
    }

    /// What the kernel did not show us.
    pub(crate) fn losses(&self, losses: &mut Losses) {
        self.metrics.losses(losses);
    }

    fn change(&self, before: Level, level: Level, used: f64) -> Level {
        self.metrics.changed(before, level);
        let (cpu_used, cpu_allowed) = (percent(used), percent(self.allowed.cpu));
        let (bodies, spans_share) = (level.keeps_bodies(), level.share());
        let level_now = level.number();
        if level > before {
            tracing::warn!(level_now, bodies, spans_share, cpu_used, cpu_allowed, "telling less");
        } else {
            tracing::info!(level_now, bodies, spans_share, cpu_used, cpu_allowed, "telling more");
        }
        level
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn whole(nanos: f64) -> u64 {
    nanos as u64
}
