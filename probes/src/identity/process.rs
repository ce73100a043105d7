//! What procfs says of a process.
//!
//! Invariant: everything in one [`Process`] is of one process: its start time is read before and
//! after the rest.

use std::fs;
use std::path::Path;

use super::cgroup::{self, Cgroup};
use super::docker::Docker;
use crate::redact;

/// Arguments and their bytes that are kept.
const ARGUMENTS_MAX: usize = 64;
const ARGUMENT_BYTES_MAX: usize = 1_024;
/// Attributes of its environment that are kept, and bytes of key and value.
const GIVEN_MAX: usize = 32;
const GIVEN_BYTES_MAX: usize = 255;

/// One process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// In clock ticks (of 10 ms) since boot.
    pub(crate) started_ticks: u64,
    pub(crate) comm: String,
    pub(crate) executable: Option<String>,
    /// Redacted.
    pub(crate) arguments: Vec<String>,
    pub(crate) cgroup: Cgroup,
    /// Attributes that its environment gives it: those of `OTEL_RESOURCE_ATTRIBUTES`, the name of
    /// the service that of `OTEL_SERVICE_NAME` where there is one.
    pub(crate) given: Vec<(String, String)>,
    /// Its container, where Docker runs it and no pod is known. Not of procfs.
    pub(crate) docker: Option<Docker>,
    /// It, or the parent that runs the same program, was started by the init process.
    pub(crate) started_by_init: bool,
}

/// The kernel shows times in ticks of 10 ms on every architecture that we run on.
const TICK_NANOS: u64 = 10_000_000;

/// Nanoseconds since boot as procfs shows them.
pub(crate) fn ticks(started_nanos: u64) -> u64 {
    started_nanos / TICK_NANOS
}

/// When the process that has the pid now was started; none where there is none.
pub(crate) fn started_ticks(proc_dir: &Path, pid: u32) -> Option<u64> {
    stat(proc_dir, pid).map(|stat| stat.started_ticks)
}

/// Reads a process; none where there is none (any more).
pub(crate) fn read(proc_dir: &Path, pid: u32) -> Option<Process> {
    let stat_before = stat(proc_dir, pid)?;
    let dir = proc_dir.join(pid.to_string());
    let text = |name: &str| fs::read(dir.join(name)).unwrap_or_default();
    let executable = executable(&dir);
    let environ = text("environ");
    let parent_dir = proc_dir.join(stat_before.parent.to_string());
    let parent = stat(proc_dir, stat_before.parent).filter(|parent| parent.parent == 1);
    let started_by_init =
        stat_before.parent == 1 || parent.is_some() && self::executable(&parent_dir) == executable;
    let process = Process {
        started_ticks: stat_before.started_ticks,
        comm: String::from_utf8_lossy(&text("comm")).trim_end().to_owned(),
        arguments: arguments(&text("cmdline")),
        cgroup: cgroup::parse(&String::from_utf8_lossy(&text("cgroup"))),
        given: given(&environ),
        executable,
        docker: None,
        started_by_init,
    };
    (started_ticks(proc_dir, pid) == Some(process.started_ticks)).then_some(process)
}

struct Stat {
    parent: u32,
    started_ticks: u64,
}

/// `pid (comm) state ppid … starttime …`; the comm may hold anything, parentheses too.
fn stat(proc_dir: &Path, pid: u32) -> Option<Stat> {
    let text = fs::read(proc_dir.join(pid.to_string()).join("stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (_, rest) = text.rsplit_once(')')?;
    // Fields are numbered from 1 in proc(5); the state behind the comm is the third.
    let mut fields = rest.split_ascii_whitespace();
    let parent = fields.nth(4 - 3)?.parse().ok()?;
    let started_ticks = fields.nth(22 - 4 - 1)?.parse().ok()?;
    Some(Stat { parent, started_ticks })
}

fn executable(dir: &Path) -> Option<String> {
    let path = fs::read_link(dir.join("exe")).ok()?;
    let path = path.to_string_lossy();
    Some(path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned())
}

fn arguments(cmdline: &[u8]) -> Vec<String> {
    // What a program writes over its arguments, to say what it does, ends in as many zeros as they were longer.
    let end = cmdline.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let cmdline = cmdline.split_at(end).0;
    if cmdline.is_empty() {
        return Vec::new();
    }
    let text = |bytes: &[u8]| {
        let bytes = bytes.split_at(bytes.len().min(ARGUMENT_BYTES_MAX)).0;
        String::from_utf8_lossy(bytes).into_owned()
    };
    let list: Vec<_> = cmdline.split(|&byte| byte == 0).take(ARGUMENTS_MAX).map(text).collect();
    redact::arguments(&list, ARGUMENT_BYTES_MAX)
}

fn given(environ: &[u8]) -> Vec<(String, String)> {
    let variable = |name: &[u8]| {
        let mut all = environ.split(|&byte| byte == 0);
        let value = all.find_map(|one| one.strip_prefix(name)?.strip_prefix(b"="))?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let named = variable(b"OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name));
    let attributes = variable(b"OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let pairs = attributes.split(',').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.trim().to_owned(), decoded(value.trim())));
    let mut list: Vec<(String, String)> = Vec::new();
    for (key, value) in named.into_iter().chain(pairs) {
        let bounded = key.len() <= GIVEN_BYTES_MAX && value.len() <= GIVEN_BYTES_MAX;
        let said = !key.is_empty() && !value.is_empty() && !redact::names_secret(&key);
        let new = list.iter().all(|(known, _)| *known != key);
        if bounded && said && new && list.len() < GIVEN_MAX {
            list.push((key, value));
        }
    }
    list
}

/// Without its percent signs, as the specification has it; what is no text then stays as it is.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |digits: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let escaped = after.first_chunk::<2>().filter(|_| first == b'%').and_then(hex);
        bytes.push(escaped.unwrap_or(first));
        rest = after.get(if escaped.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

impl Process {
    /// The value of an attribute that its environment gives it.
    pub(crate) fn given(&self, key: &str) -> Option<&str> {
        self.given.iter().find(|(one, _)| one == key).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: this test reads itself.
    /// Guarantees: the facts that it knows of itself.
    #[test]
    fn reads_itself() {
        let pid = std::process::id();
        let process = read(Path::new("/proc"), pid).unwrap();
        let executable = std::env::current_exe().unwrap();
        assert_eq!(process.executable.as_deref(), executable.to_str());
        assert_eq!(process.arguments.len(), std::env::args().count().min(ARGUMENTS_MAX));
        assert_eq!(Some(process.started_ticks), started_ticks(Path::new("/proc"), pid));
        assert_eq!(read(Path::new("/proc"), u32::MAX), None);
    }

    /// Scenario: a process whose name looks like the rest of the line, in a folder of its own.
    /// Guarantees: fields are found behind the last parenthesis; the service's name is that of the
    /// environment; arguments that were written over have no empty ones behind them.
    #[test]
    fn hostile_names() {
        let dir = tempfile::tempdir().unwrap();
        let process = dir.path().join("7");
        fs::create_dir(&process).unwrap();
        let fields: Vec<_> = (5..=52).map(|field| field.to_string()).collect();
        let stat = format!("7 (a) S 9 (b) c) S 1 {}", fields.join(" "));
        fs::write(process.join("stat"), stat).unwrap();
        fs::write(process.join("cmdline"), b"app\0--password\0x\0").unwrap();
        let environ =
            b"A=b\0OTEL_RESOURCE_ATTRIBUTES=x=y%20z%, service.name = shop ,token=t,x=2,=\0OTEL_SERVICE_NAME=\0";
        fs::write(process.join("environ"), environ).unwrap();
        let read = read(dir.path(), 7).unwrap();
        assert_eq!(read.started_ticks, 22);
        assert!(read.started_by_init);
        assert_eq!(read.arguments, ["app", "--password", "REDACTED"]);
        assert_eq!(read.given("service.name"), Some("shop"));
        assert_eq!(read.given("x"), Some("y z%"));
        assert_eq!(read.given.len(), 2);
        assert_eq!(arguments(b"nginx: worker\0\0\0\0"), ["nginx: worker"]);
        assert_eq!(arguments(b"a\0\0b\0"), ["a", "", "b"]);
        assert!(arguments(b"\0\0").is_empty());
        let both = b"OTEL_RESOURCE_ATTRIBUTES=service.name=weak\0OTEL_SERVICE_NAME=strong\0";
        assert_eq!(given(both), [("service.name".to_owned(), "strong".to_owned())]);
    }
}
