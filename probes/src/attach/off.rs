//! Takes the hooks off.
//!
//! The kernel takes a probe off a library only after whatever might run it has been seen to be elsewhere, twice 50 ms, and
//! one probe after the other, whoever asks. With a Go program or two that is many seconds. Invariant: nothing
//! that happens from here on is recorded, and nobody waits for the kernel to be done.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::Program;
use tokio::sync::oneshot;

/// One entry: not 0 once the probes on libraries are to do nothing.
pub(crate) type Switch = Array<MapData, u32>;

/// The kernel is taking the last probes off.
#[derive(Debug)]
pub struct HooksOff(oneshot::Receiver<Infallible>);

impl HooksOff {
    /// Waits until the hooks are off, but for those of a library that was just being hooked: for who wants to begin anew
    /// in this process, since the kernel puts on what comes next in between.
    pub async fn wait(self) {
        // Nothing is ever sent.
        drop(self.0.await);
    }
}

/// Programs that are attached, for as long as this is held.
pub(crate) struct Attached {
    programs: Arc<Mutex<Ebpf>>,
    /// None where no library is hooked.
    libraries: Option<Switch>,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached").finish_non_exhaustive()
    }
}

impl Attached {
    pub(crate) fn new(programs: Arc<Mutex<Ebpf>>, libraries: Option<Switch>) -> Self {
        Self { programs, libraries }
    }

    /// Takes off at once what can be, and makes the rest do nothing: that is taken off on a thread of its own, or by
    /// the kernel should the process end before. A program that is running goes on to its end.
    pub(crate) fn off(self) -> HooksOff {
        let Self { programs, libraries } = self;
        let (all, off) = oneshot::channel();
        let silenced = libraries.map(|mut libraries| libraries.set(0, 1, 0)).transpose();
        take_off(&mut programs.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(error) = silenced {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "the end waits until all probes are taken off");
            drop(programs);
            return HooksOff(off);
        }
        let rest = move || {
            drop(programs);
            drop(all);
        };
        // Without a thread it is done here.
        drop(std::thread::Builder::new().name("hooks-off".to_owned()).spawn(rest));
        HooksOff(off)
    }
}

/// All but the probes on libraries. What was never loaded cannot be unloaded, which is as well.
fn take_off(programs: &mut Ebpf) {
    for (name, program) in programs.programs_mut() {
        let unloaded = match program {
            Program::BtfTracePoint(program) => program.unload(),
            Program::RawTracePoint(program) => program.unload(),
            Program::FExit(program) => program.unload(),
            Program::PerfEvent(program) => program.unload(),
            Program::Iter(program) => program.unload(),
            Program::CgroupSockAddr(program) => program.unload(),
            _ => Ok(()),
        };
        if let Err(error) = unloaded {
            let error: &dyn std::error::Error = &error;
            tracing::trace!(name, error, "not unloaded");
        }
    }
}
