//! A segment: which files of one day hold which traces, as one immutable file on local disk.
//!
//! Pages of sorted pairs, then the list of files, the first print of each page, and a footer. A
//! look-up reads one page, mostly. Nothing is open between look-ups, so there may be many.
//!
//! Invariant: a segment that opens names every file whose pairs were written into it, and a page
//! that is not what was written is an error, never an answer.

use std::fs::File;
use std::io::{self, BufWriter, Error, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ulid::Ulid;

use super::page::{self, PageBuilder, Pair};
use crate::catalog::FileKey;
use crate::model::{FileId, UnixNanos};

/// Counts up with every change of what is in a segment or how a print is made.
const MAGIC: [u8; 8] = *b"ictrace1";

/// Bytes of a file's name and of a page's first print behind the pages.
const FILE_BYTES: usize = 8 + 16;
const FIRST_BYTES: usize = 8;

/// `pages, files, pairs: u64 | crc32c of all behind the pages: u32 | magic`.
const FOOTER_BYTES: usize = 3 * 8 + 4 + 8;

/// See the module. In memory it has its files and 8 bytes a page.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// Sorted; a pair says which of them.
    pub(super) files: Vec<FileKey>,
    pub(super) pairs: u64,
    pub(super) bytes: u64,
    firsts: Vec<u64>,
}

impl Segment {
    /// Reads all but the pages.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut footer = [0; FOOTER_BYTES];
        let footer_at = bytes.checked_sub(FOOTER_BYTES as u64).ok_or_else(torn)?;
        file.read_exact_at(&mut footer, footer_at)?;
        let footer = Footer::parse(&footer).ok_or_else(torn)?;
        let pages_end = footer.pages_end(bytes).ok_or_else(torn)?;
        let mut tail = vec![0; usize::try_from(bytes - pages_end).map_err(|_wide| torn())?];
        file.read_exact_at(&mut tail, pages_end)?;
        if footer.sum != sum_of(&tail) {
            return Err(torn());
        }
        let (files, firsts) = tail.split_at(footer.files * FILE_BYTES);
        let firsts = firsts[..footer.pages * FIRST_BYTES].as_chunks().0;
        Ok(Self {
            path: path.to_owned(),
            files: files.as_chunks().0.iter().map(parse_file).collect(),
            pairs: footer.pairs,
            bytes,
            firsts: firsts.iter().map(|first| u64::from_le_bytes(*first)).collect(),
        })
    }

    /// The files that may hold the trace.
    pub(super) fn find(&self, print: u64) -> io::Result<Vec<FileKey>> {
        // A print may go over several pages, and may begin in the one before the first that
        // begins with it.
        let first = self.firsts.partition_point(|first| *first < print).saturating_sub(1);
        let end = self.firsts.partition_point(|first| *first <= print);
        if first >= end {
            return Ok(Vec::new());
        }
        let file = File::open(&self.path)?;
        let mut found = Vec::new();
        for number in first..end {
            let pairs = read_page(&file, number)?;
            let from = pairs.partition_point(|pair| pair.0 < print);
            for (_, file) in pairs[from..].iter().take_while(|pair| pair.0 == print) {
                found.push(self.file(*file)?);
            }
        }
        Ok(found)
    }

    /// Every pair, in order, a page at a time.
    pub(super) fn pairs(&self) -> io::Result<impl Iterator<Item = io::Result<Pair>> + use<>> {
        let file = File::open(&self.path)?;
        let pages = 0..self.firsts.len();
        Ok(pages.flat_map(move |number| {
            let (pairs, failed) = match read_page(&file, number) {
                Ok(pairs) => (pairs, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            pairs.into_iter().map(Ok).chain(failed)
        }))
    }

    fn file(&self, number: u32) -> io::Result<FileKey> {
        let number = usize::try_from(number).map_err(|_wide| torn())?;
        self.files.get(number).copied().ok_or_else(torn)
    }
}

/// Writes a segment beside `path` and puts it there when it is whole. `files` and `pairs` are
/// sorted. It need not outlive a crash, so it is not synced: a torn one is found out.
pub(super) fn write(
    path: &Path,
    files: Vec<FileKey>,
    pairs: impl Iterator<Item = io::Result<Pair>>,
) -> io::Result<Segment> {
    let beside = path.with_extension("tmp");
    let written = write_all(&beside, &files, pairs).and_then(|footer| {
        std::fs::rename(&beside, path)?;
        Ok(footer)
    });
    match written {
        Ok((firsts, pairs, bytes)) => {
            Ok(Segment { path: path.to_owned(), files, pairs, bytes, firsts })
        }
        Err(error) => {
            // Where even this fails, the next start finds it.
            drop(std::fs::remove_file(&beside));
            Err(error)
        }
    }
}

fn write_all(
    path: &Path,
    files: &[FileKey],
    pairs: impl Iterator<Item = io::Result<Pair>>,
) -> io::Result<(Vec<u64>, u64, u64)> {
    let mut out = BufWriter::with_capacity(16 * page::BYTES, File::create(path)?);
    let (mut builder, mut firsts, mut count) = (PageBuilder::default(), Vec::new(), 0);
    for pair in pairs {
        let pair = pair?;
        if !builder.push(pair) {
            firsts.extend(write_page(&mut out, &mut builder)?);
            builder.push(pair);
        }
        count += 1;
    }
    firsts.extend(write_page(&mut out, &mut builder)?);
    let tail = tail_of(files, &firsts, count);
    out.write_all(&tail)?;
    out.flush()?;
    let bytes = firsts.len() * page::BYTES + tail.len();
    Ok((firsts, count, bytes as u64))
}

fn write_page(out: &mut impl Write, builder: &mut PageBuilder) -> io::Result<Option<u64>> {
    let Some((page, first)) = builder.finish() else { return Ok(None) };
    out.write_all(&page)?;
    Ok(Some(first))
}

fn read_page(file: &File, number: usize) -> io::Result<Vec<Pair>> {
    let mut page = [0; page::BYTES];
    file.read_exact_at(&mut page, (number * page::BYTES) as u64)?;
    page::pairs(&page).ok_or_else(torn)
}

/// All behind the pages.
fn tail_of(files: &[FileKey], firsts: &[u64], pairs: u64) -> Vec<u8> {
    let mut tail = Vec::with_capacity(files.len() * FILE_BYTES + firsts.len() * FIRST_BYTES + 64);
    for (hour, id) in files {
        tail.extend(hour.0.to_le_bytes());
        tail.extend(id.0.to_bytes());
    }
    firsts.iter().for_each(|first| tail.extend(first.to_le_bytes()));
    for figure in [firsts.len() as u64, files.len() as u64, pairs] {
        tail.extend(figure.to_le_bytes());
    }
    tail.extend(crc32c::crc32c(&tail).to_le_bytes());
    tail.extend(MAGIC);
    tail
}

/// The checksum of a tail, without itself and the magic.
fn sum_of(tail: &[u8]) -> u32 {
    crc32c::crc32c(&tail[..tail.len() - 4 - MAGIC.len()])
}

fn parse_file(bytes: &[u8; FILE_BYTES]) -> FileKey {
    let (hour, id) = bytes.split_at(8);
    let hour = i64::from_le_bytes(hour.try_into().expect("it is split after eight bytes"));
    let id = Ulid::from_bytes(id.try_into().expect("sixteen bytes are left"));
    (UnixNanos(hour), FileId(id))
}

struct Footer {
    pages: usize,
    files: usize,
    pairs: u64,
    sum: u32,
}

impl Footer {
    fn parse(bytes: &[u8; FOOTER_BYTES]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let [pages, files, pairs, _] = words.try_into().ok()?;
        let (sum, magic) = bytes[3 * 8..].split_first_chunk()?;
        let [pages, files, pairs] = [pages, files, pairs].map(u64::from_le_bytes);
        (magic == MAGIC && rest.len() == 4).then_some(Self {
            pages: usize::try_from(pages).ok()?,
            files: usize::try_from(files).ok()?,
            pairs,
            sum: u32::from_le_bytes(*sum),
        })
    }

    /// Where the pages end, where that fits a file of `bytes`.
    fn pages_end(&self, bytes: u64) -> Option<u64> {
        let pages = (self.pages as u64).checked_mul(page::BYTES as u64)?;
        let files = self.files.checked_mul(FILE_BYTES)?;
        let tail = files.checked_add(self.pages.checked_mul(FIRST_BYTES)?)?;
        let tail = tail.checked_add(FOOTER_BYTES)?;
        (pages.checked_add(tail as u64)? == bytes).then_some(pages)
    }
}

fn torn() -> Error {
    Error::new(ErrorKind::InvalidData, "it is not what was written")
}

#[cfg(test)]
mod tests;
