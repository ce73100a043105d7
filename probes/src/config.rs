//! What a probe can be told, with its defaults.
//!
//! Invariant: a configuration that [`Config::check`] lets pass can be used as it is; nothing is
//! rounded or corrected later on.

use std::ops::RangeInclusive;
use std::time::Duration;

use icecore_probe_events::STACK_BYTES_MAX;

use crate::budget::BudgetConfig;
use crate::emit::EmitConfig;
use crate::error::Error;
use crate::identity::IdentityConfig;
use crate::machine::MachineConfig;
use crate::network::NetworkConfig;
use crate::pipeline::PipelineConfig;
use crate::profile::ProfileConfig;
use crate::protocol::Limits;
use crate::rules::RulesConfig;
use crate::tie::TieConfig;

/// Settings of the whole agent.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// How bytes are taken from the kernel.
    pub capture: CaptureConfig,
    /// What the parsers may hold and what they keep.
    pub limits: Limits,
    /// Spans and histograms.
    pub pipeline: PipelineConfig,
    /// What TCP connections move, and how they fare.
    pub network: NetworkConfig,
    /// What processes and the machine use.
    pub machine: MachineConfig,
    /// What the CPUs do.
    pub profile: ProfileConfig,
    /// Processes, containers and pods.
    pub identity: IdentityConfig,
    /// What is traced, sampled and taken out.
    pub rules: RulesConfig,
    /// What all of this may cost.
    pub budget: BudgetConfig,
    /// Where everything goes.
    pub emit: EmitConfig,
}

/// Which hooks to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RungChoice {
    /// The first rung that this kernel allows.
    #[default]
    Auto,
    /// BTF tracepoints on sockets, or nothing: costs other system calls nothing.
    BtfTracepoints,
    /// The functions of TCP and UDP that send and receive, or nothing: costs other system calls nothing, and
    /// needs a kernel that lets programs be put on its functions.
    Functions,
    /// The tracepoint at the end of system calls, or nothing: works on older kernels and costs
    /// every system call of the machine a few dozen nanoseconds.
    SyscallTracepoints,
}

/// How bytes are taken from the kernel.
#[derive(Debug, Clone)]
pub struct CaptureConfig {
    /// Which hooks to use.
    pub rung: RungChoice,
    /// What is copied of one send or receive call; the rest is counted by size. At most 4 MiB, which is as much as gRPC
    /// in C reads at once. A chunked body whose framing lies beyond it has no exact size, and calls of HTTP/2 behind it
    /// no fields that refer back to what was beyond it.
    pub call_bytes_max: u32,
    /// What is copied of a connection before user space has told its protocol, beyond calls that
    /// clearly begin a request. Rides out what passes until the agent has looked, for which 16 KiB of it wake it.
    pub look_bytes_max: u32,
    /// The ring for payload. A power of two and at least 64 KiB; by default 4 MiB for each CPU, up to 16. At some 1,200 bytes
    /// a request, both ends of which are seen, 8 MiB ride out 7,000 requests while the agent does not get to run; what finds
    /// no room is counted.
    pub data_ring_bytes: u32,
    /// The ring for ends of connections, apart so that a flood of payload cannot drop them.
    pub control_ring_bytes: u32,
    /// The ring for what becomes of connections, apart from their payload: about 180 bytes for each
    /// that ends. What finds no room is counted.
    pub events_ring_bytes: u32,
    /// Connections that the kernel programs and the agent each follow; beyond it the one used the
    /// longest ago makes room. About 200 bytes each in the kernel.
    pub connections_max: u32,
    /// A connection without traffic for this long is forgotten by the agent.
    pub connection_idle_max: Duration,
    /// How often the rings are looked at when nothing wakes the agent, as long as something passes. The longer, the longer the
    /// agent has a CPU for itself when it does look, which is what the slowest answers of a server beside it wait for.
    pub poll_every: Duration,
    /// Bytes in the payload ring that wake the agent at once.
    pub wake_bytes: u32,
    /// Records that are parsed before other tasks of the process get their turn.
    pub turn_records_max: usize,
    /// Account for TCP connections: what each moves, and how it begins and ends.
    pub accounts: bool,
    /// Tell of programs that begin and processes that end.
    pub processes: bool,
    /// The ring for those, about 200 bytes each: 256 KiB ride out 1,300 in the time of a look. What
    /// finds no room is counted.
    pub processes_ring_bytes: u32,
    /// Walk over the open sockets, where the kernel allows it. Without, a connection counts at its end.
    pub walks: bool,
    /// Flows and reasons by which segments that the kernel throws away are counted, some 150 bytes each and 8
    /// for each CPU; the rest is counted together. 0: none is.
    pub drops_max: u32,
    /// Processes and peers by which what passes by UDP is counted, some 150 bytes each and 48 for each CPU; the
    /// rest is counted together. 0: none is. With `accounts` alone.
    pub datagrams_max: u32,
    /// What passes inside TLS.
    pub tls: TlsConfig,
}

/// How the clear text of encrypted connections is taken from TLS libraries.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// Hook TLS libraries. A call into one that is hooked costs its program two traps.
    pub enabled: bool,
    /// Files that are hooked at a time; one more is refused and counted. About 12 descriptors each.
    pub libraries_max: usize,
    /// How often new processes are looked for. One that is started with a library that nobody has
    /// used before is seen after this; with any other, from its first call on.
    pub scan_every: Duration,
    /// How long a library stays hooked without a process that uses it. One in the file system of a
    /// container goes at once, since a hook keeps that from being unmounted.
    pub linger: Duration,
    /// What is copied of a TLS handshake, both ways together: the names and versions are in its
    /// beginning.
    pub handshake_bytes_max: u32,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            libraries_max: 64,
            scan_every: Duration::from_secs(1),
            linger: Duration::from_mins(10),
            handshake_bytes_max: 8 << 10,
        }
    }
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            rung: RungChoice::default(),
            call_bytes_max: 4 << 20,
            look_bytes_max: 1 << 20,
            data_ring_bytes: by_cpus(4 << 20, (4 << 20)..=(16 << 20)),
            control_ring_bytes: 256 << 10,
            events_ring_bytes: 1 << 20,
            connections_max: 32_768,
            connection_idle_max: Duration::from_mins(15),
            poll_every: Duration::from_millis(20),
            wake_bytes: 256 << 10,
            turn_records_max: 256,
            accounts: true,
            drops_max: 4_096,
            datagrams_max: 4_096,
            processes: true,
            processes_ring_bytes: 256 << 10,
            walks: true,
            tls: TlsConfig::default(),
        }
    }
}

/// So much for each CPU of the machine, within these bounds, all of which are powers of two: more CPUs fill a ring faster,
/// and have more memory beside them.
pub(crate) fn by_cpus(each: u32, bounds: RangeInclusive<u32>) -> u32 {
    let cpus = aya::util::nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1);
    let wanted = cpus.checked_next_power_of_two().and_then(|cpus| cpus.checked_mul(each));
    wanted.unwrap_or(u32::MAX).clamp(*bounds.start(), *bounds.end())
}

impl Config {
    /// Finds the first fault.
    pub fn check(&self) -> Result<(), Error> {
        let CaptureConfig {
            rung: _,
            call_bytes_max,
            look_bytes_max,
            data_ring_bytes,
            control_ring_bytes,
            events_ring_bytes,
            connections_max,
            connection_idle_max,
            poll_every,
            wake_bytes,
            turn_records_max,
            accounts: _,
            drops_max,
            datagrams_max,
            processes: _,
            processes_ring_bytes,
            walks: _,
            tls,
        } = &self.capture;
        within("call_bytes_max", u64::from(*call_bytes_max), 1_024, 4 << 20)?;
        within("look_bytes_max", u64::from(*look_bytes_max), 0, 1 << 20)?;
        ring_size("data_ring_bytes", *data_ring_bytes)?;
        ring_size("control_ring_bytes", *control_ring_bytes)?;
        ring_size("events_ring_bytes", *events_ring_bytes)?;
        ring_size("processes_ring_bytes", *processes_ring_bytes)?;
        within("connections_max", u64::from(*connections_max), 16, 4 << 20)?;
        within("drops_max", u64::from(*drops_max), 0, 65_536)?;
        within("datagrams_max", u64::from(*datagrams_max), 0, 65_536)?;
        within("connection_idle_max in seconds", connection_idle_max.as_secs(), 1, 86_400)?;
        let poll_ms = u64::try_from(poll_every.as_millis()).unwrap_or(u64::MAX);
        within("poll_every in milliseconds", poll_ms, 1, 1_000)?;
        within("wake_bytes", u64::from(*wake_bytes), 0, u64::from(*data_ring_bytes / 2))?;
        within("turn_records_max", *turn_records_max as u64, 1, 65_536)?;
        tls.check()?;
        self.network.check()?;
        self.profile.check()?;
        self.pipeline.ties.check()?;
        self.budget.check()?;
        let least = self.fixed_bytes().saturating_add(SPARE_BYTES_MIN) as u64;
        within("budget memory_bytes_max", self.budget.memory_bytes_max as u64, least, u64::MAX)?;
        let MachineConfig { enabled: _, every, processes_max, events_per_second_max } =
            &self.machine;
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        within("machine every in milliseconds", every_ms, 100, 3_600_000)?;
        within("machine processes_max", *processes_max as u64, 0, 4 << 20)?;
        within("machine events_per_second_max", *events_per_second_max, 0, 1_000_000)?;
        let RulesConfig { file: _, every, body_bytes, sql: _ } = &self.rules;
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        within("rules every in milliseconds", every_ms, 10, 3_600_000)?;
        within("rules body_bytes", *body_bytes as u64, 0, 1 << 20)
    }
}

/// Beside what is fixed.
const SPARE_BYTES_MIN: usize = 16 << 20;
/// What the kernel's tables hold of a connection at most: four of them, each with a head of some 64 bytes.
const KERNEL_BYTES_A_CONNECTION: usize = 600;

/// What a sample takes that waits to be told with its request.
const HELD_SAMPLE_BYTES: usize = 300;

/// What is held of a place where segments were dropped: in the kernel, a number for each of a hundred CPUs.
const DROPS_BYTES: usize = 1_024;
/// What the kernel and the agent hold of a process and its peer by UDP, and what the kernel has more on each CPU.
const TALK_BYTES: [usize; 2] = [320, 48];

impl Config {
    /// Rings, maps and tables of files, at their largest.
    pub(crate) fn fixed_bytes(&self) -> usize {
        let CaptureConfig { data_ring_bytes, control_ring_bytes, events_ring_bytes, .. } =
            self.capture;
        let CaptureConfig { processes_ring_bytes, connections_max, drops_max, .. } = self.capture;
        let datagrams_max = self.capture.datagrams_max as usize;
        let [once, on_each] = TALK_BYTES;
        let talk_bytes = aya::util::nr_cpus().unwrap_or(1).saturating_mul(on_each) + once;
        let rings = [data_ring_bytes, control_ring_bytes, events_ring_bytes, processes_ring_bytes];
        let rings = rings.into_iter().fold(0, |sum: usize, ring| sum.saturating_add(ring as usize));
        let maps = (connections_max as usize).saturating_mul(KERNEL_BYTES_A_CONNECTION);
        let maps = maps.saturating_add((drops_max as usize).saturating_mul(DROPS_BYTES));
        let maps = maps.saturating_add(datagrams_max.saturating_mul(talk_bytes));
        let ProfileConfig { enabled, ring_bytes, tables_bytes_max, .. } = self.profile;
        let held = self.profile.held_max.saturating_mul(HELD_SAMPLE_BYTES);
        let profiler = (ring_bytes as usize).saturating_add(tables_bytes_max).saturating_add(held);
        rings.saturating_add(maps).saturating_add(if enabled { profiler } else { 0 })
    }
}

impl ProfileConfig {
    fn check(&self) -> Result<(), Error> {
        let Self { enabled: _, hertz, every, stack_bytes_max, ring_bytes, .. } = self;
        let Self { stacks_max, processes_max, files_max, tables_bytes_max, .. } = self;
        within("profile hertz", *hertz, 1, 1_000)?;
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        within("profile every in milliseconds", every_ms, 100, 3_600_000)?;
        within(
            "profile stack_bytes_max",
            u64::from(*stack_bytes_max),
            256,
            STACK_BYTES_MAX as u64 - 1,
        )?;
        ring_size("profile ring_bytes", *ring_bytes)?;
        within("profile stacks_max", *stacks_max as u64, 1, 1 << 20)?;
        within("profile processes_max", *processes_max as u64, 1, 1 << 20)?;
        within("profile files_max", *files_max as u64, 1, 1 << 16)?;
        within("profile tables_bytes_max", *tables_bytes_max as u64, 1 << 20, 4 << 30)?;
        within("profile cpu_percent_max", self.cpu_percent_max, 1, 10_000)?;
        let wait_ms = u64::try_from(self.link_wait.as_millis()).unwrap_or(u64::MAX);
        within("profile link_wait in milliseconds", wait_ms, 0, 600_000)?;
        within("profile held_max", self.held_max as u64, 1, 1 << 20)
    }
}

impl NetworkConfig {
    fn check(&self) -> Result<(), Error> {
        let Self { every, peers_max, pairs_max, .. } = self;
        let Self { records_per_second_max, sockets_max, names_max, .. } = self;
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        within("network every in milliseconds", every_ms, 100, 3_600_000)?;
        within("network peers_max", *peers_max as u64, 1, 1 << 20)?;
        within("network pairs_max", *pairs_max as u64, 0, 1 << 20)?;
        within("network records_per_second_max", *records_per_second_max, 0, 1_000_000)?;
        within("network sockets_max", *sockets_max as u64, 16, 4 << 20)?;
        within("network names_max", *names_max as u64, 0, 1 << 20)
    }
}

impl BudgetConfig {
    fn check(&self) -> Result<(), Error> {
        let Self { cpu_percent_max, cpu_window, spans_one_in_max, memory_bytes_max: _ } = self;
        within("budget spans_one_in_max", *spans_one_in_max, 1, 1024)?;
        within("budget cpu_percent_max", *cpu_percent_max, 0, 100_000)?;
        within("budget cpu_window in seconds", cpu_window.as_secs(), 1, 3_600)
    }
}

impl TieConfig {
    fn check(&self) -> Result<(), Error> {
        let Self { wait, requests_max, bytes_max } = self;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        within("ties wait in milliseconds", wait_ms, 0, 60_000)?;
        within("ties requests_max", *requests_max as u64, 16, 4 << 20)?;
        within("ties bytes_max", *bytes_max as u64, 64 << 10, 16 << 30)
    }
}

impl TlsConfig {
    fn check(&self) -> Result<(), Error> {
        let Self { enabled: _, libraries_max, scan_every, linger, handshake_bytes_max } = self;
        within("tls libraries_max", *libraries_max as u64, 1, 1_024)?;
        let scan_ms = u64::try_from(scan_every.as_millis()).unwrap_or(u64::MAX);
        within("tls scan_every in milliseconds", scan_ms, 10, 60_000)?;
        within("tls linger in seconds", linger.as_secs(), 0, 86_400)?;
        within("tls handshake_bytes_max", u64::from(*handshake_bytes_max), 0, 64 << 10)
    }
}

fn within(name: &'static str, value: u64, least: u64, most: u64) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Config { name, value, reason: format!("it must be between {least} and {most}") })
}

fn ring_size(name: &'static str, value: u32) -> Result<(), Error> {
    within(name, u64::from(value), 64 << 10, 1 << 30)?;
    if value.is_power_of_two() {
        return Ok(());
    }
    let reason = "it must be a power of two".to_owned();
    Err(Error::Config { name, value: u64::from(value), reason })
}
