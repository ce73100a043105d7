//! What this process has mapped of its own program's file.
//!
//! Invariant: only pages that nothing may write are let go, so that the kernel maps the same bytes
//! again when they are next wanted.

use std::ffi::{c_int, c_void};
use std::ops::Range;

/// Lets go of what is mapped of the program: once it is ready, that is mostly what only its start wanted.
///
/// With each page of code that is wanted the kernel maps the fifteen around it, and all of them stay:
/// of a program of 160 MB, 55 MB were mapped once it was ready. What is let go stays in the page cache,
/// and what is still wanted is mapped again within about a millisecond.
pub(crate) fn let_go() {
    for Range { start, end } in segments() {
        // SAFETY: nothing writes this part of the program, nor moves it while the process lives: what
        // is read there next comes from the file, and is what was there before.
        let refused =
            unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) != 0 };
        if refused {
            tracing::debug!(start, end, "the kernel keeps pages of the program");
        }
    }
}

/// The whole pages of the program's code and constants.
fn segments() -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    // SAFETY: the loader calls `note_program` before this returns, and with this pointer.
    unsafe { libc::dl_iterate_phdr(Some(note_program), (&raw mut found).cast()) };
    found
}

/// Notes the segments of the first object that the loader names, which is the program itself.
unsafe extern "C" fn note_program(
    info: *mut libc::dl_phdr_info,
    _bytes: libc::size_t,
    found: *mut c_void,
) -> c_int {
    // SAFETY: the loader's description is valid during the call, and `found` is the vector of
    // `segments`, which nobody else has.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Vec<Range<usize>>>()) };
    // SAFETY: it has so many headers there.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let kept = |header: &&libc::Elf64_Phdr| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0
    };
    found.extend(headers.iter().filter(kept).filter_map(|header| pages(info.dlpi_addr, header)));
    1
}

/// The pages that are a segment's alone.
fn pages(base: u64, header: &libc::Elf64_Phdr) -> Option<Range<usize>> {
    let start = usize::try_from(base.checked_add(header.p_vaddr)?).ok()?;
    let end = start.checked_add(usize::try_from(header.p_filesz).ok()?)?;
    let page = page_bytes()?;
    let whole = start.checked_next_multiple_of(page)?..end / page * page;
    (!whole.is_empty()).then_some(whole)
}

fn page_bytes() -> Option<usize> {
    // SAFETY: the call takes a number and reads no memory of ours.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Scenario: all of the program's code is read, then let go, while other tests run.
    /// Guarantees: less than half of it is mapped afterwards, its bytes are what they were, and it goes on.
    #[test]
    fn what_is_let_go_is_mapped_again() {
        let sum = || -> u64 {
            let bytes = segments().into_iter().map(|Range { start, end }| {
                // SAFETY: a segment of the program, which is there as long as the process.
                unsafe { std::slice::from_raw_parts(start as *const u8, end - start) }
            });
            bytes.flat_map(|bytes| bytes.iter().step_by(512)).map(|byte| u64::from(*byte)).sum()
        };
        let before = sum();
        let_go();
        let (left, whole) = (mapped_kib(), segments().iter().map(Range::len).sum::<usize>() / 1024);
        assert!(left < whole / 2, "{left} of {whole} KiB are mapped");
        assert_eq!(sum(), before);
    }
}
