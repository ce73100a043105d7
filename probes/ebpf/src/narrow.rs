//! Calls of 32-bit programs, told as the calls of 64-bit ones that do the same.
//!
//! Invariant: a number that is not in these tables is of no call that is looked at: those of 64-bit
//! programs mean something else here.

use aya_ebpf::helpers::bpf_probe_read_user;

use crate::arch::{narrow_number, number};
use crate::call::{Call, NARROW};

/// No call that is looked at.
pub const OTHER: u32 = u32::MAX;
/// One whose arguments lie in memory, the first of which says what it does.
pub const SOCKET_CALL: u32 = u32::MAX - 1;

/// The number of the call that does the same. The verifier goes through this once.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn native_number(narrow: u64) -> u64 {
    let native = match narrow as u32 {
        narrow_number::READ => number::READ,
        narrow_number::WRITE => number::WRITE,
        narrow_number::READV => number::READV,
        narrow_number::WRITEV => number::WRITEV,
        narrow_number::SENDFILE | narrow_number::SENDFILE64 => number::SENDFILE,
        narrow_number::SPLICE => number::SPLICE,
        narrow_number::RECVMMSG | narrow_number::RECVMMSG_TIME64 => number::RECVMMSG,
        narrow_number::SENDMMSG => number::SENDMMSG,
        narrow_number::SENDTO | narrow_number::SEND => number::SENDTO,
        narrow_number::SENDMSG => number::SENDMSG,
        narrow_number::RECVFROM | narrow_number::RECV => number::RECVFROM,
        narrow_number::RECVMSG => number::RECVMSG,
        narrow_number::PREADV2 => number::PREADV2,
        narrow_number::PWRITEV2 => number::PWRITEV2,
        narrow_number::SOCKET_CALL => SOCKET_CALL,
        _ => OTHER,
    };
    u64::from(native)
}

/// The same of what `socketcall` is asked for.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn native_number_of_socket_call(which: u64) -> u64 {
    let native = match which {
        9 | 11 => number::SENDTO,
        10 | 12 => number::RECVFROM,
        16 => number::SENDMSG,
        17 => number::RECVMSG,
        19 => number::RECVMMSG,
        20 => number::SENDMMSG,
        _ => OTHER,
    };
    u64::from(native)
}

/// `sendto` and `recvfrom` are the only ones of those calls whose fifth argument matters.
const NAMING: [u64; 2] = [11, 12];

/// What `socketcall` is asked for.
#[inline(always)]
pub fn socket_call([which, at, ..]: [u64; 5]) -> Call {
    // SAFETY: the helper checks the address. Each of these calls has three arguments, and a fourth one is
    // read where there is none as well.
    let read = unsafe { bpf_probe_read_user(at as *const [u32; 4]) };
    let [first, second, third, fourth] = read.unwrap_or_default().map(u64::from);
    let mut fifth = 0;
    if NAMING.contains(&which) {
        // SAFETY: the helper checks the address.
        fifth = unsafe { bpf_probe_read_user((at + 16) as *const u32) }.map_or(0, u64::from);
    }
    let number = if read.is_ok() { native_number_of_socket_call(which) as u32 } else { OTHER };
    Call { number, args: [first, second, third, fourth, fifth], width: NARROW }
}
