//! Reads of a part of a file.
//!
//! Invariant: nothing is read beyond the part, and no more memory is taken than the file has bytes there.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// A stretch of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch<'f> {
    pub(super) file: &'f File,
    pub(super) start: u64,
    pub(super) len: u64,
}

impl Stretch<'_> {
    /// So many bytes from `at` on; none where the stretch has fewer.
    pub(super) fn read(&self, at: u64, len: u64) -> Option<Vec<u8>> {
        let len = Some(len).filter(|&len| self.len.checked_sub(at).is_some_and(|has| has >= len));
        let mut bytes = vec![0; usize::try_from(len?).ok()?];
        self.file.read_exact_at(&mut bytes, self.start.checked_add(at)?).ok()?;
        Some(bytes)
    }

    pub(super) fn number(&self, at: u64) -> Option<u64> {
        self.read(at, 8)?.try_into().ok().map(u64::from_le_bytes)
    }
}
