//! Where system calls keep their number and arguments, and what their numbers are.

/// Offsets into `struct pt_regs`: the number, then the first five arguments.
#[cfg(bpf_target_arch = "x86_64")]
pub const REGISTERS: [usize; 6] = [120, 112, 104, 96, 56, 72];
/// The first argument stands in `orig_x0`, which the result does not overwrite.
#[cfg(bpf_target_arch = "aarch64")]
pub const REGISTERS: [usize; 6] = [280, 272, 8, 16, 24, 32];

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
}
