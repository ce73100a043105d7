//! The files of one table in the order of their hours and names.
//!
//! A snapshot is taken with every commit, and an old one stays as it was, so the set is made of
//! chunks that snapshots share: a change copies one chunk and the list of chunks, which at a
//! million files is a few thousand pointers, wherever in time the files are.
//!
//! Invariant: files are sorted by key, each is there once, and no chunk is empty or longer than
//! [`CHUNK_FILES`].

use std::sync::Arc;

use crate::catalog::FileEntry;
use crate::catalog::entry::FileKey;
use crate::model::UnixNanos;

/// About the square root of a million, so that neither a chunk nor the list of them gets long.
const CHUNK_FILES: usize = 512;

type Chunk = Arc<Vec<Arc<FileEntry>>>;

/// See the module. A clone is one pointer.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileSet {
    chunks: Arc<Vec<Chunk>>,
}

impl FileSet {
    /// Every file, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<FileEntry>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The files of the hours from `first` on, up to but without `end`.
    pub(crate) fn range(
        &self,
        first: UnixNanos,
        end: UnixNanos,
    ) -> impl Iterator<Item = &Arc<FileEntry>> {
        let skipped = self.chunks.partition_point(|chunk| last_key(chunk).0 < first);
        let files = self.chunks[skipped..].iter().flat_map(|chunk| chunk.iter());
        files.skip_while(move |file| file.hour < first).take_while(move |file| file.hour < end)
    }

    /// Every hour with its files, in order.
    pub(crate) fn hours(&self) -> impl Iterator<Item = (UnixNanos, Vec<Arc<FileEntry>>)> {
        let mut files = self.iter().peekable();
        std::iter::from_fn(move || {
            let hour = files.peek()?.hour;
            let next = || files.next_if(|file| file.hour == hour).cloned();
            Some((hour, std::iter::from_fn(next).collect()))
        })
    }

    /// The file of this key.
    pub(crate) fn get(&self, key: FileKey) -> Option<&Arc<FileEntry>> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let place = chunk.binary_search_by_key(&key, |file| file.key()).ok()?;
        chunk.get(place)
    }

    /// The first file and the last.
    pub(crate) fn ends(&self) -> Option<(&Arc<FileEntry>, &Arc<FileEntry>)> {
        self.chunks.first()?.first().zip(self.chunks.last()?.last())
    }

    /// Puts a file in; gives back one of the same key that was there.
    pub(crate) fn insert(&mut self, file: Arc<FileEntry>) -> Option<Arc<FileEntry>> {
        let at = self.chunk_of(file.key());
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(at) else {
            chunks.push(Arc::new(vec![file]));
            return None;
        };
        let found = chunk.binary_search_by_key(&file.key(), |other| other.key());
        match found {
            Ok(place) => Some(std::mem::replace(&mut Arc::make_mut(chunk)[place], file)),
            Err(place) if chunk.len() < CHUNK_FILES => {
                Arc::make_mut(chunk).insert(place, file);
                None
            }
            // Files mostly come in order: the full chunk stays full.
            Err(CHUNK_FILES) => {
                chunks.insert(at + 1, Arc::new(vec![file]));
                None
            }
            Err(_) => {
                let half = Arc::make_mut(chunk).split_off(CHUNK_FILES / 2);
                chunks.insert(at + 1, Arc::new(half));
                self.insert(file)
            }
        }
    }

    /// Takes a file out.
    pub(crate) fn remove(&mut self, key: FileKey) -> Option<Arc<FileEntry>> {
        let at = self.chunk_of(key);
        let place = self.chunks.get(at)?.binary_search_by_key(&key, |file| file.key()).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let file = Arc::make_mut(&mut chunks[at]).remove(place);
        join(chunks, at);
        Some(file)
    }

    /// Where the chunk stands that the key belongs into.
    fn chunk_of(&self, key: FileKey) -> usize {
        self.chunks.partition_point(|chunk| first_key(chunk) <= key).saturating_sub(1)
    }
}

/// Joins a chunk that has become short with the one beside it, so that their number follows the
/// number of files.
fn join(chunks: &mut Vec<Chunk>, at: usize) {
    if chunks[at].is_empty() {
        chunks.remove(at);
        return;
    }
    let short =
        |pair: &[Chunk]| pair.iter().map(|chunk| chunk.len()).sum::<usize>() <= CHUNK_FILES / 2;
    for first in [at, at.saturating_sub(1)] {
        if chunks.get(first..first + 2).is_some_and(short) {
            let moved = chunks.remove(first + 1);
            Arc::make_mut(&mut chunks[first]).extend(moved.iter().cloned());
            return;
        }
    }
}

fn first_key(chunk: &Chunk) -> FileKey {
    chunk.first().expect("no chunk is empty").key()
}

fn last_key(chunk: &Chunk) -> FileKey {
    chunk.last().expect("no chunk is empty").key()
}

#[cfg(test)]
mod tests;
