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
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use bytes::Bytes;

use super::blocks::{BLOCK_BYTES, Part, bytes_of};
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

/// What a file of the cache says that it has.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) blocks: HashMap<u64, Place>,
    /// Where they end: what is behind it is torn.
    pub(super) end: u64,
    /// The whole length of the file.
    pub(super) bytes: u64,
}

/// What an error says of a file of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing: this process may open no more files for now.
    Passing,
    /// Somebody deleted it.
    Gone,
    /// It is not what was written.
    Damaged,
    /// The disk has a reason of its own.
    Failed,
}

impl Fault {
    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Gone,
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Self::Damaged,
            _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => Self::Passing,
            _ => Self::Failed,
        }
    }
}

/// Opens what is a file, and nothing that it leads to; whoever put a pipe there is not waited for.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> Result<File> {
    let opened = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let no_file = || Error::new(ErrorKind::InvalidData, "it is no file");
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(no_file()),
        opened => opened?,
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
}

/// Removes what has this name, be it a file of ours or not; nothing is well, too.
pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::IsADirectory => std::fs::remove_dir_all(path),
        removed => removed,
    }
}

/// The blocks that the file of a data file of so many bytes says it has. Blocks that the data file has not, or not of
/// this length, or that are there twice nobody wrote.
pub(super) fn load(path: &Path, id: FileId, file_bytes: u64) -> Result<Loaded> {
    let file = open(path, OpenOptions::new().read(true))?;
    let bytes = file.metadata()?.len();
    let mut loaded = Loaded { bytes, ..Loaded::default() };
    let mut header = [0; HEADER_BYTES];
    while loaded.end + HEADER_BYTES as u64 <= bytes {
        file.read_exact_at(&mut header, loaded.end)?;
        let Some((block, length, sum)) = parse(&header, id) else { break };
        let at = loaded.end + HEADER_BYTES as u64;
        if at + u64::from(length) > bytes {
            break;
        }
        let place = bytes_of(&(block..block.saturating_add(1)), file_bytes);
        let fits = place.end - place.start == u64::from(length);
        if !fits || loaded.blocks.insert(block, Place { at, length, sum }).is_some() {
            let reason = format!("it has a block {block} of {length} bytes");
            return Err(Error::new(ErrorKind::InvalidData, reason));
        }
        loaded.end = at + u64::from(length);
    }
    Ok(loaded)
}

/// Puts blocks behind those that are there, which end at `end`; where each is, and where they end then.
/// [`ErrorKind::NotFound`] where the file is not the one that ended there.
pub(super) fn append(
    path: &Path,
    id: FileId,
    end: u64,
    blocks: &[(u64, Bytes)],
) -> Result<(Vec<(u64, Place)>, u64)> {
    let file = if end == 0 { begin(path)? } else { open(path, OpenOptions::new().write(true))? };
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

/// A file that is ours alone: what has its name goes.
fn begin(path: &Path) -> Result<File> {
    remove(path)?;
    open(path, OpenOptions::new().write(true).create_new(true))
}

/// The bytes of some runs of blocks, each in one piece.
pub(super) fn read(path: &Path, wanted: &[(Range<u64>, Vec<Place>)]) -> Result<Vec<Part>> {
    let file = open(path, OpenOptions::new().read(true))?;
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

    /// Of the data file: two blocks and a bit.
    const FILE_BYTES: u64 = 2 * BLOCK_BYTES + 30;

    fn id(number: u128) -> FileId {
        FileId(ulid::Ulid(number))
    }

    fn block(number: u64) -> (u64, Bytes) {
        let at = bytes_of(&(number..number + 1), FILE_BYTES);
        (number, at.map(|at| (at * 7 % 251) as u8).collect::<Vec<_>>().into())
    }

    fn read_all(path: &Path, id: FileId) -> (Vec<(u64, Bytes)>, u64) {
        let loaded = load(path, id, FILE_BYTES).unwrap_or_default();
        let mut found = Vec::new();
        for (block, place) in loaded.blocks {
            if let Ok(parts) = read(path, &[(block..block + 1, vec![place])]) {
                found.extend(parts.into_iter().map(|(_, bytes)| (block, bytes)));
            }
        }
        found.sort_by_key(|(block, _)| *block);
        (found, loaded.end)
    }

    /// Places around these, and some in between.
    fn around(ends: &[usize]) -> Vec<usize> {
        let near = |end: &usize| (end.saturating_sub(50)..end + 50).collect::<Vec<_>>();
        let last = *ends.last().unwrap();
        let mut places: Vec<usize> = ends.iter().flat_map(near).collect();
        places.extend((0..last).step_by(10_007));
        places.retain(|place| *place <= last);
        places
    }

    /// Scenario: blocks come in two turns; then the file is cut around every end and amid blocks, and goes on
    /// from there.
    /// Guarantees: what was whole is read, what was torn is not there, and what comes later is.
    #[test]
    fn a_torn_end_is_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        let blocks = [block(2), block(0)];
        let (first, end) = append(&path, id(1), 0, &blocks[..1]).unwrap();
        let (second, end) = append(&path, id(1), end, &blocks[1..]).unwrap();
        assert_eq!((first.len(), second.len()), (1, 1));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(end, bytes.len() as u64);
        let ends = [0, 74, bytes.len()];
        for cut in around(&ends) {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            let mut expected = blocks[..whole].to_vec();
            expected.push(block(1));
            expected.sort_by_key(|(block, _)| *block);
            let loaded = load(&path, id(1), FILE_BYTES).unwrap();
            assert_eq!((loaded.end, loaded.bytes), (ends[whole] as u64, cut as u64));
            append(&path, id(1), loaded.end, &[block(1)]).unwrap();
            assert_eq!(read_all(&path, id(1)).0, expected);
        }
    }

    /// Scenario: bytes of a file are changed; a file under the name of another; one that is shorter than
    /// was known.
    /// Guarantees: a block is read as it was written or not at all, and the others of the file with it or
    /// without; what is of another data file is nothing; nothing is put behind what is not there.
    #[test]
    fn what_lies_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        let blocks = [block(2), block(1)];
        let (_, end) = append(&path, id(1), 0, &blocks).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for at in around(&[0, 74, bytes.len()]).into_iter().filter(|at| *at < bytes.len()) {
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

    /// Scenario: files whose checksums are right, with a block that the data file has not, one that is shorter than
    /// it is there, one longer, and one twice.
    /// Guarantees: all of them are damage, and nothing of them is answered from.
    #[test]
    fn what_no_data_file_has_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        let short = |number, length| (number, block(0).1.slice(..length));
        let length = usize::try_from(BLOCK_BYTES).unwrap();
        for (why, lying) in [
            ("none", vec![short(3, 30)]),
            ("far away", vec![short(u64::MAX, length)]),
            ("short", vec![block(1), short(0, length - 1)]),
            ("long", vec![short(2, 31)]),
            ("twice", vec![block(0), block(1), block(0)]),
        ] {
            append(&path, id(1), 0, &lying).unwrap();
            let error = load(&path, id(1), FILE_BYTES).unwrap_err();
            assert_eq!(Fault::of(&error), Fault::Damaged, "{why}");
        }
        append(&path, id(1), 0, &[block(2), block(0)]).unwrap();
        assert_eq!(read_all(&path, id(1)).0, [block(0), block(2)]);
    }

    /// Scenario: a link to a file, a pipe that nobody writes to or reads, and a folder have the name of a file of the
    /// cache, for whoever reads it, adds to it, or begins it.
    /// Guarantees: nobody waits; none is read or added to, and what the link leads to stays as it is; whoever begins
    /// the file has one that is new.
    #[test]
    fn what_is_no_file_is_neither_read_nor_written() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("one"), folder.path().join("other"));
        append(&other, id(1), 0, &[block(2)]).unwrap();
        let kept = std::fs::read(&other).unwrap();
        let pipe = || {
            let made = std::process::Command::new("mkfifo").arg(&path).status();
            assert!(made.unwrap().success());
        };
        let link = || std::os::unix::fs::symlink(&other, &path).unwrap();
        let deep = || std::fs::create_dir_all(path.join("deeper")).unwrap();
        for put in [&link as &dyn Fn(), &pipe, &deep] {
            put();
            assert_eq!(Fault::of(&load(&path, id(1), FILE_BYTES).unwrap_err()), Fault::Damaged);
            assert!(append(&path, id(1), 74, &[block(1)]).is_err());
            append(&path, id(1), 0, &[block(1)]).unwrap();
            assert_eq!(read_all(&path, id(1)).0, [block(1)]);
            assert!(std::fs::read(&other).unwrap() == kept);
            remove(&path).unwrap();
            put();
            remove(&path).unwrap();
            remove(&path).unwrap();
        }
        assert!(!path.exists() && other.exists());
    }
}
