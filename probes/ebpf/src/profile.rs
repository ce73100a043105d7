//! What a CPU is doing when its timer rings: who runs, where, and the stack behind it.
//!
//! The frames of a program are not followed here: user space has the tables for that, and gets the
//! registers and the stack as it stands. Invariant: one sample is made at a time on each CPU, since the
//! timer's program is not interrupted by itself.

use core::ptr;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf,
    bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_task_pt_regs, generated,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::programs::PerfEventContext;
use icecore_probe_events::{
    KERNEL_FRAMES_MAX, ProfileSettings, SAMPLE_COUNTERS, STACK_BYTES_MAX, Sample, SampleCounter,
};

use crate::arch::{FRAME_POINTER, INSTRUCTION_POINTER, LINK_REGISTER, STACK_POINTER};
use crate::connect::{field, process_started};
use crate::copy::{AVAILABLE, FORCE_WAKEUP, NO_WAKEUP, opaque};

/// What is read of a stack at once: a page that is not in memory ends the copy, and all before it is
/// whole.
const PAGE: u64 = 4096;
const PAGES_MAX: u64 = STACK_BYTES_MAX as u64 / PAGE + 1;
const KERNEL_BYTES_MAX: usize = KERNEL_FRAMES_MAX * size_of::<u64>();
/// Addresses of programs are below this, those of the kernel above.
const USER_END: u64 = 1 << 63;

/// User space sets the sizes of both.
#[map]
pub static SAMPLES: RingBuf = RingBuf::with_byte_size(1 << 12, 0);
/// By CPU. A map of the kind that the kernel keeps by CPU could not hold as much.
#[map]
pub static SAMPLE: Array<Record> = Array::with_max_entries(1, 0);
#[map]
pub static SAMPLE_FIGURES: PerCpuArray<[u64; SAMPLE_COUNTERS]> =
    PerCpuArray::with_max_entries(1, 0);

/// A sample while it is made. Behind the longest stack there is room for one more page, so that one mask
/// on the start is all the proof of bounds that the verifier needs.
#[repr(C)]
pub struct Record {
    sample: Sample,
    stacks: [u8; STACK_BYTES_MAX + 2 * PAGE as usize],
}

/// User space puts the settings in place of these zeros before the program is loaded.
#[unsafe(no_mangle)]
// SAFETY: every field is a number.
pub static PROFILE: ProfileSettings = unsafe { core::mem::zeroed() };

/// One setting. The compiler must not take the zeros above for the values.
macro_rules! setting {
    ($field:ident) => {
        // SAFETY: the field of a static is always readable.
        unsafe { ptr::read_volatile(&raw const PROFILE.$field) }
    };
}

/// Takes a sample, unless the CPU rests.
#[inline(always)]
pub fn sample(ctx: &PerfEventContext) {
    let identity = bpf_get_current_pid_tgid();
    if identity >> 32 == 0 {
        return;
    }
    count(SampleCounter::Taken);
    // SAFETY: always allowed.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(record) = SAMPLE.get_ptr_mut(cpu) else {
        count(SampleCounter::Refused);
        return;
    };
    // SAFETY: the pointer is valid while the program runs, and no other program uses it.
    let record = unsafe { &mut *record };
    describe(&mut record.sample, identity);
    let stack_bytes = if record.sample.ip == 0 { 0 } else { copy_stack(record) };
    let kernel_bytes = kernel_frames(ctx, record, stack_bytes);
    submit(record, stack_bytes, kernel_bytes);
}

/// Who runs, and where in its own code.
#[inline(always)]
fn describe(sample: &mut Sample, identity: u64) {
    // SAFETY: always allowed.
    let (time, task) = unsafe { (bpf_ktime_get_ns(), bpf_get_current_task()) };
    sample.time = time;
    sample.started = process_started().unwrap_or(0);
    sample.execs = field(task, setting!(task_self_exec_id)).unwrap_or(0);
    sample.pid = (identity >> 32) as u32;
    sample.thread = identity as u32;
    sample.comm = bpf_get_current_comm().unwrap_or_default();
    sample.reserved = 0;
    // SAFETY: both helpers return objects of the current task; the offsets are the kernel's ABI.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
        let read = |offset: usize| registers.add(offset).cast::<u64>().read_volatile();
        sample.ip = read(INSTRUCTION_POINTER);
        sample.sp = read(STACK_POINTER);
        sample.fp = read(FRAME_POINTER);
        sample.lr = LINK_REGISTER.map_or(0, read);
    }
    // A thread of the kernel has no code of its own, and what stands there says nothing.
    if sample.ip >= USER_END || sample.sp == 0 {
        sample.ip = 0;
    }
}

/// Copies the stack from the stack pointer on, page by page, until one is not there.
#[inline(always)]
fn copy_stack(record: &mut Record) -> u64 {
    let wanted = u64::from(setting!(stack_bytes_max));
    let from = record.sample.sp;
    let mut copied = 0;
    let mut pages = 0;
    while pages < PAGES_MAX && copied < wanted {
        pages += 1;
        let page = (PAGE - ((from + copied) & (PAGE - 1))).min(wanted - copied);
        if !copy(record, copied, page, from + copied) {
            break;
        }
        copied += page;
    }
    if copied == 0 {
        count(SampleCounter::StackUnread);
    }
    copied
}

#[inline(always)]
fn copy(record: &mut Record, at: u64, size: u64, from: u64) -> bool {
    let at = opaque(at) & (STACK_BYTES_MAX as u64 - 1);
    let size = opaque(size) & (2 * PAGE - 1);
    let to = record.stacks.as_mut_ptr().wrapping_add(at as usize);
    // SAFETY: `at` is below the longest stack and `size` below two pages, for which there is room behind
    // it. The helper checks the address that is read.
    unsafe { generated::bpf_probe_read_user(to.cast(), size as u32, from as *const _) == 0 }
}

/// Puts the addresses of the kernel behind the stack.
#[inline(always)]
fn kernel_frames(ctx: &PerfEventContext, record: &mut Record, stack_bytes: u64) -> u64 {
    let at = opaque(stack_bytes) & (STACK_BYTES_MAX as u64 - 1);
    let to = record.stacks.as_mut_ptr().wrapping_add(at as usize);
    // SAFETY: `at` is below the longest stack, behind which there is room for more than this.
    let written = unsafe {
        generated::bpf_get_stack(ctx.as_ptr(), to.cast(), KERNEL_BYTES_MAX as u32, 0)
    };
    // None while a program runs in its own code.
    if written > 0 { written as u64 } else { 0 }
}

#[inline(always)]
fn submit(record: &mut Record, stack_bytes: u64, kernel_bytes: u64) {
    let stack_bytes = opaque(stack_bytes) & (STACK_BYTES_MAX as u64 - 1);
    let kernel_bytes = opaque(kernel_bytes) & (2 * KERNEL_BYTES_MAX as u64 - 1);
    record.sample.stack_bytes = stack_bytes as u32;
    record.sample.kernel_frames = (kernel_bytes / size_of::<u64>() as u64) as u32;
    let crowded = SAMPLES.query(AVAILABLE) >= u64::from(setting!(wake_bytes));
    // SAFETY: `SAMPLES` is a ring, and the record is longer than what is taken of it.
    let result = unsafe {
        generated::bpf_ringbuf_output(
            ptr::from_ref(&SAMPLES).cast_mut().cast(),
            ptr::from_mut(record).cast(),
            size_of::<Sample>() as u64 + stack_bytes + kernel_bytes,
            if crowded { FORCE_WAKEUP } else { NO_WAKEUP },
        )
    };
    count(if result == 0 { SampleCounter::Submitted } else { SampleCounter::Refused });
}

#[inline(always)]
fn count(counter: SampleCounter) {
    if let Some(figures) = SAMPLE_FIGURES.get_ptr_mut(0) {
        // SAFETY: the index is below `SAMPLE_COUNTERS`, and only this CPU writes here.
        unsafe { *figures.cast::<u64>().add(counter as usize) += 1 }
    }
}

const _: () = assert!(2 * KERNEL_BYTES_MAX <= 2 * PAGE as usize, "behind the longest stack");
