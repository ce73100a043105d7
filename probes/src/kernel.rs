//! What this kernel and this user can do, for the choice of a rung and for `icecore doctor`.
//!
//! Invariant: looking changes nothing: no program is loaded and nothing is mounted here.

mod btf;
mod features;
mod offsets;
mod reasons;

use std::path::Path;

use crate::attach::{RECEIVERS, SENDERS, tls};
use crate::config::{Config, RungChoice, TlsConfig};
use crate::error::Error;
use crate::profile::{self, ProfileConfig};
use btf::Types;
pub(crate) use offsets::{drop_settings, profile_settings, ring_settings, settings};
pub(crate) use reasons::Reasons;

/// Where the kernel tells its types.
pub(crate) const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
/// The number of the permission to do everything.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
/// There where the kernel can sample what its CPUs do.
const PERF_EVENTS: &str = "/proc/sys/kernel/perf_event_paranoid";
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// How good a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Good,
    /// The agent works, but something is slower or blind.
    Limited,
    /// The agent cannot work.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in two or three words.
    pub name: &'static str,
    /// How good it is.
    pub level: Level,
    /// What was found.
    pub detail: String,
    /// How to mend it, where that is possible.
    pub hint: Option<String>,
}

/// A way to see bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rung {
    /// The tracepoints at the end of a socket's send and receive.
    BtfTracepoints,
    /// The functions of TCP and UDP that send and receive, as they return.
    Functions,
    /// The tracepoint at the end of every system call.
    SyscallTracepoints,
}

impl Rung {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BtfTracepoints => "socket tracepoints",
            Self::Functions => "functions of TCP and UDP",
            Self::SyscallTracepoints => "system call tracepoints",
        }
    }
}

/// What a look at the machine has shown.
#[derive(Debug)]
pub(crate) struct Survey {
    release: String,
    permitted: bool,
    /// The kernel's types, as bytes; none where it does not tell them.
    pub(crate) btf: Option<Vec<u8>>,
    socket_tracepoints: bool,
    /// What sends and receives is known, and takes its arguments as our programs read them.
    functions: bool,
    offsets_missing: Option<String>,
    states: bool,
    /// Open sockets can be walked over.
    walks: bool,
    /// Starts and ends of processes can be seen.
    lives: bool,
}

impl Survey {
    /// Looks at the machine. Reads about 10 MB from the kernel and takes some 50 ms.
    pub(crate) fn take() -> Self {
        let btf = std::fs::read(BTF_PATH).ok();
        let types = btf.as_deref().and_then(Types::parse);
        let has = |name| types.as_ref().is_some_and(|types| types.has_tracepoint(name));
        let socket_tracepoints = has("sock_send_length") && has("sock_recv_length");
        let functions = types.as_ref().is_some_and(functions);
        let states = has("inet_sock_set_state") && has("tcp_destroy_sock");
        let lives = has("sched_process_exec") && has("sched_process_exit");
        let iterates = |types: &Types<'_>| types.offset("bpf_iter__task_file", &["file"]).is_some();
        let walks = types.as_ref().is_some_and(iterates);
        let offsets_missing = match &types {
            Some(types) => offsets::offsets(types).err(),
            None => Some(format!("no type information in {BTF_PATH}")),
        };
        Self {
            release: release(),
            permitted: permitted(),
            socket_tracepoints,
            functions,
            offsets_missing,
            states,
            walks,
            lives,
            btf,
        }
    }

    /// The rungs to try, best first.
    pub(crate) fn rungs(&self, choice: RungChoice) -> Result<Vec<Rung>, Error> {
        if let Some(what) = &self.offsets_missing {
            return Err(Error::Unsupported { reason: what.clone() });
        }
        if !self.permitted {
            return Err(Error::Unprivileged);
        }
        if !self.states {
            let reason = format!("kernel {} has no tracepoint inet_sock_set_state", self.release);
            return Err(Error::Unsupported { reason });
        }
        let offered = self.offered(choice);
        if offered.is_empty() {
            let wanted = match choice {
                RungChoice::Functions => "functions of TCP and UDP as our programs know them",
                _ => "tracepoint sock_send_length",
            };
            let reason = format!("kernel {} has no {wanted}", self.release);
            return Err(Error::Unsupported { reason });
        }
        Ok(offered)
    }

    /// The rungs that this kernel has, of those that are wanted, best first. It may still refuse one.
    fn offered(&self, choice: RungChoice) -> Vec<Rung> {
        let rungs = [
            (Rung::BtfTracepoints, RungChoice::BtfTracepoints, self.socket_tracepoints),
            (Rung::Functions, RungChoice::Functions, self.functions),
            (Rung::SyscallTracepoints, RungChoice::SyscallTracepoints, true),
        ];
        let wanted = |one: RungChoice| choice == RungChoice::Auto || choice == one;
        rungs.into_iter().filter(|it| it.2 && wanted(it.1)).map(|it| it.0).collect()
    }
}

/// From Linux 5.19 on; before, another argument stood between.
fn functions(types: &Types<'_>) -> bool {
    let takes = |name: &str, argument, place| types.argument(name, argument) == Some(place);
    SENDERS.iter().all(|name| takes(name, "sk", 0))
        && RECEIVERS.iter().all(|name| takes(name, "sk", 0) && takes(name, "flags", 3))
}

/// Looks at this machine as the agent would with `config`. Loads nothing and changes nothing.
#[must_use]
pub fn findings(config: &Config) -> Vec<Finding> {
    let survey = Survey::take();
    let mut found = vec![
        kernel_finding(&survey),
        types_finding(&survey),
        privilege_finding(&survey),
        hooks_finding(&survey, config.capture.rung),
        tls_finding(&config.capture.tls),
        profile_finding(&config.profile),
        program_finding(),
    ];
    found.extend(features::findings(&survey, config));
    found.extend(config.check().err().map(|error| Finding {
        name: "probe settings",
        level: Level::Missing,
        detail: error.to_string(),
        hint: None,
    }));
    found
}

fn kernel_finding(survey: &Survey) -> Finding {
    let detail = format!("Linux {} on {}", survey.release, std::env::consts::ARCH);
    let known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    let level = if known { Level::Good } else { Level::Missing };
    let hint = (!known).then(|| "run on x86_64 or aarch64".to_owned());
    Finding { name: "kernel", level, detail, hint }
}

fn types_finding(survey: &Survey) -> Finding {
    let name = "type information";
    match &survey.offsets_missing {
        None => Finding { name, level: Level::Good, detail: BTF_PATH.to_owned(), hint: None },
        Some(what) => Finding {
            name,
            level: Level::Missing,
            detail: what.clone(),
            hint: Some("use a kernel built with CONFIG_DEBUG_INFO_BTF=y".to_owned()),
        },
    }
}

fn privilege_finding(survey: &Survey) -> Finding {
    let name = "privileges";
    if survey.permitted {
        let detail = "may load kernel programs".to_owned();
        return Finding { name, level: Level::Good, detail, hint: None };
    }
    Finding {
        name,
        level: Level::Missing,
        detail: Error::Unprivileged.to_string(),
        hint: Some(
            "sudo icecore probe, or setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep on the binary"
                .to_owned(),
        ),
    }
}

fn hooks_finding(survey: &Survey, choice: RungChoice) -> Finding {
    let name = "hooks";
    let best = survey.offered(choice).first().copied().filter(|_| survey.states);
    let Some(rung) = best else {
        return Finding {
            name,
            level: Level::Missing,
            detail: "this kernel lacks the hooks that were asked for".to_owned(),
            hint: Some("use Linux 5.17 or later and leave the rung to be chosen".to_owned()),
        };
    };
    let detail = rung.name().to_owned();
    if rung != Rung::SyscallTracepoints {
        return Finding { name, level: Level::Good, detail, hint: None };
    }
    let detail = format!("{detail}: every system call of the machine becomes a little slower");
    let hint = "Linux 6.3 or later has the socket tracepoints, 5.19 or later the functions";
    Finding { name, level: Level::Limited, detail, hint: Some(hint.to_owned()) }
}

fn tls_finding(config: &TlsConfig) -> Finding {
    let name = "TLS libraries";
    if !config.enabled {
        let detail = "not read, by the settings".to_owned();
        return Finding { name, level: Level::Good, detail, hint: None };
    }
    if !tls::possible() {
        let detail =
            "this kernel puts no probes on programs: no request inside TLS is seen".to_owned();
        let hint = Some("use a kernel built with CONFIG_UPROBE_EVENTS=y".to_owned());
        return Finding { name, level: Level::Limited, detail, hint };
    }
    let installed = tls::installed().join(", ");
    let installed = if installed.is_empty() { "none" } else { &installed };
    let detail = format!(
        "read in Go programs and where processes use one (icecore_probes_tls_connections counts those that are not read); \
         installed here: {installed}"
    );
    Finding { name, level: Level::Good, detail, hint: None }
}

fn profile_finding(config: &ProfileConfig) -> Finding {
    let name = "profiler";
    if !config.enabled {
        let detail = "off, by the settings".to_owned();
        return Finding { name, level: Level::Good, detail, hint: None };
    }
    let hertz = config.hertz;
    if !Path::new(PERF_EVENTS).exists() {
        let detail = "this kernel samples no CPU: there are no profiles".to_owned();
        let hint = Some("use a kernel built with CONFIG_PERF_EVENTS=y".to_owned());
        return Finding { name, level: Level::Limited, detail, hint };
    }
    if !profile::names_of_the_kernel_are_known() {
        let detail =
            format!("each CPU {hertz} times a second; the kernel's functions have no names");
        let hint =
            Some("let this user see /proc/kallsyms: sysctl kernel.kptr_restrict=0".to_owned());
        return Finding { name, level: Level::Limited, detail, hint };
    }
    let detail = format!("each CPU {hertz} times a second, with the stacks of programs and kernel");
    Finding { name, level: Level::Good, detail, hint: None }
}

fn program_finding() -> Finding {
    let name = "kernel programs";
    if crate::load::built() {
        let detail = "embedded in this binary".to_owned();
        return Finding { name, level: Level::Good, detail, hint: None };
    }
    Finding {
        name,
        level: Level::Missing,
        detail: Error::NotBuilt.to_string(),
        hint: Some("build again without ICECORE_SKIP_EBPF".to_owned()),
    }
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "(unknown)".to_owned(), |text| text.trim().to_owned())
}

/// The effective permissions of this thread suffice to load the programs.
fn permitted() -> bool {
    permits(capabilities())
}

/// The effective permissions of this thread.
fn capabilities() -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc/thread-self/status")).unwrap_or_default();
    effective_capabilities(&status)
}

fn effective_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn permits(capabilities: u64) -> bool {
    let has = |capability: u32| capabilities & (1 << capability) != 0;
    has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON))
}

#[cfg(test)]
mod tests;
