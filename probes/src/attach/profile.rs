//! The sampling of all CPUs.

use aya::Ebpf;
use aya::programs::PerfEvent;
use aya::programs::perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent};
use aya::util::online_cpus;

use super::tracepoints::{program, refused};
use crate::error::Error;

const PROFILE: &str = "profile";

/// Loads the program and has it called so many times a second on each CPU that is at work now. The timer is
/// the kernel's own: virtual machines have no counters of cycles.
pub(crate) fn attach_profile(programs: &mut Ebpf, hertz: u64) -> Result<(), Error> {
    let program: &mut PerfEvent = program(programs, PROFILE)?;
    program.load().map_err(refused(PROFILE))?;
    let cpus = online_cpus().map_err(|(_, error)| Error::Proc(error))?;
    let clock = PerfEventConfig::Software(SoftwareEvent::CpuClock);
    let period = SamplePolicy::Period(1_000_000_000 / hertz.max(1));
    for cpu in cpus {
        let scope = PerfEventScope::AllProcessesOneCpu { cpu };
        program.attach(clock, scope, period, false).map(drop).map_err(refused(PROFILE))?;
    }
    Ok(())
}
