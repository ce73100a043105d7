//! Puts probes on the functions of a library, and takes them off.
//!
//! Invariants: a library is hooked whole or not at all; the kernel is told that it is only when the
//! last of its functions was; nothing is written to the memory of a process but the kernel's own
//! breakpoints.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData};
use aya::programs::uprobe::{
    UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeLinkId, UProbeScope,
};
use aya::programs::{ProgramError, UProbe};
use icecore_probe_events::shape;

use super::found::{Exits, Found, Function};
use crate::clock::monotonic;

/// The kernel programs of a function: at its beginning, and where it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) enter: Option<&'static str>,
    pub(super) leave: Option<&'static str>,
}

/// Those of a function that uses its session's socket, or may.
pub(super) const LIBRARY: Programs =
    Programs { enter: Some("tls_enter"), leave: Some("tls_leave") };
/// Those of a function of Go.
pub(super) const GO: Programs = Programs { enter: Some("go_enter"), leave: Some("go_leave") };
/// Those of functions of rustls: of one that encrypts, of the one that hands over records, and of the one that takes
/// decrypted bytes.
pub(super) const RUSTLS_SEAL: Programs =
    Programs { enter: Some("rustls_seal"), leave: Some("rustls_sealed") };
pub(super) const RUSTLS_SENT: Programs = Programs { enter: None, leave: Some("rustls_sent") };
pub(super) const RUSTLS_OPENED: Programs = Programs { enter: Some("rustls_opened"), leave: None };

/// The kernel programs that are put on libraries.
pub(crate) fn programs() -> impl Iterator<Item = &'static str> {
    let all = [LIBRARY, GO, RUSTLS_SEAL, RUSTLS_SENT, RUSTLS_OPENED];
    all.into_iter().flat_map(|programs| [programs.enter, programs.leave]).flatten()
}

/// Why a library is not hooked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// As many are hooked as may be.
    #[error("{bound} libraries are hooked, which is the bound")]
    Full {
        /// The setting.
        bound: usize,
    },
    /// A Go program whose functions are called as no probe understands it.
    #[error("the program was made by a Go before 1.18")]
    Old,
    /// A Go program whose functions cannot be placed.
    #[error("the program's functions cannot be placed: {what}")]
    Unclear {
        /// What is wrong.
        what: &'static str,
    },
    /// A file with BoringSSL of which no function can be told.
    #[error("the functions of the library that is compiled in cannot be told: {what}")]
    Hidden {
        /// What is wrong.
        what: &'static str,
    },
    /// A program with rustls of which no function can be told.
    #[error("the functions of rustls in the program cannot be told: {what}")]
    Sealed {
        /// What is wrong.
        what: &'static str,
    },
    /// The kernel does not take a probe.
    #[error("the kernel refused a probe")]
    Kernel(#[source] ProgramError),
    /// The agent was built or loaded without the programs.
    #[error("the programs are not loaded")]
    NotLoaded,
}

/// Puts probes on and takes them off.
pub(crate) struct Hooks {
    programs: Arc<Mutex<Ebpf>>,
    ready: Array<MapData, u64>,
    /// Which entries of that map are taken.
    taken: Vec<bool>,
}

/// A library that is hooked.
#[derive(Debug)]
pub(super) struct Hooked {
    slot: usize,
    family: &'static str,
    /// Its probes, each with its program.
    links: Vec<(&'static str, UProbeLinkId)>,
    goroutines_wait: bool,
}

impl Hooked {
    pub(super) fn family(&self) -> &'static str {
        self.family
    }

    /// As in [`Found::goroutines_wait`].
    pub(super) fn goroutines_wait(&self) -> bool {
        self.goroutines_wait
    }
}

impl Hooks {
    pub(crate) fn new(
        programs: Arc<Mutex<Ebpf>>,
        ready: Array<MapData, u64>,
        libraries_max: usize,
    ) -> Self {
        Self { programs, ready, taken: vec![false; libraries_max] }
    }

    /// Hooks all functions that were found in a file.
    pub(super) fn hook(&mut self, file: &File, found: &Found) -> Result<Hooked, Refusal> {
        let bound = self.taken.len();
        let free = self.taken.iter().position(|taken| !taken);
        let slot = free.ok_or(Refusal::Full { bound })?;
        let &Found { family, goroutines_wait, .. } = found;
        let mut hooked = Hooked { slot, family: family.name, links: Vec::new(), goroutines_wait };
        let target = format!("/proc/self/fd/{}", file.as_raw_fd());
        for function in &found.functions {
            if let Err(refusal) = self.hook_one(&mut hooked, &target, function) {
                self.unhook(&mut hooked);
                return Err(refusal);
            }
        }
        if let Some(taken) = self.taken.get_mut(slot) {
            *taken = true;
        }
        self.say_ready(slot, monotonic());
        Ok(hooked)
    }

    /// The end before the beginning: a call that is seen to begin is seen to end.
    fn hook_one(
        &self,
        hooked: &mut Hooked,
        target: &str,
        function: &Function,
    ) -> Result<(), Refusal> {
        let &Function { place, shape, ref exits, programs } = function;
        let cookie = Some(shape | (hooked.slot as u64) << shape::LIBRARY_SHIFT);
        let mut attach = |program: Option<_>, place, cookie| {
            let Some(program) = program else { return Ok(()) };
            hooked.links.push((program, self.attach(program, target, place, cookie)?));
            Ok(())
        };
        match exits {
            Exits::Caught if shape & shape::KIND == shape::FORGET => {}
            Exits::Caught => attach(programs.leave, place, None)?,
            Exits::At(exits) => {
                exits.iter().try_for_each(|&exit| attach(programs.leave, exit, None))?;
            }
        }
        attach(programs.enter, place, cookie)
    }

    fn attach(
        &self,
        program: &str,
        target: &str,
        offset: u64,
        cookie: Option<u64>,
    ) -> Result<UProbeLinkId, Refusal> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let program = self::program(&mut programs, program).ok_or(Refusal::NotLoaded)?;
        let location = UProbeAttachLocation::AbsoluteOffset(offset);
        let point = UProbeAttachPoint { location, cookie };
        program.attach(point, target, UProbeScope::AllProcesses).map_err(Refusal::Kernel)
    }

    /// The goroutines of a process wait for what they read; or the process is gone.
    pub(super) fn goroutines_wait(&self, pid: u32, alive: bool) {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(map) = programs.map_mut("GO_PROCESSES") else { return };
        let noted = HashMap::<_, u32, u32>::try_from(map).and_then(|mut processes| {
            if alive { processes.insert(pid, 1, 0) } else { processes.remove(&pid) }
        });
        if let Err(error) = noted {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, pid, "calls of a program's goroutines are likely at best");
        }
    }

    /// Takes the probes off a library.
    pub(super) fn unhook(&mut self, hooked: &mut Hooked) {
        self.say_ready(hooked.slot, 0);
        // In the opposite order: a call that is seen to begin is seen to end.
        for (name, link) in hooked.links.drain(..).rev() {
            // The kernel takes its time over each, in which others may have the programs.
            drop(self.taken_out(name, link));
        }
        if let Some(taken) = self.taken.get_mut(hooked.slot) {
            *taken = false;
        }
    }

    /// A probe that is taken off when this is dropped; none where the program was unloaded meanwhile.
    fn taken_out(&self, name: &str, link: UProbeLinkId) -> Option<UProbeLink> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = program(&mut programs, name)?.take_link(link);
        let debug = |error: &ProgramError| {
            let error: &dyn std::error::Error = error;
            tracing::debug!(error, "a probe was gone before it was taken off");
        };
        taken.inspect_err(debug).ok()
    }

    fn say_ready(&mut self, slot: usize, since: u64) {
        let Ok(slot) = u32::try_from(slot) else { return };
        if let Err(error) = self.ready.set(slot, since, 0) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "requests inside TLS cannot be numbered");
        }
    }
}

fn program<'p>(programs: &'p mut Ebpf, name: &str) -> Option<&'p mut UProbe> {
    programs.program_mut(name)?.try_into().ok()
}
