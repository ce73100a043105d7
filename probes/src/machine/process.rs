//! What procfs says of the use that processes make of the machine.
//!
//! Invariant: a process that ends while it is read is left out; kernel threads are none.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Of the flags in `stat`: a thread of the kernel.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// What a process has used since it was started, and what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) pid: u32,
    pub(crate) comm: String,
    /// In clock ticks (of 10 ms) since boot.
    pub(crate) started_ticks: u64,
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    pub(crate) threads: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) resident_bytes: u64,
    /// From and to disks; none where it may not be known.
    pub(crate) disk: Option<(u64, u64)>,
    /// Open files; none where the kernel does not say how many without counting.
    pub(crate) descriptors: Option<u64>,
}

/// All processes, as they are found.
pub(crate) fn processes(proc_dir: &Path) -> std::io::Result<Vec<Usage>> {
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let pids = fs::read_dir(proc_dir)?.filter_map(|entry| pid(entry.ok()?));
    Ok(pids.filter_map(|pid| usage(&proc_dir.join(pid.to_string()), pid)).collect())
}

fn usage(dir: &Path, pid: u32) -> Option<Usage> {
    let stat = fs::read(dir.join("stat")).ok()?;
    let mut usage = parse(&String::from_utf8_lossy(&stat), pid)?;
    usage.disk = fs::read_to_string(dir.join("io")).ok().and_then(|text| disk(&text));
    // Since Linux 6.2 the size of the folder is the number of its entries.
    let folder = fs::metadata(dir.join("fd")).ok();
    usage.descriptors = folder.map(|folder| folder.size()).filter(|&count| count > 0);
    Some(usage)
}

/// `pid (comm) state ppid …`; the comm may hold anything, parentheses too.
fn parse(stat: &str, pid: u32) -> Option<Usage> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, comm) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Fields are numbered from 1 in proc(5); the state behind the comm is the third.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    if field(9)? & KERNEL_THREAD != 0 {
        return None;
    }
    Some(Usage {
        pid,
        comm: comm.to_owned(),
        minor_faults: field(10)?,
        major_faults: field(12)?,
        user_ticks: field(14)?,
        system_ticks: field(15)?,
        threads: field(20)?,
        started_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page_bytes(),
        disk: None,
        descriptors: None,
    })
}

fn page_bytes() -> u64 {
    // SAFETY: always allowed.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The lines `read_bytes: …` and `write_bytes: …`.
fn disk(io: &str) -> Option<(u64, u64)> {
    let line =
        |name: &str| io.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
    Some((line("read_bytes:")?, line("write_bytes:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: this test reads itself, and a process whose name looks like the rest of the line.
    /// Guarantees: the facts that it knows; fields are found behind the last parenthesis.
    #[test]
    fn reads_processes() {
        let me = std::process::id();
        let all = processes(Path::new("/proc")).unwrap();
        let own = all.iter().find(|usage| usage.pid == me).unwrap();
        assert!(own.threads >= 1 && own.resident_bytes > 100_000, "{own:?}");
        assert!(own.virtual_bytes > own.resident_bytes && own.started_ticks > 0, "{own:?}");
        assert!(own.disk.is_some(), "{own:?}");
        assert!(all.iter().all(|usage| usage.comm != "kthreadd"));
        let fields: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        let stat = format!("7 (a) S 9 (b) c) S {}", fields.join(" "));
        let usage = parse(&stat, 7).unwrap();
        assert_eq!((usage.comm.as_str(), usage.user_ticks), ("a) S 9 (b) c", 14));
        assert_eq!((usage.started_ticks, usage.threads, usage.virtual_bytes), (22, 20, 23));
        assert_eq!(parse("7 (a) S 1 2", 7), None);
        assert_eq!(disk("rchar: 1\nread_bytes: 4096\nwrite_bytes: 0\n"), Some((4096, 0)));
    }
}
