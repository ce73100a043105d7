//! What the CPUs of the machine do: samples of every process, with whole stacks, folded and sent as
//! OTLP profiles.
//!
//! The kernel program hands over registers and a copy of the stack; callers are found by the tables that
//! compilers leave in files for exceptions, so that programs need no frame pointers, and by those where
//! there are no tables. A sample waits until it is known which request its thread was serving. Invariants: every sample that was taken is counted once under what became of it;
//! whatever is held of files, processes and stacks is bounded.

mod budget;
mod elf;
mod export;
mod files;
mod fold;
mod frames;
mod held;
mod jit;
mod kernel;
mod links;
mod maps;
mod metrics;
mod process;
mod source;
mod symbols;
mod thread;
mod unwind;
mod work;

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::budget::Meter;
use crate::config::by_cpus;
use crate::emit::Emitter;

pub(crate) use export::Export;
pub(crate) use fold::Owner;
pub(crate) use links::{Links, SpanLink};
use metrics::ProfileMetrics;
pub(crate) use symbols::shown_in_rust;
pub(crate) use work::{ProfileMaps, Profiler};

/// How the machine is profiled.
#[derive(Debug, Clone)]
pub struct ProfileConfig {
    /// Profile at all.
    pub enabled: bool,
    /// Samples of each CPU in a second. One that is no divisor of anything meets no other timer.
    pub hertz: u64,
    /// How often what was sampled is sent.
    pub every: Duration,
    /// What is copied of a program's stack; the callers behind it are not known. Below 64 KiB.
    pub stack_bytes_max: u32,
    /// The ring for samples. A power of two, by default 512 KiB for each CPU, from 1 MiB to 4; each takes as much as its
    /// stack, and what finds no room is counted.
    pub ring_bytes: u32,
    /// Distinct stacks of an interval; samples beyond them count for their process under `[other]`.
    pub stacks_max: usize,
    /// Processes whose mappings are remembered.
    pub processes_max: usize,
    /// Files whose tables are held. One descriptor each.
    pub files_max: usize,
    /// What is held of those tables; half of it is the longest table that is read.
    pub tables_bytes_max: usize,
    /// The share of one CPU, in hundredths, that following stacks may take; samples beyond it count for
    /// their process under `[not unwound]`.
    pub cpu_percent_max: u64,
    /// How long a sample waits for the end of the request that its thread serves, so that it can be told as one
    /// of its trace. 0: none is tied to a request.
    pub link_wait: Duration,
    /// Samples that wait, about 300 bytes each; beyond it the oldest is told without its request.
    pub held_max: usize,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            hertz: 19,
            every: Duration::from_secs(10),
            stack_bytes_max: 32 << 10,
            ring_bytes: by_cpus(512 << 10, (1 << 20)..=(4 << 20)),
            stacks_max: 16_384,
            processes_max: 1_024,
            files_max: 256,
            tables_bytes_max: 64 << 20,
            cpu_percent_max: 2,
            link_wait: Duration::from_secs(30),
            held_max: 8_192,
        }
    }
}

/// The kernel shows this process where its functions are.
pub(crate) fn names_of_the_kernel_are_known() -> bool {
    let file = std::fs::File::open("/proc/kallsyms");
    let line = file.and_then(|file| std::io::BufReader::new(file).lines().next().transpose());
    // Where they are hidden, all are at 0.
    matches!(line, Ok(Some(line)) if line.bytes().next().is_some_and(|digit| digit != b'0'))
}

/// What the profiler's thread has to tell.
#[derive(Debug)]
pub(crate) enum Told {
    /// A process was seen for the first time.
    Seen(Owner),
    /// Stacks of some processes in an interval.
    Export(Box<Export>),
}

/// What may wait to be told: some requests, and the processes that were new in between.
const TOLD_MAX: usize = 1_024;

/// All that the profiler needs but its hooks.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) config: ProfileConfig,
    proc_dir: PathBuf,
    metrics: ProfileMetrics,
    meter: Meter,
    told: mpsc::Sender<Told>,
    links: Links,
    /// The receiver has no use for profiles, for now.
    unwanted: Arc<AtomicBool>,
    /// Of one request, before the resources of its processes.
    request_bytes_max: usize,
}

/// Makes ready, and says where it will be told what the profiler has found.
pub(crate) fn prepare(
    config: ProfileConfig,
    (proc_dir, links): (&Path, &Links),
    emitter: &Emitter,
    meter: &Meter,
    registry: &mut Registry,
) -> (Prepared, mpsc::Receiver<Told>) {
    let (told, found) = mpsc::channel(TOLD_MAX);
    let (metrics, unwanted) = (ProfileMetrics::new(registry), emitter.profiles_unwanted());
    // What a request takes beyond it are resources, by which it may be taken apart again.
    let request_bytes_max = emitter.request_bytes_max() / 2;
    let (proc_dir, links, meter) = (proc_dir.to_owned(), links.clone(), meter.clone());
    let prepared =
        Prepared { config, proc_dir, metrics, meter, told, links, unwanted, request_bytes_max };
    (prepared, found)
}
