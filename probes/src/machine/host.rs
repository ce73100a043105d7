//! What procfs says of the machine as a whole.
//!
//! Invariant: what cannot be read is absent, and never zero.

use std::fs;
use std::path::Path;

/// Modes of a CPU, in the order of `/proc/stat`, by the names of the semantic conventions.
pub(crate) const MODES: [&str; 8] =
    ["user", "nice", "system", "idle", "iowait", "interrupt", "interrupt", "steal"];
/// A sector in `/proc/diskstats`, whatever the disk's are.
const SECTOR_BYTES: u64 = 512;

/// Bytes that came in and that went out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Through {
    pub(crate) name: String,
    pub(crate) inward: u64,
    pub(crate) outward: u64,
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// When it was booted, in seconds of Unix time.
    pub(crate) booted: Option<u64>,
    /// Ticks (of 10 ms) of each CPU in each of [`MODES`].
    pub(crate) cpus: Vec<(u32, [u64; MODES.len()])>,
    /// Bytes of memory by state, as the semantic conventions name it.
    pub(crate) memory: Vec<(&'static str, u64)>,
    /// Of network interfaces.
    pub(crate) network: Vec<Through>,
    /// Of disks, not of their partitions.
    pub(crate) disks: Vec<Through>,
}

/// Reads the machine.
pub(crate) fn machine(proc_dir: &Path) -> Machine {
    let text = |name: &str| fs::read_to_string(proc_dir.join(name)).unwrap_or_default();
    let stat = text("stat");
    // Of the first process, which is in the machine's own network; `net` is that of whoever reads.
    let first = fs::read_to_string(proc_dir.join("1/net/dev"));
    let network = first.unwrap_or_else(|_| text("net/dev"));
    let booted = stat.lines().find_map(|line| line.strip_prefix("btime "));
    Machine {
        booted: booted.and_then(|text| text.trim().parse().ok()),
        cpus: stat.lines().filter_map(cpu).collect(),
        memory: memory(&text("meminfo")),
        network: network.lines().filter_map(interface).collect(),
        disks: disks(&text("diskstats")),
    }
}

/// `cpu3 user nice system …`; the line without a number is their sum.
fn cpu(line: &str) -> Option<(u32, [u64; MODES.len()])> {
    let mut fields = line.strip_prefix("cpu")?.split(' ');
    let number = fields.next()?.parse().ok()?;
    let mut ticks = [0; MODES.len()];
    for tick in &mut ticks {
        *tick = fields.next()?.parse().ok()?;
    }
    Some((number, ticks))
}

fn memory(meminfo: &str) -> Vec<(&'static str, u64)> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    let all = (bytes("MemTotal:"), bytes("MemFree:"), bytes("Buffers:"), bytes("Cached:"));
    let (Some(total), Some(free), Some(buffers), Some(cached)) = all else { return Vec::new() };
    let used = total.saturating_sub(free + buffers + cached);
    vec![("used", used), ("free", free), ("buffers", buffers), ("cached", cached)]
}

/// `eth0: bytes packets errs drop fifo frame compressed multicast bytes …`
fn interface(line: &str) -> Option<Through> {
    let (name, rest) = line.split_once(':')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |at: usize| fields.get(at)?.parse().ok();
    Some(Through { name: name.trim().to_owned(), inward: field(0)?, outward: field(8)? })
}

/// `8 0 sda reads merged sectors ms writes merged sectors …`; partitions follow their disk.
fn disks(diskstats: &str) -> Vec<Through> {
    let mut disks: Vec<Through> = Vec::new();
    for line in diskstats.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let sectors = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let (Some(name), Some(read), Some(written)) = (fields.get(2), sectors(5), sectors(9))
        else {
            continue;
        };
        let partition = disks.last().is_some_and(|disk| is_partition(name, &disk.name));
        if !partition && read + written > 0 {
            let (inward, outward) = (read * SECTOR_BYTES, written * SECTOR_BYTES);
            disks.push(Through { name: (*name).to_owned(), inward, outward });
        }
    }
    disks
}

/// `sda1` of `sda`, and `nvme0n1p1` of `nvme0n1`; but `dm-10` is no part of `dm-1`.
fn is_partition(name: &str, disk: &str) -> bool {
    let Some(rest) = name.strip_prefix(disk) else { return false };
    let ends_in_digit = disk.ends_with(|last: char| last.is_ascii_digit());
    let number = if ends_in_digit { rest.strip_prefix('p') } else { Some(rest) };
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: this machine, and lines as other machines have them.
    /// Guarantees: what is always there is there; partitions are no disks.
    #[test]
    fn reads_the_machine() {
        let machine = machine(Path::new("/proc"));
        assert!(machine.booted.is_some_and(|booted| booted > 1_000_000_000), "{machine:?}");
        assert!(!machine.cpus.is_empty() && machine.memory.len() == 4, "{machine:?}");
        assert!(machine.network.iter().any(|one| one.name == "lo"), "{machine:?}");
        let stats = "8 0 sda 1 0 2 0 1 0 4 0 0 0 0\n8 1 sda1 1 0 2 0 1 0 4 0 0 0 0\n\
                     7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n259 0 nvme0n1 1 0 6 0 1 0 8 0 0 0 0\n\
                     259 1 nvme0n1p1 1 0 6 0 1 0 8 0 0 0 0\n253 1 dm-1 1 0 6 0 1 0 8 0 0 0 0\n\
                     253 10 dm-10 1 0 6 0 1 0 8 0 0 0 0\n65 0 sdaa 1 0 6 0 1 0 8 0 0 0 0\n";
        let disks = disks(stats);
        let names: Vec<&str> = disks.iter().map(|disk| &*disk.name).collect();
        assert_eq!(names, ["sda", "nvme0n1", "dm-1", "dm-10", "sdaa"]);
        assert_eq!((disks[0].inward, disks[0].outward), (1024, 2048));
        assert_eq!(cpu("cpu 1 2 3 4 5 6 7 8"), None, "the sum of all");
        assert_eq!(
            interface("  lo: 1 2 3 4 5 6 7 8 9 10").map(|one| (one.inward, one.outward)),
            Some((1, 9))
        );
    }
}
