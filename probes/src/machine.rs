//! What processes and the machine use: CPU, memory, disks, network, as metrics of the semantic
//! conventions.
//!
//! Invariants: every process is in the metrics: by itself, or, beyond the bound, in the sums of all
//! others, which carry `otel.metric.overflow`; a sum begins when its process was started or the machine
//! was booted, so that no reading is missed by who comes late.

mod export;
mod host;
mod life;
mod process;

use std::path::{Path, PathBuf};
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::error::Error;
use crate::pipeline::Pipeline;
use host::Machine;
pub(crate) use life::Lives;
pub(crate) use process::Usage;

/// The kernel shows times in ticks of 10 ms on every architecture that we run on.
const TICK_NANOS: u64 = 10_000_000;

/// What is told of processes and the machine.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// Tell it at all.
    pub enabled: bool,
    /// How often procfs is read. A reading takes some 50 microseconds for each process.
    pub every: Duration,
    /// Processes with metrics of their own, those that hold the most memory; the rest are summed up.
    pub processes_max: usize,
    /// Starts and ends of processes that are told in a second; more are counted and not sent. Telling
    /// one takes some 100 microseconds where its process is new.
    pub events_per_second_max: u64,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            every: Duration::from_secs(15),
            processes_max: 1_000,
            events_per_second_max: 200,
        }
    }
}

/// One reading.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Those that have metrics of their own.
    pub(crate) shown: Vec<Usage>,
    others: Vec<Usage>,
    machine: Machine,
}

/// Reads procfs. Not for a thread of the runtime.
fn read(proc_dir: &Path, processes_max: usize) -> Result<Reading, Error> {
    let mut shown = process::processes(proc_dir).map_err(Error::Proc)?;
    shown.sort_unstable_by_key(|usage| std::cmp::Reverse((usage.resident_bytes, usage.pid)));
    let others = shown.split_off(processes_max.min(shown.len()));
    Ok(Reading { shown, others, machine: host::machine(proc_dir) })
}

impl Reading {
    fn booted(&self) -> u64 {
        self.machine.booted.unwrap_or(0) * 1_000_000_000
    }

    /// The metrics of some of its processes, as of `now`. A process that was not seen before is looked
    /// up, which takes some 100 microseconds.
    pub(crate) fn tell_processes(
        &self,
        some: &[Usage],
        now: u64,
        pipeline: &mut Pipeline,
    ) -> Vec<ResourceMetrics> {
        let one = |usage: &Usage| {
            let started = usage.started_ticks * TICK_NANOS;
            let who = pipeline.who(usage.pid, started, &usage.comm);
            export::process(&who.resource, usage, self.booted() + started, now)
        };
        some.iter().map(one).collect()
    }

    /// The metrics of all else, as of `now`.
    pub(crate) fn tell_machine(&self, now: u64, host: &Resource) -> Vec<ResourceMetrics> {
        let machine = export::machine(host, &self.machine, self.booted(), now);
        let others = (!self.others.is_empty()).then(|| export::others(host, &self.others, now));
        std::iter::once(machine).chain(others).collect()
    }
}

/// How often the containers of this node's pods were started again, as of `now`.
pub(crate) fn tell_restarts(now: u64, pipeline: &Pipeline) -> Vec<ResourceMetrics> {
    let all = pipeline.restarts();
    all.iter().map(|(resource, count)| export::restarts(resource, *count, now)).collect()
}

/// What readings tell of themselves.
#[derive(Debug)]
pub(crate) struct ReadingMetrics {
    shown: Gauge,
    summed: Counter,
}

impl ReadingMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let (shown, summed) = (Gauge::default(), Counter::default());
        let help = "Processes with metrics of their own in the last reading";
        registry.register("icecore_probes_processes_shown", help, shown.clone());
        let help = "Processes, once a reading, that were summed up with all others";
        registry.register("icecore_probes_processes_summed", help, summed.clone());
        Self { shown, summed }
    }

    pub(crate) fn show(&self, reading: &Reading) {
        self.shown.set(i64::try_from(reading.shown.len()).unwrap_or(i64::MAX));
        self.summed.inc_by(reading.others.len() as u64);
    }
}

/// Where a reading comes from.
pub(crate) fn reader(
    proc_dir: PathBuf,
    processes_max: usize,
) -> impl Fn() -> Result<Reading, Error> + Send + Sync {
    move || read(&proc_dir, processes_max)
}

#[cfg(test)]
mod tests;
