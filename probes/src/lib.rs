//! icecore-probes: sees the requests that a machine serves and sends, with no change to any
//! application, and emits them as OpenTelemetry spans and histograms.
//!
//! Kernel programs copy the bytes of plain-text sockets into a ring; this crate orders them by
//! connection, parses them, and sends what it understood to any OTLP receiver. Invariant: every
//! record that the kernel programs saw is counted once, as filtered, refused or submitted, and
//! every submitted one as parsed, unparsed or shed.
#![deny(missing_docs)]

mod attach;
mod balance;
mod budget;
mod clock;
mod config;
mod connection;
pub mod emit;
mod error;
mod foreign;
mod histogram;
pub mod identity;
mod kernel;
mod load;
mod loss;
mod machine;
mod metrics;
mod network;
mod pattern;
pub mod pipeline;
mod profile;
pub mod protocol;
mod reader;
mod redact;
mod ring;
pub mod rules;
pub mod secret;
mod span;
mod tie;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use attach::HooksOff;
pub use attach::tls::functions_to_hook;
pub use budget::BudgetConfig;
pub use config::{CaptureConfig, Config, RungChoice, TlsConfig};
pub use connection::Tls;
pub use error::{Error, ErrorKind};
pub use kernel::{Finding, Level, Rung, findings};
pub use machine::MachineConfig;
pub use network::NetworkConfig;
pub use profile::ProfileConfig;
pub use tie::TieConfig;

use attach::tls::{Finder, Hooks, TlsMetrics};
use attach::{Attached, Walk, Walked};
use budget::{Budget, Memory, Meter};
use connection::TableConfig;
use emit::EmitTask;
use identity::IdentityTask;
use load::Loaded;
use machine::{Lives, ReadingMetrics};
use metrics::Metrics;
use network::Network;
use pipeline::Pipeline;
use profile::{Links, Prepared, Profiler};
use reader::rounds::{Rounds, Work};
use reader::{Maps, Parts, Reader};
use ring::Rings;
use rules::RulesTask;

/// The agent: hooked into the kernel, not yet reading.
#[derive(Debug)]
pub struct Probes {
    rung: Rung,
    reading: Reading,
    tasks: Tasks,
}

/// What is done on the thread that reads.
#[derive(Debug)]
struct Reading {
    poll_every: Duration,
    /// What all of the agent's tasks cost.
    meter: Meter,
    attached: Attached,
    /// None where no TLS library is to be read.
    finder: Option<Finder>,
    hinted: mpsc::Receiver<u32>,
    /// None where CPUs are not sampled.
    profiler: Option<Profiler>,
    reader: Reader,
}

/// What goes on until the last record was read.
#[derive(Debug)]
struct Tasks {
    emit: EmitTask,
    identity: IdentityTask,
    rules: RulesTask,
}

impl Probes {
    /// Checks the configuration, loads the kernel programs and attaches them. Traffic is captured
    /// from here on and waits in the rings. Where the machine or the user does not allow it, the
    /// error's [`Error::kind`] says so. Takes up to a second, on a thread of its own.
    pub async fn open(config: Config, registry: &mut Registry) -> Result<Self, Error> {
        config.check()?;
        let memory = Memory::new(config.budget.memory_bytes_max, config.fixed_bytes());
        let Config { capture, mut limits, pipeline, network, machine, profile, identity, .. } =
            config;
        let Config { rules, emit, budget, .. } = config;
        let meter = Meter::default();
        let (emitter, emit) = emit::open(emit, (&meter, &memory), registry).map_err(Error::Emit)?;
        let proc_dir = identity.proc_dir.clone();
        let (identity, identity_task) =
            identity::open(identity, registry).await.map_err(Error::Identity)?;
        let links = Links::new(&profile, &pipeline.ties);
        let (profiling, profiles) =
            profile::prepare(profile, (&proc_dir, &links), &emitter, &meter, registry);
        let own = emitter.own_sockets();
        let (rules, rules_task) = rules::open(rules, registry).map_err(Error::Rules)?;
        limits.body_bytes_max = rules.rules().body_bytes_max();
        let pipeline = Pipeline::new(pipeline, identity, emitter, registry);
        let pipeline = pipeline.ruled(rules).bounded(memory.clone()).linked(links);
        let table = table(&capture, limits, memory.clone());
        let (poll_every, turn_records_max) = (capture.poll_every, capture.turn_records_max);
        let (accounts, walk_every, sockets_max) =
            (capture.accounts, network.every, network.sockets_max);
        let network = Network::new(network, registry);
        let looks = looks(&machine, proc_dir, &meter);
        let readings = ReadingMetrics::new(registry);
        let lives = Lives::new(machine.events_per_second_max, registry);
        let lives_wanted = capture.processes;
        let tls = TlsMetrics::new(registry);
        let (hints, hinted) = attach::tls::hints(&tls);
        let metered = meter.clone();
        let hook = move || metered.work(|| hook(capture, profiling, tls));
        let hooked = tokio::task::spawn_blocking(hook).await;
        let (loaded, finder, profiler) = hooked.map_err(Error::Task)??;
        let Loaded { rung, programs, data, control, events, .. } = loaded;
        let Loaded { connections, verdicts, figures, walks, drops, tls_off, .. } = loaded;
        let Loaded { datagrams, senders, io_uring, .. } = loaded;
        lives.set_missing(lives_wanted && !loaded.lives);
        let rings = Rings::new(data, control, events, loaded.processes, turn_records_max);
        let walk = walks.then(|| Walk::new(&programs, sockets_max));
        network.set_walks_missing(accounts && walk.is_none());
        network.set_senders_missing(datagrams.is_some() && !senders);
        // What has ended is told round by round, whether or not there is a walk.
        let take = move || Walked::take(walk.as_ref(), drops.as_ref(), datagrams.as_ref());
        let walks = Rounds::new(accounts.then(|| Arc::new(take) as Work<_>), walk_every, &meter);
        let maps = Maps { connections, verdicts, figures };
        let budget = Budget::new(&budget, (&meter, &memory), &programs, registry);
        let metrics = Metrics::new(registry);
        metrics.set_rings_missing(!io_uring);
        let reader = Reader::new(Parts {
            rings,
            walks,
            looks,
            maps,
            budget,
            table,
            pipeline,
            network,
            profiles,
            readings,
            lives,
            own,
            hints,
            metrics,
        });
        let tasks = Tasks { emit, identity: identity_task, rules: rules_task };
        let attached = Attached::new(programs, tls_off);
        let reading = Reading { poll_every, meter, attached, finder, hinted, profiler, reader };
        Ok(Self { rung, reading, tasks })
    }

    /// What the kernel took: for the log line at start.
    #[must_use]
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Reads until `stop`, then has nothing more recorded, takes what is in the rings, and sends what is held. Reads on a
    /// thread of its own, and sends on the runtime that this is called on. The kernel may take longer to take off
    /// the last hooks.
    pub async fn run(self, stop: CancellationToken) -> Result<HooksOff, Error> {
        let Self { rung: _, reading, tasks } = self;
        let meter = reading.meter.clone();
        // The sending side goes on until the last record was read.
        let read_all = CancellationToken::new();
        let Tasks { emit, identity, rules } = tasks;
        let emit = tokio::spawn(meter.task(emit.run(read_all.clone())));
        let identity = tokio::spawn(meter.task(identity.run(read_all.clone())));
        let rules = tokio::spawn(meter.task(rules.run(read_all.clone())));
        let stop = stop.child_token();
        let stopped = stop.clone();
        let read = reader::thread::alone(stop, move || reading.run(stopped)).await.flatten();
        read_all.cancel();
        emit.await.map_err(Error::Task)?;
        identity.await.map_err(Error::Task)?;
        rules.await.map_err(Error::Task)?;
        read
    }
}

impl Reading {
    async fn run(self, stop: CancellationToken) -> Result<HooksOff, Error> {
        let Self { poll_every, meter, attached, finder, hinted, profiler, mut reader } = self;
        let profiled = stop.child_token();
        // A thread cannot be dropped: it ends with this, however this ends.
        let _profiled = profiled.clone().drop_guard();
        let profiling = profiler.map(|one| one.start(profiled.clone())).transpose()?;
        let find = async {
            match finder {
                Some(finder) => finder.run(hinted, stop.clone(), meter.clone()).await,
                None => Ok(()),
            }
        };
        let reading = async { tokio::join!(reader.run(poll_every, &stop), find) };
        let (result, found) = meter.task(reading).await;
        reader.last_walk().await;
        let off = attached.off();
        profiled.cancel();
        let profiled = match profiling {
            Some(profiling) => profiling.ended().await,
            None => Ok(()),
        };
        reader.drain().await;
        result.and(found).and(profiled).map(|()| off)
    }
}

fn table(capture: &CaptureConfig, limits: protocol::Limits, memory: Memory) -> TableConfig {
    TableConfig {
        connections_max: usize::try_from(capture.connections_max).unwrap_or(usize::MAX),
        idle_max_nanos: nanos(capture.connection_idle_max),
        limits: Arc::new(limits),
        memory,
    }
}

/// Looks at processes and the machine.
fn looks(config: &MachineConfig, proc_dir: PathBuf, meter: &Meter) -> Rounds<machine::Reading> {
    let reader = || Arc::new(machine::reader(proc_dir, config.processes_max)) as Work<_>;
    Rounds::new(config.enabled.then(reader), config.every, meter)
}

/// Hooks the kernel and the libraries that are in use; who looks for more of those, and who profiles.
fn hook(
    capture: CaptureConfig,
    profiling: Prepared,
    metrics: TlsMetrics,
) -> Result<(Loaded, Option<Finder>, Option<Profiler>), Error> {
    let mut loaded = load::load(&capture, &profiling.config)?;
    let profiler = loaded.profile.take().map(|maps| Profiler::new(profiling, maps));
    let (loaded, finder) = find_libraries(loaded, capture.tls, metrics);
    Ok((loaded, finder, profiler))
}

/// Hooks the TLS libraries that are in use now, and hands on who looks for more.
fn find_libraries(
    mut loaded: Loaded,
    config: TlsConfig,
    metrics: TlsMetrics,
) -> (Loaded, Option<Finder>) {
    let finder = loaded.tls_ready.take().map(|ready| {
        let hooks = Hooks::new(Arc::clone(&loaded.programs), ready, config.libraries_max);
        let mut finder = Finder::new(config, hooks, metrics);
        finder.begin();
        finder
    });
    (loaded, finder)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
