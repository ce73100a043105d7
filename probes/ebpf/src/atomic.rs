//! Numbers in which several CPUs count.
//!
//! Invariant: what is counted at the same time is counted by all; who has counted knows what stood there before.

use core::arch::asm;

/// Adds to a number, and says what it was. The library's own is not there for this target.
///
/// # Safety
/// The number can be written, and lies at a multiple of its size.
#[inline(always)]
pub unsafe fn add(number: *mut u64, more: u64) -> u64 {
    let mut value = more;
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "{value} = atomic_fetch_add((u64 *)({number} + 0), {value})",
            number = in(reg) number,
            value = inout(reg) value,
            options(nostack),
        );
    }
    value
}
