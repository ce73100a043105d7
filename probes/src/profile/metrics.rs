//! What the profiler tells of itself.
//!
//! Invariant: each sample that the kernel program took is counted once under what became of it.

use icecore_probe_events::{SAMPLE_COUNTERS, SampleCounter};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::unwind::Ending;
use crate::metrics::label_names;

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    /// Its stack is whole.
    Whole,
    /// Its stack is longer than what is kept.
    Cut,
    /// Nothing told the way back to the beginning of its stack.
    Lost,
    /// It is of a thread of the kernel.
    Kernel,
    /// Its process counts, but not its stack: the profiler had used up its share of a CPU.
    Shed,
    /// It was not looked at: the receiver has no use for profiles.
    Unwanted,
    /// The ring had no room.
    Refused,
    /// It was not as the kernel program writes it.
    Malformed,
}

label_names!(Fate {
    Whole => "whole",
    Cut => "cut",
    Lost => "lost",
    Kernel => "kernel",
    Shed => "shed",
    Unwanted => "unwanted",
    Refused => "refused",
    Malformed => "malformed",
});

/// What is known of the request that the thread of a sample was serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Linking {
    /// Its span.
    Linked,
    /// Nothing.
    Unknown,
    /// It was not over in time.
    Unfinished,
    /// There was no room for a sample that waits, or for a stack of its own.
    Crowded,
    Overflowed,
}

label_names!(Linking {
    Linked => "linked",
    Unknown => "unknown",
    Unfinished => "unfinished",
    Crowded => "crowded",
    Overflowed => "overflowed",
});

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    request: Linking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: Fate,
}

/// The metrics of the profiler.
#[derive(Debug, Default)]
pub(crate) struct ProfileMetrics {
    taken: Counter,
    samples: Family<Outcome, Counter>,
    links: Family<Request, Counter>,
    waiting: Gauge,
    unread: Counter,
    stacks: Counter,
    overflowed: Counter,
    exports_dropped: Counter,
    files: Gauge,
    files_bytes: Gauge,
    files_read: Counter,
    files_cut: Counter,
    processes: Gauge,
    cpu_microseconds: Counter,
    /// The kernel's figures as they were.
    last: [u64; SAMPLE_COUNTERS],
}

impl ProfileMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("icecore_probes_profile_{name}"), help, counter.clone());
        };
        counter("samples_taken", "Moments at which a CPU was at work", &metrics.taken);
        let help = "Samples of which nothing of the program's stack could be read";
        counter("stacks_unread", help, &metrics.unread);
        counter("stacks", "Distinct stacks of a process and interval", &metrics.stacks);
        let help = "Samples whose stack found no room in their interval";
        counter("stacks_overflowed", help, &metrics.overflowed);
        let help = "Requests with profiles that the agent did not get to in time";
        counter("exports_dropped", help, &metrics.exports_dropped);
        counter(
            "files_read",
            "Files that were read for what they say of code",
            &metrics.files_read,
        );
        let help = "Files of which a table was left out since it is too long";
        counter("files_cut", help, &metrics.files_cut);
        let help = "Time that the profiler's thread was at work";
        counter("cpu_microseconds", help, &metrics.cpu_microseconds);
        let samples = metrics.samples.clone();
        let help = "What became of the samples";
        registry.register("icecore_probes_profile_samples", help, samples);
        let links = metrics.links.clone();
        let help = "Samples, by what is known of the request that their thread was serving";
        registry.register("icecore_probes_profile_links", help, links);
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(format!("icecore_probes_profile_{name}"), help, gauge.clone());
        };
        gauge("files", "Files with code that are known", &metrics.files);
        gauge("files_bytes", "What is held of them", &metrics.files_bytes);
        let help = "Samples that wait for the end of a request";
        gauge("samples_held", help, &metrics.waiting);
        gauge("processes", "Processes whose mappings are known", &metrics.processes);
        metrics
    }

    pub(super) fn sample(&self, fate: Fate) {
        self.samples(fate, 1);
    }

    /// It is as known as it will be which request a sample is of.
    pub(super) fn linking(&self, request: Linking) {
        self.links.get_or_create(&Request { request }).inc();
    }

    fn samples(&self, outcome: Fate, by: u64) {
        self.samples.get_or_create(&Outcome { outcome }).inc_by(by);
    }

    /// The kernel's figures as they stand.
    pub(super) fn kernel(&mut self, figures: [u64; SAMPLE_COUNTERS]) {
        let last = std::mem::replace(&mut self.last, figures);
        let grown = |counter: SampleCounter| {
            let of = |figures: &[u64; SAMPLE_COUNTERS]| {
                figures.get(counter as usize).copied().unwrap_or(0)
            };
            of(&figures).saturating_sub(of(&last))
        };
        self.taken.inc_by(grown(SampleCounter::Taken));
        self.unread.inc_by(grown(SampleCounter::StackUnread));
        self.samples(Fate::Refused, grown(SampleCounter::Refused));
    }

    /// An interval is over.
    pub(super) fn interval(&self, stacks: u64, overflowed: u64, cpu_micros: u64) {
        self.stacks.inc_by(stacks);
        self.overflowed.inc_by(overflowed);
        self.cpu_microseconds.inc_by(cpu_micros);
    }

    pub(super) fn export_dropped(&self) {
        self.exports_dropped.inc();
    }

    /// What is held, and what was read of files since it was last told.
    pub(super) fn held(
        &self,
        files: (usize, usize),
        read: (u64, u64),
        processes: usize,
        samples: usize,
    ) {
        let show = |gauge: &Gauge, value: usize| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        show(&self.files, files.0);
        show(&self.files_bytes, files.1);
        show(&self.processes, processes);
        show(&self.waiting, samples);
        self.files_read.inc_by(read.0);
        self.files_cut.inc_by(read.1);
    }
}

impl From<Ending> for Fate {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Whole => Self::Whole,
            Ending::Cut => Self::Cut,
            Ending::Lost => Self::Lost,
        }
    }
}
