//! What is kept of one data file: blocks in the order in which they came, each behind a header.
//!
//! `magic | file id | block | length | crc32c of the block | crc32c of the header`, then the block.
//!
//! Invariant: what [`read`] returns was put in for this block of this data file. It need not outlive a
//! crash, so it is not synced: what is torn, or lies, is found out.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::blocks::{BLOCK_BYTES, Part};
use crate::model::FileId;

/// Counts up, with the name of the folder, with every change of what is in a file.
const MAGIC: [u8; 8] = *b"icpages1";

/// The bytes of a header.
pub(super) const HEADER_BYTES: usize = 8 + 16 + 8 + 4 + 4 + 4;

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Of its bytes, behind the header.
    at: u64,
    length: u32,
    sum: u32,
}

/// The blocks that a file says it has, up to where it is torn, and that place.
pub(super) fn load(path: &Path, id: FileId) -> Result<(HashMap<u64, Place>, u64)> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let (mut blocks, mut end) = (HashMap::new(), 0_u64);
    let mut header = [0; HEADER_BYTES];
    while end + HEADER_BYTES as u64 <= bytes {
        file.read_exact_at(&mut header, end)?;
        let Some((block, length, sum)) = parse(&header, id) else { break };
        let at = end + HEADER_BYTES as u64;
        if at + u64::from(length) > bytes {
            break;
        }
        blocks.insert(block, Place { at, length, sum });
        end = at + u64::from(length);
    }
    Ok((blocks, end))
}

/// Puts blocks behind those that are there, which end at `end`; where each is, and where they end then.
/// [`ErrorKind::NotFound`] where the file is not the one that ended there.
pub(super) fn append(
    path: &Path,
    id: FileId,
    end: u64,
    blocks: &[(u64, Bytes)],
) -> Result<(Vec<(u64, Place)>, u64)> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(end == 0).truncate(false).open(path)?;
    let bytes = file.metadata()?.len();
    if bytes < end {
        return Err(ErrorKind::NotFound.into());
    }
    if bytes > end {
        file.set_len(end)?;
    }
    let (mut places, mut end) = (Vec::with_capacity(blocks.len()), end);
    for (block, bytes) in blocks {
        let length = u32::try_from(bytes.len()).map_err(|_long| ErrorKind::InvalidInput)?;
        let sum = crc32c::crc32c(bytes);
        file.write_all_at(&header(id, *block, length, sum), end)?;
        let at = end + HEADER_BYTES as u64;
        file.write_all_at(bytes, at)?;
        places.push((*block, Place { at, length, sum }));
        end = at + u64::from(length);
    }
    Ok((places, end))
}

/// The bytes of some runs of blocks, each in one piece.
pub(super) fn read(path: &Path, wanted: &[(Range<u64>, Vec<Place>)]) -> Result<Vec<Part>> {
    let file = File::open(path)?;
    let mut parts = Vec::with_capacity(wanted.len());
    for (run, places) in wanted {
        let lengths = places.iter().map(|place| place.length as usize);
        let mut bytes = vec![0; lengths.clone().sum()];
        let mut rest = bytes.as_mut_slice();
        for (place, length) in places.iter().zip(lengths) {
            let (here, after) = rest.split_at_mut(length);
            file.read_exact_at(here, place.at)?;
            if crc32c::crc32c(here) != place.sum {
                return Err(Error::new(ErrorKind::InvalidData, "it is not what was written"));
            }
            rest = after;
        }
        parts.push((run.clone(), bytes.into()));
    }
    Ok(parts)
}

fn header(id: FileId, block: u64, length: u32, sum: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..24].copy_from_slice(&id.0.to_bytes());
    header[24..32].copy_from_slice(&block.to_le_bytes());
    header[32..36].copy_from_slice(&length.to_le_bytes());
    header[36..40].copy_from_slice(&sum.to_le_bytes());
    let own = crc32c::crc32c(&header[..40]);
    header[40..].copy_from_slice(&own.to_le_bytes());
    header
}

/// The block that follows a header, its length and sum; `None` where it is no header of this file.
fn parse(bytes: &[u8; HEADER_BYTES], id: FileId) -> Option<(u64, u32, u32)> {
    let block = u64::from_le_bytes(*bytes[24..].first_chunk()?);
    let length = u32::from_le_bytes(*bytes[32..].first_chunk()?);
    let sum = u32::from_le_bytes(*bytes[36..].first_chunk()?);
    let fits = (1..=BLOCK_BYTES).contains(&u64::from(length));
    (fits && *bytes == header(id, block, length, sum)).then_some((block, length, sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> FileId {
        FileId(ulid::Ulid(number))
    }

    fn block(number: u64, length: usize) -> (u64, Bytes) {
        (
            number,
            (0..length).map(|at| ((at as u64 * 7 + number) % 251) as u8).collect::<Vec<_>>().into(),
        )
    }

    fn read_all(path: &Path, id: FileId) -> (Vec<(u64, Bytes)>, u64) {
        let (places, end) = load(path, id).unwrap();
        let mut found = Vec::new();
        for (block, place) in places {
            if let Ok(parts) = read(path, &[(block..block + 1, vec![place])]) {
                found.extend(parts.into_iter().map(|(_, bytes)| (block, bytes)));
            }
        }
        found.sort_by_key(|(block, _)| *block);
        (found, end)
    }

    /// Scenario: blocks come in two turns; then the file is cut at every byte, and goes on from there.
    /// Guarantees: what was whole is read, what was torn is not there, and what comes later is.
    #[test]
    fn a_torn_end_is_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        let blocks = [block(7, 30), block(0, 5), block(9, 1)];
        let (first, end) = append(&path, id(1), 0, &blocks[..2]).unwrap();
        let (second, end) = append(&path, id(1), end, &blocks[2..]).unwrap();
        assert_eq!((first.len(), second.len()), (2, 1));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(end, bytes.len() as u64);
        let ends = [0, 74, 123, 168];
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            let mut expected = blocks[..whole].to_vec();
            expected.push(block(4, 9));
            expected.sort_by_key(|(block, _)| *block);
            let (_, end) = load(&path, id(1)).unwrap();
            assert_eq!(end, ends[whole] as u64);
            append(&path, id(1), end, &[block(4, 9)]).unwrap();
            assert_eq!(read_all(&path, id(1)).0, expected);
        }
    }

    /// Scenario: each byte of a file is changed; a file under the name of another; one that is shorter than
    /// was known.
    /// Guarantees: a block is read as it was written or not at all, and the others of the file with it or
    /// without; what is of another data file is nothing; nothing is put behind what is not there.
    #[test]
    fn what_lies_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        let blocks = [block(0, 20), block(3, 12)];
        let (_, end) = append(&path, id(1), 0, &blocks).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut lying = bytes.clone();
            lying[at] ^= 0x20;
            std::fs::write(&path, &lying).unwrap();
            let (found, _) = read_all(&path, id(1));
            assert!(found.len() < 2 && found.iter().all(|one| blocks.contains(one)), "{at}");
        }
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read_all(&path, id(2)), (Vec::new(), 0));
        let short = append(&path, id(1), end + 1, &blocks).unwrap_err();
        assert_eq!(short.kind(), ErrorKind::NotFound);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(append(&path, id(1), end, &blocks).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
