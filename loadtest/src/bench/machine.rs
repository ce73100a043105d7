//! What the figures were measured on, as far as it bears on them.

use serde::Serialize;

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    /// Mean number of runnable tasks over the minute before: well above 0, and others had a share
    /// of the caches and of the cores.
    pub(super) load_before: f64,
}

/// What cannot be told stays empty.
pub(super) fn describe() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load_before = read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok());
    Machine {
        cpu: model.map(|(_, name)| name.to_owned()).unwrap_or_default(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        load_before: load_before.unwrap_or_default(),
    }
}
