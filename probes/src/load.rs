//! Puts the kernel programs into the kernel.
//!
//! Invariant: programs are attached only when all of a rung are loaded, and they are gone when
//! [`Loaded`] is dropped.

use std::sync::{Arc, Mutex};

use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues};
use aya::{Btf, Ebpf, EbpfLoader, Endianness};
use icecore_probe_events::{
    COUNTERS, Connection, DropSettings, Dropped, ProfileSettings, RingSettings, Settings, Talk,
    Told,
};

use crate::attach::{
    Counts, Datagrams, Drops, NOTHING, Switch, Talks, attach, attach_drops, attach_processes,
    attach_profile, attach_rings, attach_senders, load_tls, load_walk,
};
use crate::config::CaptureConfig;
use crate::error::Error;
use crate::kernel::{
    Reasons, Rung, Survey, drop_settings, profile_settings, ring_settings, settings,
};
use crate::profile::{ProfileConfig, ProfileMaps};
use crate::ring::Ring;

/// The object that `build.rs` made; empty when it was told to skip.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probes.bpf.o"));

/// The kernel's table of connections.
pub(crate) type Connections = HashMap<MapData, u64, [u8; size_of::<Connection>()]>;
/// What user space found out of connections.
pub(crate) type Verdicts = HashMap<MapData, u64, [u8; size_of::<Told>()]>;
/// The figures of each CPU.
pub(crate) type Figures = PerCpuArray<MapData, [u64; COUNTERS]>;

/// Programs that are attached, and the maps by which they speak.
pub(crate) struct Loaded {
    pub(crate) rung: Rung,
    /// Attached for as long as this is held.
    pub(crate) programs: Arc<Mutex<Ebpf>>,
    pub(crate) data: Ring,
    pub(crate) control: Ring,
    /// Accounts of connections that have ended.
    pub(crate) events: Ring,
    /// Starts and ends of processes.
    pub(crate) processes: Ring,
    /// Those are told; false where they are not wanted or the kernel refuses it.
    pub(crate) lives: bool,
    pub(crate) connections: Connections,
    pub(crate) verdicts: Verdicts,
    pub(crate) figures: Figures,
    /// The kernel lets the open sockets be walked over.
    pub(crate) walks: bool,
    /// What it throws away; none where that is not wanted or cannot be counted.
    pub(crate) drops: Option<Drops>,
    /// What passes by UDP; none where that is not wanted.
    pub(crate) datagrams: Option<Datagrams>,
    /// It is known from whom datagrams are.
    pub(crate) senders: bool,
    /// What `io_uring` moves is read.
    pub(crate) io_uring: bool,
    /// Since when each TLS library is hooked; none where no library is to be or can be.
    pub(crate) tls_ready: Option<Array<MapData, u64>>,
    /// Silences the probes on those.
    pub(crate) tls_off: Option<Switch>,
    /// Samples of all CPUs; none where they are not to be or cannot be taken.
    pub(crate) profile: Option<ProfileMaps>,
}

/// How CPUs are sampled, and what is thrown away is counted.
struct Profiled<'a> {
    config: &'a ProfileConfig,
    settings: ProfileSettings,
    /// None where it cannot be.
    drops: Option<(DropSettings, Reasons)>,
    /// None where requests of `io_uring` cannot be read.
    rings: Option<RingSettings>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("rung", &self.rung).finish_non_exhaustive()
    }
}

/// This binary carries kernel programs.
pub(crate) fn built() -> bool {
    !OBJECT.is_empty()
}

/// Loads and attaches the best rung that the kernel takes.
pub(crate) fn load(config: &CaptureConfig, profile: &ProfileConfig) -> Result<Loaded, Error> {
    if !built() {
        return Err(Error::NotBuilt);
    }
    let survey = Survey::take();
    let rungs = survey.rungs(config.rung)?;
    let bytes = survey.btf.as_deref().unwrap_or_default();
    let settings = settings(bytes, config)?;
    let drops = drop_settings(bytes).filter(|_| config.accounts && config.drops_max > 0);
    let profiled = Profiled {
        config: profile,
        settings: profile_settings(bytes, profile)?,
        drops: drops.map(|drops| (drops, Reasons::read(bytes))),
        rings: ring_settings(bytes),
    };
    let types = Btf::parse(bytes, Endianness::default()).map_err(|e| Error::Load(Box::new(e)))?;
    let mut refused = None;
    for rung in rungs {
        match load_rung(rung, config, &settings, &profiled, &types) {
            Ok(loaded) => return Ok(loaded),
            Err(error) => {
                let reason: &dyn std::error::Error = &error;
                tracing::warn!(rung = rung.name(), reason, "hooks refused by the kernel");
                refused = Some(error);
            }
        }
    }
    Err(refused.unwrap_or(Error::NotBuilt))
}

fn load_rung(
    rung: Rung,
    config: &CaptureConfig,
    settings: &Settings,
    profiled: &Profiled<'_>,
    types: &Btf,
) -> Result<Loaded, Error> {
    let mut programs = open(config, settings, profiled, types)?;
    let data = ring(&mut programs, "DATA")?;
    let control = ring(&mut programs, "CONTROL")?;
    let events = ring(&mut programs, "EVENTS")?;
    let processes = ring(&mut programs, "PROCESSES")?;
    let connections =
        HashMap::try_from(map(&mut programs, "CONNECTIONS")?).map_err(unusable("CONNECTIONS"))?;
    let verdicts =
        HashMap::try_from(map(&mut programs, "VERDICTS")?).map_err(unusable("VERDICTS"))?;
    let figures =
        PerCpuArray::try_from(map(&mut programs, "FIGURES")?).map_err(unusable("FIGURES"))?;
    let tls_ready = if config.tls.enabled { tls(&mut programs)? } else { None };
    let tls_off = tls_ready.as_ref().map(|_ready| tls_off(&mut programs)).transpose()?;
    let walks = config.accounts && config.walks && walks(&mut programs, types);
    let datagrams = datagrams(&mut programs, settings.datagrams)?;
    attach(&mut programs, rung, types)?;
    // As a system call ends, whom it names stands in the caller's memory.
    let named = rung == Rung::SyscallTracepoints;
    let senders = datagrams.is_some() && (named || senders(&mut programs));
    let reasons = profiled.drops.as_ref().map(|(_, reasons)| reasons.clone());
    let drops = reasons.and_then(|reasons| drops(&mut programs, types, reasons, config.drops_max));
    // At the end of system calls nobody sees what it moves.
    let io_uring =
        rung != Rung::SyscallTracepoints && profiled.rings.is_some() && rings(&mut programs, types);
    let lives = config.processes && lives(&mut programs, types);
    let profile = profiled.config.enabled.then(|| sampled(&mut programs, profiled.config.hertz));
    let programs = Arc::new(Mutex::new(programs));
    Ok(Loaded {
        rung,
        programs,
        data,
        control,
        events,
        processes,
        lives,
        connections,
        verdicts,
        figures,
        walks,
        drops,
        datagrams,
        senders,
        io_uring,
        tls_ready,
        tls_off,
        profile: profile.flatten(),
    })
}

/// Gives the kernel the maps; of the programs, those that are asked for are loaded later.
fn open(
    config: &CaptureConfig,
    settings: &Settings,
    profiled: &Profiled<'_>,
    types: &Btf,
) -> Result<Ebpf, Error> {
    let ProfileConfig { enabled, ring_bytes, .. } = *profiled.config;
    // What is not used takes next to nothing.
    let dropping = profiled.drops.as_ref().map(|(settings, _)| *settings).unwrap_or_default();
    let ringing = profiled.rings.unwrap_or_default();
    let (cpus, ring_bytes) = if enabled { (possible_cpus(), ring_bytes) } else { (1, 4096) };
    EbpfLoader::new()
        .btf(Some(types))
        .override_global("SETTINGS", settings.as_bytes(), true)
        .override_global("PROFILE", profiled.settings.as_bytes(), true)
        .override_global("DROPPING", dropping.as_bytes(), true)
        .override_global("RINGING", ringing.as_bytes(), true)
        .map_max_entries("DROPS", config.drops_max.max(1))
        .map_max_entries("DATAGRAMS", settings.datagrams.max(1))
        .map_max_entries("SAMPLES", ring_bytes)
        .map_max_entries("SAMPLE", cpus)
        .map_max_entries("DATA", config.data_ring_bytes)
        .map_max_entries("CONTROL", config.control_ring_bytes)
        .map_max_entries("EVENTS", config.events_ring_bytes)
        .map_max_entries("PROCESSES", config.processes_ring_bytes)
        .map_max_entries("OPENED", config.connections_max)
        .map_max_entries("CONNECTIONS", config.connections_max)
        .map_max_entries("VERDICTS", config.connections_max)
        .map_max_entries("TLS_SESSIONS", config.connections_max)
        .map_max_entries("TLS_HELLOS", config.connections_max)
        .map_max_entries("TLS_FITTING", config.connections_max)
        .map_max_entries("GO_READ", config.connections_max)
        .map_max_entries("RUSTLS_KEYS", config.connections_max)
        .map_max_entries("TLS_READY", u32::try_from(config.tls.libraries_max).unwrap_or(1))
        .load(OBJECT)
        .map_err(|error| Error::Load(Box::new(error)))
}

/// Makes ready what walks over the open sockets. Where the kernel does not take it, connections are
/// seen when they end.
fn walks(programs: &mut Ebpf, types: &Btf) -> bool {
    let loaded = load_walk(programs, types);
    if let Err(error) = &loaded {
        let reason: &dyn std::error::Error = error;
        tracing::warn!(
            reason,
            "open sockets cannot be walked over: connections count at their end"
        );
    }
    loaded.is_ok()
}

/// Has what is thrown away counted. Where the kernel does not take it, it is not.
fn drops(programs: &mut Ebpf, types: &Btf, reasons: Reasons, entries_max: u32) -> Option<Drops> {
    let counted = drop_counts(programs)
        .and_then(|counts| attach_drops(programs, types).map(|()| counts))
        .map(|counts| Drops::new(counts, reasons, entries_max));
    if let Err(error) = &counted {
        let reason: &dyn std::error::Error = error;
        tracing::warn!(reason, "what the kernel throws away cannot be counted here");
    }
    counted.ok()
}

/// The map of those, with its entry for all that find no place of their own.
fn drop_counts(programs: &mut Ebpf) -> Result<Counts, Error> {
    let mut counts = Counts::try_from(map(programs, "DROPS")?).map_err(unusable("DROPS"))?;
    let elsewhere = Dropped::ELSEWHERE.to_bytes();
    let none = PerCpuValues::try_from(vec![0; usize::try_from(possible_cpus()).unwrap_or(1)])
        .map_err(|error| Error::Map { map: "DROPS", source: Box::new(error) })?;
    counts.insert(elsewhere, none, 0).map_err(unusable("DROPS"))?;
    Ok(counts)
}

/// What passes by UDP, as the programs will count it; none where that is not wanted.
fn datagrams(programs: &mut Ebpf, entries_max: u32) -> Result<Option<Datagrams>, Error> {
    if entries_max == 0 {
        return Ok(None);
    }
    Ok(Some(Datagrams::new(talks(programs)?, entries_max)))
}

/// Has it told from whom datagrams are. Where the kernel does not take it, those that come to a socket which is not
/// connected have no peer.
fn senders(programs: &mut Ebpf) -> bool {
    let attached = attach_senders(programs);
    if let Err(error) = &attached {
        let reason: &dyn std::error::Error = error;
        tracing::warn!(reason, "datagrams to sockets that are not connected have no peer here");
    }
    attached.is_ok()
}

/// The map of that, with its entry for all that find no place of their own.
fn talks(programs: &mut Ebpf) -> Result<Talks, Error> {
    let mut talks = Talks::try_from(map(programs, "DATAGRAMS")?).map_err(unusable("DATAGRAMS"))?;
    let none = PerCpuValues::try_from(vec![NOTHING; usize::try_from(possible_cpus()).unwrap_or(1)])
        .map_err(|error| Error::Map { map: "DATAGRAMS", source: Box::new(error) })?;
    talks.insert(Talk::ELSEWHERE.to_bytes(), none, 0).map_err(unusable("DATAGRAMS"))?;
    Ok(talks)
}

/// Has requests of `io_uring` read. Where the kernel does not take it, what they move is counted alone.
fn rings(programs: &mut Ebpf, types: &Btf) -> bool {
    let attached = attach_rings(programs, types);
    if let Err(error) = &attached {
        let reason: &dyn std::error::Error = error;
        tracing::warn!(reason, "what io_uring moves cannot be read here");
    }
    attached.is_ok()
}

/// Has starts and ends of processes told. Where the kernel does not take it, they are not.
fn lives(programs: &mut Ebpf, types: &Btf) -> bool {
    let attached = attach_processes(programs, types);
    if let Err(error) = &attached {
        let reason: &dyn std::error::Error = error;
        tracing::warn!(reason, "starts and ends of processes cannot be seen here");
    }
    attached.is_ok()
}

/// Has all CPUs sampled. Where the kernel does not take it, there are no profiles.
fn sampled(programs: &mut Ebpf, hertz: u64) -> Option<ProfileMaps> {
    let maps = profile_maps(programs);
    let maps = maps.and_then(|maps| attach_profile(programs, hertz).map(|()| maps));
    if let Err(error) = &maps {
        let reason: &dyn std::error::Error = error;
        tracing::warn!(reason, "CPUs cannot be sampled: there are no profiles");
    }
    maps.ok()
}

fn profile_maps(programs: &mut Ebpf) -> Result<ProfileMaps, Error> {
    let samples = ring(programs, "SAMPLES")?;
    let figures = map(programs, "SAMPLE_FIGURES")?;
    let figures = PerCpuArray::try_from(figures).map_err(unusable("SAMPLE_FIGURES"))?;
    Ok(ProfileMaps { samples, figures })
}

fn possible_cpus() -> u32 {
    aya::util::nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1)
}

/// Makes ready what is put on TLS libraries. A kernel that does not take it sees clear text alone.
fn tls(programs: &mut Ebpf) -> Result<Option<Array<MapData, u64>>, Error> {
    if let Err(error) = load_tls(programs) {
        let reason: &dyn std::error::Error = &error;
        tracing::warn!(reason, "encrypted connections cannot be read here");
        return Ok(None);
    }
    Array::try_from(map(programs, "TLS_READY")?).map(Some).map_err(unusable("TLS_READY"))
}

fn tls_off(programs: &mut Ebpf) -> Result<Switch, Error> {
    Array::try_from(map(programs, "TLS_OFF")?).map_err(unusable("TLS_OFF"))
}

fn map(programs: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, Error> {
    programs
        .take_map(name)
        .ok_or_else(|| Error::Map { map: name, source: "it is not in the object".into() })
}

fn ring(programs: &mut Ebpf, name: &'static str) -> Result<Ring, Error> {
    let ring = Ring::open(map(programs, name)?);
    ring.map_err(|error| Error::Map { map: name, source: Box::new(error) })
}

fn unusable(map: &'static str) -> impl FnOnce(aya::maps::MapError) -> Error {
    move |error| Error::Map { map, source: Box::new(error) }
}

#[cfg(test)]
mod tests;
