//! What a process has used so far, by /proc.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// Clock ticks a second in /proc: a constant of the kernel's interface.
const TICKS: f64 = 100.0;

/// User and system time of all threads, those that ended included. Good to 10 ms.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64, Error> {
    let path = of(pid, "stat");
    let text = read(&path)?;
    let ticks = ticks(&text).ok_or(Error::Proc { path, what: "utime and stime" })?;
    Ok(ticks as f64 / TICKS)
}

/// Bytes that the process caused to be written to disk.
pub(super) fn written_bytes(pid: u32) -> Result<u64, Error> {
    field(of(pid, "io"), "write_bytes:")
}

/// The most memory that was resident at a time.
pub(super) fn peak_bytes(pid: u32) -> Result<u64, Error> {
    field(of(pid, "status"), "VmHWM:").map(|kib| kib * 1024)
}

/// The memory that is resident now.
pub(super) fn resident_bytes(pid: u32) -> Result<u64, Error> {
    field(of(pid, "status"), "VmRSS:").map(|kib| kib * 1024)
}

/// Of that, what the process has made itself: all but pages of files, which the kernel may drop at any time. Of a
/// program as large as ours 46 to 92 MB of those are resident, by how large the pieces are in which its file was cached.
pub(super) fn own_bytes(pid: u32) -> Result<u64, Error> {
    let part = |name| field(of(pid, "status"), name).map(|kib| kib * 1024);
    Ok(part("RssAnon:")? + part("RssShmem:")?)
}

/// CPU time of the calling thread. Good to a microsecond.
pub(super) fn thread_cpu_seconds() -> Result<f64, Error> {
    let path = PathBuf::from("/proc/thread-self/schedstat");
    let text = read(&path)?;
    let nanos: Option<u64> = text.split(' ').next().and_then(|text| text.parse().ok());
    Ok(nanos.ok_or(Error::Proc { path, what: "time on the CPU" })? as f64 / 1e9)
}

fn of(pid: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

fn read(path: &Path) -> Result<String, Error> {
    let read = std::fs::read_to_string(path);
    read.map_err(|source| Error::File { action: "read", path: path.to_owned(), source })
}

/// The 14th and 15th field of `stat`; the 2nd, in brackets, may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn field(path: PathBuf, what: &'static str) -> Result<u64, Error> {
    let text = read(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(what));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or(Error::Proc { path, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a `stat` of a process with a bad name, and the figures of this process.
    /// Guarantees: times are found behind any name; what this process uses is counted.
    #[test]
    fn what_a_process_used_is_found() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 31 11 0 0 20 0 1 0";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a) S 1"), None);
        let own = std::process::id();
        let before = thread_cpu_seconds().unwrap();
        while thread_cpu_seconds().unwrap() < before + 0.05 {}
        assert!(cpu_seconds(own).unwrap() > 0.0);
        assert!(peak_bytes(own).unwrap() > 1 << 20);
        written_bytes(own).unwrap();
        assert!(cpu_seconds(u32::MAX).is_err());
    }
}
