//! Finds the TLS libraries that processes use, and hooks them; a program with its own is one as well.
//!
//! A library is a file: hooked once, for all processes that map it now or later. Invariants: all of
//! this is done off the path of events; a file is looked into once, whatever its name; nothing is
//! held of a process that is gone, and of a library only as long as somebody may use it.

mod boring;
mod elf;
mod families;
mod found;
mod go;
mod hooks;
mod mapped;
mod metrics;
mod returns;
mod rustls;
mod stretch;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::budget::Meter;
use crate::clock::monotonic;
use crate::config::TlsConfig;
use crate::error::Error;
use hooks::{Hooked, Refusal};
pub(crate) use hooks::{Hooks, programs};
use mapped::{FileId, Mapped};
pub(crate) use metrics::TlsMetrics;

/// How many functions of a file would be hooked, by its symbols, by Go's table, by the symbols of Rust, and by what BoringSSL
/// says of itself: for fuzzing. The file may hold anything.
#[must_use]
pub fn functions_to_hook(file: &File) -> [usize; 4] {
    let count = |found: Option<found::Found>| found.map_or(0, |found| found.functions.len());
    [
        count(elf::functions(file)),
        count(go::functions(file).unwrap_or_default()),
        count(rustls::functions(file).unwrap_or_default()),
        count(boring::functions(file).unwrap_or_default()),
    ]
}

/// Where processes are shown.
const PROC: &str = "/proc";
/// Files that were looked into in vain, and are remembered for that.
const KNOWN_FILES_MAX: usize = 8_192;
/// Times that a new process is looked at: it may not have executed its program yet at the first.
const LOOKS: u8 = 2;
/// Scans between two looks at a process that uses a library and goes on talking TLS.
const USER_LOOKS_APART: u32 = 10;
/// How many processes may wait to be looked at since TLS was seen on a socket of theirs.
const WAITING_MAX: usize = 256;

/// Says to the finder which processes talk TLS.
#[derive(Debug)]
pub(crate) struct Hints {
    queue: mpsc::Sender<u32>,
    dropped: Counter,
}

impl Hints {
    /// TLS was seen on a socket of this process. Never waits: a hint without room is counted, and the
    /// process's next connection gives another.
    pub(crate) fn talks_tls(&self, pid: u32) {
        if self.queue.try_send(pid).is_err() {
            self.dropped.inc();
        }
    }
}

/// A way to hint, and where hints arrive.
pub(crate) fn hints(metrics: &TlsMetrics) -> (Hints, mpsc::Receiver<u32>) {
    let (queue, hinted) = mpsc::channel(WAITING_MAX);
    (Hints { queue, dropped: metrics.hints_dropped.clone() }, hinted)
}

/// Looks for libraries.
pub(crate) struct Finder {
    config: TlsConfig,
    hooks: Hooks,
    metrics: TlsMetrics,
    processes: HashMap<u32, Looks>,
    libraries: HashMap<FileId, Library>,
    /// Files without anything to hook.
    others: HashSet<FileId>,
    own_mounts: Option<PathBuf>,
}

/// How a process was looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Looks {
    /// How often, of its own accord.
    count: u8,
    /// When last since TLS was seen on a socket of its, monotonic clock in nanoseconds.
    hinted: u64,
}

/// A file that is hooked.
struct Library {
    hooked: Hooked,
    users: BTreeSet<u32>,
    /// Not let go when nobody uses it: one of the system's own.
    kept: bool,
    /// In another mount namespace, which must not be held up.
    foreign: bool,
    /// When it lost its last user, monotonic clock in nanoseconds.
    unused_since: Option<u64>,
}

impl std::fmt::Debug for Finder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finder").field("libraries", &self.libraries.len()).finish_non_exhaustive()
    }
}

impl Finder {
    pub(crate) fn new(config: TlsConfig, hooks: Hooks, metrics: TlsMetrics) -> Self {
        Self {
            config,
            hooks,
            metrics,
            processes: HashMap::new(),
            libraries: HashMap::new(),
            others: HashSet::new(),
            own_mounts: mounts(std::process::id()),
        }
    }

    /// Hooks the system's own libraries, so that a process which lives for an instant is seen, and
    /// those of all processes that run. Takes some hundred milliseconds.
    pub(crate) fn begin(&mut self) {
        for path in families::system_libraries() {
            let Some(mapped) = Mapped::of_file(&path) else { continue };
            self.look_into(&mapped, None);
        }
        self.scan();
    }

    /// Looks again and again, and at each process that hints name, until `stop`.
    pub(crate) async fn run(
        mut self,
        mut hints: mpsc::Receiver<u32>,
        stop: CancellationToken,
        meter: Meter,
    ) -> Result<(), Error> {
        let mut tick = tokio::time::interval(self.config.scan_every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let hint = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(pid) = hints.recv() => Some(pid),
                _ = tick.tick() => None,
            };
            if hint.is_some_and(|pid| !self.heeds(pid, monotonic())) {
                continue;
            }
            let work = move || {
                match hint {
                    Some(pid) => self.look_at(pid),
                    None => self.scan(),
                }
                self
            };
            let meter = meter.clone();
            let work = move || meter.work(work);
            let looked = tokio::task::spawn_blocking(work);
            self = tokio::select! {
                // Libraries that are let go take the kernel seconds, and files may not answer.
                () = stop.cancelled() => return Ok(()),
                looked = looked => looked.map_err(Error::Task)?,
            };
        }
    }

    /// Whether a process is looked at now since TLS was seen on a socket of its. It may have loaded a
    /// library late, or one more: one that uses some is looked at again, but seldom.
    fn heeds(&mut self, pid: u32, now: u64) -> bool {
        let uses = self.libraries.values().any(|library| library.users.contains(&pid));
        let apart = self.config.scan_every * if uses { USER_LOOKS_APART } else { 1 };
        let looks = self.processes.entry(pid).or_default();
        let due =
            looks.hinted == 0 || u128::from(now.saturating_sub(looks.hinted)) >= apart.as_nanos();
        if due {
            looks.hinted = now;
        }
        due
    }

    /// Looks at processes that are new, and lets go of what those used that are gone.
    fn scan(&mut self) {
        let alive = pids();
        self.processes.retain(|pid, _| alive.contains(pid));
        for library in self.libraries.values_mut() {
            let gone = library.users.extract_if(.., |pid| !alive.contains(pid));
            let waited = library.hooked.goroutines_wait();
            gone.filter(|_| waited).for_each(|pid| self.hooks.goroutines_wait(pid, false));
        }
        for pid in alive {
            let looks = self.processes.entry(pid).or_default();
            if looks.count < LOOKS {
                looks.count += 1;
                self.look_at(pid);
            }
        }
        self.let_go(monotonic());
        self.show();
    }

    fn look_at(&mut self, pid: u32) {
        if pid == std::process::id() {
            return;
        }
        for mapped in mapped::files(Path::new(PROC), pid) {
            self.look_into(&mapped, Some(pid));
        }
    }

    /// Hooks a file if it holds a TLS library, and notes who uses it.
    fn look_into(&mut self, mapped: &Mapped, pid: Option<u32>) {
        if let Some(library) = self.libraries.get_mut(&mapped.id) {
            let new = pid.filter(|pid| library.users.insert(*pid));
            library.unused_since = None;
            if let Some(pid) = new.filter(|_| library.hooked.goroutines_wait()) {
                self.hooks.goroutines_wait(pid, true);
            }
            return;
        }
        if self.others.contains(&mapped.id) {
            return;
        }
        match self.hook(mapped) {
            Ok(Some(hooked)) => {
                let foreign = pid.is_some_and(|pid| mounts(pid) != self.own_mounts);
                let users = pid.into_iter().collect();
                tracing::info!(file = %mapped.path.display(), family = hooked.family(), "TLS library hooked");
                let kept = pid.is_none();
                if let Some(pid) = pid.filter(|_| hooked.goroutines_wait()) {
                    self.hooks.goroutines_wait(pid, true);
                }
                let library = Library { hooked, users, kept, foreign, unused_since: None };
                self.libraries.insert(mapped.id.clone(), library);
            }
            Ok(None) => self.note_other(mapped),
            Err(refusal) => {
                self.metrics.refused(&refusal);
                let reason: &dyn std::error::Error = &refusal;
                tracing::warn!(file = %mapped.path.display(), reason, "TLS library not hooked");
                self.note_other(mapped);
            }
        }
    }

    fn hook(&mut self, mapped: &Mapped) -> Result<Option<Hooked>, Refusal> {
        // A process that is gone has taken its files with it.
        let Ok(file) = mapped.open() else { return Ok(None) };
        let mut found = elf::functions(&file);
        for look in [go::functions, rustls::functions, boring::functions] {
            if found.is_none() {
                found = look(&file)?;
            }
        }
        let Some(found) = found else { return Ok(None) };
        if self.libraries.len() >= self.config.libraries_max {
            return Err(Refusal::Full { bound: self.config.libraries_max });
        }
        self.hooks.hook(&file, &found).map(Some)
    }

    fn note_other(&mut self, mapped: &Mapped) {
        if self.others.len() >= KNOWN_FILES_MAX {
            self.others.clear();
        }
        self.others.insert(mapped.id.clone());
    }

    /// Takes the hooks off libraries that nobody uses any more.
    fn let_go(&mut self, now: u64) {
        let linger = u64::try_from(self.config.linger.as_nanos()).unwrap_or(u64::MAX);
        let hooks = &mut self.hooks;
        self.libraries.retain(|_, library| {
            if library.kept || !library.users.is_empty() {
                return true;
            }
            let since = *library.unused_since.get_or_insert(now);
            let goes = library.foreign || now.saturating_sub(since) >= linger;
            if goes {
                hooks.unhook(&mut library.hooked);
            }
            !goes
        });
    }

    fn show(&self) {
        let families = self.libraries.values().map(|library| library.hooked.family());
        let users: BTreeSet<u32> =
            self.libraries.values().flat_map(|library| library.users.iter().copied()).collect();
        self.metrics.show(families, users.len());
    }
}

/// The processes that run now.
fn pids() -> HashSet<u32> {
    let Ok(entries) = std::fs::read_dir(PROC) else { return HashSet::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The mount namespace of a process.
fn mounts(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(Path::new(PROC).join(pid.to_string()).join("ns/mnt")).ok()
}

/// The TLS libraries that are installed in the system's own folders, by name: for `icecore doctor`.
pub(crate) fn installed() -> Vec<String> {
    let libraries = families::system_libraries().into_iter();
    libraries.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
}

/// The kernel can put probes on functions of programs.
pub(crate) fn possible() -> bool {
    Path::new("/sys/bus/event_source/devices/uprobe/type").exists()
}
