//! Processes that begin a program and processes that end.
//!
//! Invariant: an end is told once, by the last thread of a process, with the status that its parent
//! will be told.

use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str_bytes};
use icecore_probe_events::{
    Counter, PROCESS_ENDED, PROCESS_OUT_OF_MEMORY, PROCESS_RUNS, ProcessEvent,
};

use crate::connect::field;
use crate::copy::{NO_WAKEUP, now};
use crate::maps::{PROCESS, PROCESSES, count, setting};

/// Bit of `task->flags`: no process, but a thread of the kernel's own.
const PF_KTHREAD: u32 = 0x0020_0000;
/// Bit of `signal->flags`: all threads end together, with one status.
const SIGNAL_GROUP_EXIT: u32 = 4;
/// The part of a status that names a signal, and the signal that nobody survives.
const SIGNAL: u32 = 0x7f;
const SIGKILL: u32 = 9;

/// A process runs a program from here on. `binary`: a `struct linux_binprm`.
#[inline(always)]
pub fn runs(task: u64, binary: u64) {
    let Some(event) = made(task, PROCESS_RUNS) else { return };
    if let Some(name) = field::<u64>(binary, setting!(binprm_filename)) {
        // SAFETY: the helper checks the address; what does not fit is cut off.
        let read = unsafe { bpf_probe_read_kernel_str_bytes(name as *const u8, &mut event.program) };
        if read.is_err() {
            event.program[0] = 0;
        }
    }
    output(event);
}

/// A thread ends.
#[inline(always)]
pub fn ends(task: u64) {
    let Some(signal) = field::<u64>(task, setting!(task_signal)) else { return };
    if field::<u32>(signal, setting!(signal_live)) != Some(0) {
        return;
    }
    if field::<u32>(task, setting!(task_flags)).unwrap_or(PF_KTHREAD) & PF_KTHREAD != 0 {
        return;
    }
    let Some(event) = made(task, PROCESS_ENDED) else { return };
    let together = field::<u32>(signal, setting!(signal_flags)).unwrap_or(0) & SIGNAL_GROUP_EXIT != 0;
    let leader: u64 = field(task, setting!(task_group_leader)).unwrap_or(task);
    let status: Option<u32> = if together {
        field(signal, setting!(signal_group_exit_code))
    } else {
        field(leader, setting!(task_exit_code))
    };
    event.status = status.unwrap_or(0);
    let chosen = field::<u64>(signal, setting!(signal_oom_mm)).unwrap_or(0) != 0;
    if chosen && event.status & SIGNAL == SIGKILL {
        event.flags |= PROCESS_OUT_OF_MEMORY;
    }
    output(event);
}

/// What is told of any process.
#[inline(always)]
fn made(task: u64, kind: u32) -> Option<&'static mut ProcessEvent> {
    // SAFETY: the event is this CPU's while the program runs: neither program interrupts the other.
    let event = unsafe { &mut *PROCESS.get_ptr_mut(0)? };
    let leader: u64 = field(task, setting!(task_group_leader))?;
    let parent: u64 = field(leader, setting!(task_real_parent))?;
    event.time = now();
    event.started = field(leader, setting!(task_start_boottime))?;
    // SAFETY: always allowed.
    event.lived = unsafe { bpf_ktime_get_boot_ns() }.saturating_sub(event.started);
    event.pid = field(leader, setting!(task_tgid))?;
    event.parent = field(parent, setting!(task_tgid)).unwrap_or(0);
    event.kind = kind;
    event.status = 0;
    event.flags = 0;
    event.reserved = 0;
    event.comm = field(leader, setting!(task_comm))?;
    event.program[0] = 0;
    Some(event)
}

#[inline(always)]
fn output(event: &ProcessEvent) {
    match PROCESSES.output::<ProcessEvent>(event, NO_WAKEUP) {
        Ok(()) => count(Counter::ProcessesSubmitted),
        Err(_) => count(Counter::ProcessesRefused),
    }
}
