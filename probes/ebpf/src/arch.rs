//! Where system calls keep their number and arguments, and what their numbers are.
//!
//! Invariant: the registers of a task tell of a call only while it is under way, see `in_progress`: what
//! runs on the way out of it (completions of `io_uring`), and in threads of the kernel that were split off
//! within it, finds the same number and arguments there.

/// Offsets into `struct pt_regs`: the number, then the first five arguments.
#[cfg(bpf_target_arch = "x86_64")]
pub const REGISTERS: [usize; 6] = [120, 112, 104, 96, 56, 72];
/// The same of a call by the table of 32-bit programs.
#[cfg(bpf_target_arch = "x86_64")]
pub const NARROW_REGISTERS: [usize; 6] = [120, 40, 88, 96, 104, 112];
/// The first argument stands in `orig_x0`, which the result does not overwrite.
#[cfg(bpf_target_arch = "aarch64")]
pub const REGISTERS: [usize; 6] = [280, 272, 8, 16, 24, 32];
/// 32-bit programs hand over theirs in the same ones.
#[cfg(bpf_target_arch = "aarch64")]
pub const NARROW_REGISTERS: [usize; 6] = REGISTERS;

/// 1: the call is one by the table of 32-bit programs. `read` reads a word of the registers.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub fn narrow(_read: impl Fn(usize) -> u64) -> u64 {
    /// Bit of `thread_info.status`: `TS_COMPAT`.
    const COMPAT: u32 = 1;
    let offset = crate::maps::setting!(task_status) as usize;
    // SAFETY: the kernel knows the type behind the pointer, and that it has a number at this offset, which was
    // told before the program was loaded.
    let status = unsafe {
        let task = aya_ebpf::helpers::bpf_get_current_task_btf() as *const u8;
        task.add(offset).cast::<u32>().read_volatile()
    };
    u64::from(status >> COMPAT & 1)
}

/// 1: the call is one by the table of 32-bit programs. `read` reads a word of the registers.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub fn narrow(read: impl Fn(usize) -> u64) -> u64 {
    /// Where the processor's state is, and its bit for programs of 32 bits.
    const STATE: usize = 264;
    const BITS_32: u32 = 4;
    read(STATE) >> BITS_32 & 1
}

/// The call has not returned. Until then the place of its result says that there is no such call.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub fn in_progress(read: impl Fn(usize) -> u64) -> bool {
    /// Where the result will be.
    const RESULT: usize = 80;
    const ENOSYS: i64 = 38;
    read(RESULT) as i64 == -ENOSYS
}

/// The call has not returned. Until then the place of its result holds the first argument.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub fn in_progress(read: impl Fn(usize) -> u64) -> bool {
    let [_, first, ..] = REGISTERS;
    read(0) == read(first)
}

/// Offsets into `struct pt_regs`: where a program is, and what leads to its callers.
#[cfg(bpf_target_arch = "x86_64")]
mod place {
    pub const INSTRUCTION_POINTER: usize = 128;
    pub const STACK_POINTER: usize = 152;
    pub const FRAME_POINTER: usize = 32;
    pub const LINK_REGISTER: Option<usize> = None;
}

/// Offsets into `struct pt_regs`: where a program is, and what leads to its callers.
#[cfg(bpf_target_arch = "aarch64")]
mod place {
    pub const INSTRUCTION_POINTER: usize = 256;
    pub const STACK_POINTER: usize = 248;
    pub const FRAME_POINTER: usize = 232;
    pub const LINK_REGISTER: Option<usize> = Some(240);
}

pub use place::*;

/// Offsets into `struct pt_regs`, as Go 1.18 and later call functions: the first three arguments, the
/// goroutine, and the first result.
#[cfg(bpf_target_arch = "x86_64")]
mod go {
    pub const GO_ARGUMENTS: [usize; 3] = [80, 40, 88];
    pub const GO_GOROUTINE: usize = 8;
    pub const GO_RESULT: usize = 80;
}

/// Offsets into `struct pt_regs`, as Go 1.18 and later call functions: the first three arguments, the
/// goroutine, and the first result.
#[cfg(bpf_target_arch = "aarch64")]
mod go {
    pub const GO_ARGUMENTS: [usize; 3] = [0, 8, 16];
    pub const GO_GOROUTINE: usize = 224;
    pub const GO_RESULT: usize = 0;
}

pub use go::*;

/// The numbers of the calls that move bytes.
#[cfg(bpf_target_arch = "x86_64")]
pub mod number {
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const READV: u32 = 19;
    pub const WRITEV: u32 = 20;
    pub const SENDFILE: u32 = 40;
    pub const SENDTO: u32 = 44;
    pub const RECVFROM: u32 = 45;
    pub const SENDMSG: u32 = 46;
    pub const RECVMSG: u32 = 47;
    pub const SPLICE: u32 = 275;
    pub const RECVMMSG: u32 = 299;
    pub const SENDMMSG: u32 = 307;
    pub const PREADV2: u32 = 327;
    pub const PWRITEV2: u32 = 328;
    /// `io_uring_enter` and `io_uring_register`, by the table of 32-bit programs as well.
    pub const RINGS: [u32; 2] = [426, 427];
}

/// The numbers of the calls that move bytes.
#[cfg(bpf_target_arch = "aarch64")]
pub mod number {
    pub const READV: u32 = 65;
    pub const WRITEV: u32 = 66;
    pub const READ: u32 = 63;
    pub const WRITE: u32 = 64;
    pub const SENDFILE: u32 = 71;
    pub const SPLICE: u32 = 76;
    pub const SENDTO: u32 = 206;
    pub const RECVFROM: u32 = 207;
    pub const SENDMSG: u32 = 211;
    pub const RECVMSG: u32 = 212;
    pub const RECVMMSG: u32 = 243;
    pub const SENDMMSG: u32 = 269;
    pub const PREADV2: u32 = 286;
    pub const PWRITEV2: u32 = 287;
    /// `io_uring_enter` and `io_uring_register`, by the table of 32-bit programs as well; and what stands there in threads of
    /// the kernel, whose registers are all zero, so that they look as if they were in a call.
    pub const RINGS: [u32; 3] = [426, 427, 0];
}

/// The numbers of the same calls by 32-bit programs.
#[cfg(bpf_target_arch = "x86_64")]
pub mod narrow_number {
    pub const READ: u32 = 3;
    pub const WRITE: u32 = 4;
    /// One call for all that sockets do: which of them, and where its arguments are.
    pub const SOCKET_CALL: u32 = 102;
    pub const READV: u32 = 145;
    pub const WRITEV: u32 = 146;
    pub const SENDFILE: u32 = 187;
    pub const SENDFILE64: u32 = 239;
    pub const SPLICE: u32 = 313;
    pub const RECVMMSG: u32 = 337;
    pub const SENDMMSG: u32 = 345;
    pub const SENDTO: u32 = 369;
    pub const SENDMSG: u32 = 370;
    pub const RECVFROM: u32 = 371;
    pub const RECVMSG: u32 = 372;
    pub const PREADV2: u32 = 378;
    pub const PWRITEV2: u32 = 379;
    pub const RECVMMSG_TIME64: u32 = 417;
    /// These are only among what `SOCKET_CALL` does, and no call has such a number.
    pub const SEND: u32 = u32::MAX;
    pub const RECV: u32 = u32::MAX - 1;
}

/// The numbers of the same calls by 32-bit programs.
#[cfg(bpf_target_arch = "aarch64")]
pub mod narrow_number {
    pub const READ: u32 = 3;
    pub const WRITE: u32 = 4;
    /// Programs of this kind have no such call.
    pub const SOCKET_CALL: u32 = u32::MAX - 1;
    pub const READV: u32 = 145;
    pub const WRITEV: u32 = 146;
    pub const SENDFILE: u32 = 187;
    pub const SENDFILE64: u32 = 239;
    pub const SEND: u32 = 289;
    pub const SENDTO: u32 = 290;
    pub const RECV: u32 = 291;
    pub const RECVFROM: u32 = 292;
    pub const SENDMSG: u32 = 296;
    pub const RECVMSG: u32 = 297;
    pub const SPLICE: u32 = 340;
    pub const RECVMMSG: u32 = 365;
    pub const SENDMMSG: u32 = 374;
    pub const PREADV2: u32 = 392;
    pub const PWRITEV2: u32 = 393;
    pub const RECVMMSG_TIME64: u32 = 417;
}
