//! Stretches of a file, read into memory that is used again.
//!
//! Invariant: bytes that are handed out are those of the file, and memory comes back only once
//! nobody looks at it. New memory is cleared by the system page by page, and once more before a file
//! is read into it, which takes longer than reading what is in the page cache.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Memory that waits to be used again: for the reads of a few files at a time.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// Memory comes in such steps, so that what was used once fits again.
const STEP_BYTES: usize = 256 << 10;

/// Memory that waits to be used again.
#[derive(Debug, Default)]
pub(super) struct Spare {
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// One piece of it in use.
struct Buffer {
    bytes: Vec<u8>,
    spare: Arc<Spare>,
}

/// The stretches of a file in order; an error where it ends before.
pub(super) fn read(
    path: &Path,
    ranges: &[Range<u64>],
    spare: &Arc<Spare>,
) -> io::Result<Vec<Bytes>> {
    let file = File::open(path)?;
    // A damaged footer may say anything of where things are: no memory is taken for what is not there.
    let bytes = file.metadata()?.len();
    if ranges.iter().any(|range| range.end > bytes) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let lengths = ranges.iter().map(|range| range.end.saturating_sub(range.start));
    let lengths = lengths.map(usize::try_from).collect::<Result<Vec<_>, _>>();
    let lengths = lengths.map_err(io::Error::other)?;
    let mut buffer = spare.take(lengths.iter().sum());
    let mut rest = buffer.bytes.as_mut_slice();
    for (range, length) in ranges.iter().zip(&lengths) {
        let (here, after) = rest.split_at_mut(*length);
        file.read_exact_at(here, range.start)?;
        rest = after;
    }
    let all = Bytes::from_owner(buffer);
    let mut at = 0;
    let stretches = lengths.into_iter().map(|length| {
        at += length;
        all.slice(at - length..at)
    });
    Ok(stretches.collect())
}

impl Spare {
    /// Some memory, `length` bytes at least.
    fn take(self: &Arc<Self>, length: usize) -> Buffer {
        let fitting = {
            let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            let fitting = buffers.iter().enumerate().filter(|(_, bytes)| bytes.len() >= length);
            let least = fitting.min_by_key(|(_, bytes)| bytes.len()).map(|(at, _)| at);
            least.map(|at| buffers.swap_remove(at))
        };
        let bytes = fitting.unwrap_or_else(|| vec![0; length.next_multiple_of(STEP_BYTES)]);
        Buffer { bytes, spare: Arc::clone(self) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut buffers = self.spare.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: usize = buffers.iter().map(Vec::len).sum();
        if waiting + bytes.len() <= SPARE_BYTES_MAX {
            buffers.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: stretches of a file, none, an empty one, and some that the file does not have; the
    /// first are kept while others are read, and let go of then.
    /// Guarantees: each is what the file has there, for as long as somebody holds it; memory is used
    /// again, and no more of it is kept than the bound.
    #[expect(clippy::single_range_in_vec_init, reason = "one stretch is meant")]
    #[test]
    fn stretches_are_those_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file: Vec<u8> =
            (0..3_000_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
        std::fs::write(&path, &file).unwrap();
        let spare = Arc::<Spare>::default();
        let check = |ranges: &[Range<u64>]| {
            let found = read(&path, ranges, &spare).unwrap();
            let at = |place: u64| usize::try_from(place).unwrap();
            let wanted = ranges.iter().map(|range| &file[at(range.start)..at(range.end)]);
            assert!(found.iter().eq(wanted));
            found
        };
        check(&[]);
        let kept = check(&[0..100, 2_999_990..3_000_000, 5..5]);
        let other = check(&[7..2_900_000, 1_000..1_001]);
        assert_eq!(kept[0], file[..100]);
        drop((kept, other));
        let waiting = || spare.buffers.lock().unwrap().iter().map(Vec::len).sum::<usize>();
        let before = waiting();
        drop(check(&[3..2_800_000]));
        assert_eq!(waiting(), before);
        drop((0..9).map(|_| check(&[0..2_000_000])).collect::<Vec<_>>());
        assert!(waiting() <= SPARE_BYTES_MAX);
        for lies in [2_999_999..3_000_001, 0..u64::MAX, u64::MAX - 1..u64::MAX, 9..1 << 50] {
            assert!(read(&path, &[0..1, lies], &spare).is_err());
        }
        assert!(read(&folder.path().join("none"), &[0..1], &spare).is_err());
    }
}
