//! Several segments into one, a page of each at a time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::page::Pair;
use super::segment::{Segment, write};
use crate::catalog::FileKey;

/// Writes what the segments say of the files that `stays` keeps; none where it keeps none.
pub(super) fn merge(
    path: &Path,
    segments: &[Arc<Segment>],
    stays: impl Fn(&FileKey) -> bool,
) -> io::Result<Option<Segment>> {
    let files = segments.iter().flat_map(|segment| segment.files.iter().copied());
    let files: BTreeSet<FileKey> = files.filter(stays).collect();
    let files: Vec<FileKey> = files.into_iter().collect();
    if files.is_empty() {
        return Ok(None);
    }
    let inputs = segments.iter().map(|segment| renumbered(segment, &files));
    let pairs = Sorted::new(inputs.collect::<io::Result<_>>()?)?;
    let mut last = None;
    let pairs = pairs.filter(move |pair| {
        let pair = pair.as_ref().ok().copied();
        let twice = pair.is_some() && pair == last;
        last = pair;
        !twice
    });
    write(path, files, pairs).map(Some)
}

type Pairs = Box<dyn Iterator<Item = io::Result<Pair>>>;

/// The pairs of a segment with the numbers that its files have in `files`; those of others go.
/// Both lists are sorted, so the pairs stay so.
fn renumbered(segment: &Segment, files: &[FileKey]) -> io::Result<Pairs> {
    let number =
        |file: &FileKey| files.binary_search(file).ok().and_then(|at| u32::try_from(at).ok());
    let numbers: Vec<Option<u32>> = segment.files.iter().map(number).collect();
    let pairs = segment.pairs()?.filter_map(move |pair| match pair {
        Ok((print, file)) => {
            let number = usize::try_from(file).ok().and_then(|file| *numbers.get(file)?);
            number.map(|file| Ok((print, file)))
        }
        Err(error) => Some(Err(error)),
    });
    Ok(Box::new(pairs))
}

/// Sorted inputs as one.
struct Sorted {
    inputs: Vec<Pairs>,
    heads: BinaryHeap<Reverse<(Pair, usize)>>,
}

impl Sorted {
    fn new(inputs: Vec<Pairs>) -> io::Result<Self> {
        let mut sorted = Self { inputs, heads: BinaryHeap::new() };
        (0..sorted.inputs.len()).try_for_each(|input| sorted.advance(input))?;
        Ok(sorted)
    }

    fn advance(&mut self, input: usize) -> io::Result<()> {
        if let Some(pair) = self.inputs[input].next() {
            self.heads.push(Reverse((pair?, input)));
        }
        Ok(())
    }
}

impl Iterator for Sorted {
    type Item = io::Result<Pair>;

    fn next(&mut self) -> Option<io::Result<Pair>> {
        let Reverse((pair, input)) = self.heads.pop()?;
        Some(self.advance(input).map(|()| pair))
    }
}
