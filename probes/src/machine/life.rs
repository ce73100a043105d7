//! Processes that begin a program and that end, as OTLP log records.
//!
//! Invariants: a process ends once; in a second no more is told than the bound allows, and what is
//! left out is counted.

mod record;
mod signal;

use std::collections::VecDeque;

use icecore_probe_events::{PROCESS_ENDED, PROCESS_RUNS, ProcessEvent};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock::WallClock;
use crate::connection::text;
use crate::metrics::label_names;
use crate::pipeline::Pipeline;

/// Threads that end at the same moment may each take themselves for the last one. They do so within
/// microseconds, in which no more processes than these end.
const ENDED_KEPT: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Recorded,
    Repeated,
    Shed,
}

label_names!(Fate { Recorded => "recorded", Repeated => "repeated", Shed => "shed" });

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabel {
    outcome: Fate,
}

/// Tells of starts and ends.
#[derive(Debug)]
pub(crate) struct Lives {
    per_second_max: u64,
    /// The second that is counted in, and how many it has.
    second: (u64, u64),
    /// The processes that ended last: pid and start.
    ended: VecDeque<(u32, u64)>,
    events: Family<FateLabel, Counter>,
    missing: Gauge,
}

impl Lives {
    /// Registers its metrics; does no I/O.
    pub(crate) fn new(per_second_max: u64, registry: &mut Registry) -> Self {
        let events = Family::default();
        let help = "Starts and ends of processes that were read, by what became of them";
        registry.register("icecore_probes_process_events", help, events.clone());
        let missing = Gauge::default();
        let help = "1 where the kernel does not let starts and ends of processes be seen";
        registry.register("icecore_probes_process_events_missing", help, missing.clone());
        let ended = VecDeque::with_capacity(ENDED_KEPT);
        Self { per_second_max, second: (0, 0), ended, events, missing }
    }

    /// Says whether starts and ends are wanted and cannot be seen.
    pub(crate) fn set_missing(&self, missing: bool) {
        self.missing.set(i64::from(missing));
    }

    /// A process begins a program, or has ended.
    pub(crate) fn take(&mut self, event: &ProcessEvent, clock: &WallClock, to: &mut Pipeline) {
        // Also where too many begin to tell of each.
        if event.kind == PROCESS_RUNS {
            to.process_begins(event.pid, event.started);
        }
        let fate = self.fate(event, clock.wall(event.time));
        self.events.get_or_create(&FateLabel { outcome: fate }).inc();
        if fate == Fate::Recorded {
            let who = to.who(event.pid, event.started, &text(&event.comm));
            to.emitter().log(&who.resource, record::record(event, clock.wall(event.time)));
        }
    }

    fn fate(&mut self, event: &ProcessEvent, now: u64) -> Fate {
        let process = (event.pid, event.started);
        if event.kind == PROCESS_ENDED {
            if self.ended.contains(&process) {
                return Fate::Repeated;
            }
            self.ended.truncate(ENDED_KEPT - 1);
            self.ended.push_front(process);
        }
        let second = now / 1_000_000_000;
        if self.second.0 != second {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        if self.second.1 <= self.per_second_max { Fate::Recorded } else { Fate::Shed }
    }
}

#[cfg(test)]
mod tests;
