//! What a kernel allows beyond the hooks, and what is blind or less exact without it.
//!
//! Invariant: nothing here keeps the agent from its work.

use super::{CAP_NET_ADMIN, CAP_SYS_ADMIN, Finding, Level, Survey, capabilities};
use crate::attach::cgroups_seen;
use crate::config::Config;

/// One line for each.
pub(super) fn findings(survey: &Survey, config: &Config) -> Vec<Finding> {
    vec![
        sockets(survey.walks, config.capture.accounts && config.capture.walks),
        datagrams(senders_told(), config.capture.accounts && config.capture.datagrams_max > 0),
        processes(survey.lives, config.capture.processes),
        budget(config, capabilities() & (1 << CAP_SYS_ADMIN) != 0),
    ]
}

fn sockets(possible: bool, wanted: bool) -> Finding {
    let name = "open sockets";
    if !wanted {
        return good(name, "not walked over, by the settings");
    }
    if possible {
        return good(name, "walked over: connections that are older than the agent count as well");
    }
    let detail = "this kernel does not walk over them: a connection counts at its end";
    limited(name, detail, "Linux 5.8 or later has iterators over open files (CONFIG_BPF_SYSCALL=y)")
}

/// The kernel may be asked from whom datagrams are.
fn senders_told() -> bool {
    capabilities() & (1 << CAP_NET_ADMIN | 1 << CAP_SYS_ADMIN) != 0 && cgroups_seen()
}

fn datagrams(possible: bool, wanted: bool) -> Finding {
    let name = "datagrams";
    if !wanted {
        return good(name, "not counted, by the settings");
    }
    if possible {
        return good(name, "counted by process and peer");
    }
    let detail = "counted, but nobody tells from whom they are to a socket that is not connected";
    let hint = "CAP_NET_ADMIN, and the root of the control groups (v2) at /sys/fs/cgroup";
    limited(name, detail, hint)
}

fn processes(possible: bool, wanted: bool) -> Finding {
    let name = "processes";
    if !wanted {
        return good(name, "starts and ends are not told, by the settings");
    }
    if possible {
        return good(name, "starts and ends are seen as they happen");
    }
    let detail = "this kernel tells of no starts and ends";
    limited(
        name,
        detail,
        "use a kernel that has the tracepoints sched_process_exec and sched_process_exit",
    )
}

fn budget(config: &Config, timed: bool) -> Finding {
    let name = "budget of the probes";
    let megabytes = |bytes: usize| bytes.div_ceil(1 << 20);
    let (percent, window) = (config.budget.cpu_percent_max, config.budget.cpu_window.as_secs());
    let cpu = match percent {
        0 => "any CPU time".to_owned(),
        percent => format!("{percent} % of one CPU over {window} s"),
    };
    let memory = megabytes(config.budget.memory_bytes_max);
    let fixed = megabytes(config.fixed_bytes());
    let detail = format!("{cpu}; {memory} MiB, of which rings and tables take up to {fixed}");
    if timed {
        return good(name, &format!("{detail}; the kernel times its programs for it"));
    }
    let detail = format!("{detail}; what the kernel programs cost is taken from a fixed price");
    limited(name, &detail, "only CAP_SYS_ADMIN may have the kernel time its programs")
}

fn good(name: &'static str, detail: &str) -> Finding {
    Finding { name, level: Level::Good, detail: detail.to_owned(), hint: None }
}

fn limited(name: &'static str, detail: &str, hint: &str) -> Finding {
    let (detail, hint) = (detail.to_owned(), Some(hint.to_owned()));
    Finding { name, level: Level::Limited, detail, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: each of them there, missing, and not wanted.
    /// Guarantees: what is missing and wanted is limited and says how to mend it; all else is good.
    #[test]
    fn what_is_missing_is_told() {
        for finding in [sockets, datagrams, processes] {
            assert_eq!(finding(true, true).level, Level::Good);
            assert_eq!(finding(false, false).level, Level::Good);
            let missing = finding(false, true);
            assert_eq!(missing.level, Level::Limited);
            assert!(missing.hint.is_some());
        }
        let timed = budget(&Config::default(), true);
        assert!(timed.detail.contains("5 % of one CPU over 60 s; 200 MiB"), "{timed:?}");
        assert_eq!(budget(&Config::default(), false).level, Level::Limited);
    }
}
