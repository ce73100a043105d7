//! Footers and dictionaries that were read lately.
//!
//! Invariant: a file never changes and its id is never reused, so that what is kept is always right.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parquet::column::page::Page;

use super::fetch::Fetching;
use super::footer::{Footer, fetch_footer};
use super::lately::{Lately, LatelyMetrics};
use crate::catalog::FileEntry;
use crate::error::Error;
use crate::model::FileId;

/// Shorter dictionaries are unpacked again as soon as they are found.
const DICTIONARY_BYTES_MIN: usize = 16 << 10;

/// What nobody used for so long, or for up to twice as long, goes: whoever asks for the last minutes
/// again and again leaves the footers of an hour behind.
const UNUSED_MAX: Duration = Duration::from_secs(150);

/// What one process keeps of files: see the module.
#[derive(Debug)]
pub(crate) struct Footers {
    /// When what is unused was let go of, in milliseconds.
    rested_ms: AtomicU64,
    footers: Lately<FileId, Arc<Footer>>,
    /// Unpacked, by file, row group and leaf.
    dictionaries: Lately<(FileId, usize, usize), Page>,
}

/// How much is kept at most, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KeptMax {
    pub(crate) footers: usize,
    pub(crate) dictionaries: usize,
}

/// What is kept comes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct FooterMetrics {
    pub(crate) footers: LatelyMetrics,
    pub(crate) dictionaries: LatelyMetrics,
}

impl Footers {
    /// None yet, and never more than so many bytes of them.
    pub(crate) fn new(max: KeptMax, metrics: FooterMetrics) -> Self {
        let footers = Lately::new(max.footers, metrics.footers);
        let dictionaries = Lately::new(max.dictionaries, metrics.dictionaries);
        Self { rested_ms: AtomicU64::new(0), footers, dictionaries }
    }

    /// The footer of a file, from memory where it is there.
    pub(super) async fn of(
        &self,
        file: &FileEntry,
        from: Fetching<'_>,
    ) -> Result<Arc<Footer>, Error> {
        if let Some(kept) = self.footers.find(file.id) {
            from.tally.footer(true);
            return Ok(kept);
        }
        from.tally.footer(false);
        let footer = Arc::new(fetch_footer(from, file.bytes).await?);
        self.footers.keep(file.id, Arc::clone(&footer), footer.bytes());
        Ok(footer)
    }

    /// Lets go of what is not used; `now` is a time of [`crate::Clock::elapsed`].
    pub(crate) fn rest(&self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let before = self.rested_ms.load(Ordering::Relaxed);
        let due = u128::from(now.saturating_sub(before)) >= UNUSED_MAX.as_millis();
        let exchanged =
            |at| self.rested_ms.compare_exchange(at, now, Ordering::Relaxed, Ordering::Relaxed);
        if due && exchanged(before).is_ok() {
            self.footers.rest();
            self.dictionaries.rest();
        }
    }

    /// Lets go of what is of files that left the catalog: hardly anybody asks for them again.
    pub(crate) fn forget(&self, files: impl Iterator<Item = FileId>) {
        let gone: std::collections::HashSet<FileId> = files.collect();
        if gone.is_empty() {
            return;
        }
        self.footers.forget(|file| gone.contains(file));
        self.dictionaries.forget(|(file, _, _)| gone.contains(file));
    }
}

/// The dictionaries of one file that need not be fetched.
#[derive(Debug, Clone)]
pub(super) struct Dictionaries {
    footers: Arc<Footers>,
    file: FileId,
    /// Those that a reading goes on with, whoever lets go of them meanwhile.
    here: HashMap<(usize, usize), Page>,
}

impl Dictionaries {
    pub(super) fn new(footers: Arc<Footers>, file: FileId) -> Self {
        Self { footers, file, here: HashMap::new() }
    }

    /// Whether the dictionary of a column of a row group is here; then it stays.
    pub(super) fn recall(&mut self, group: usize, leaf: usize) -> bool {
        if self.here.contains_key(&(group, leaf)) {
            return true;
        }
        let found = self.footers.dictionaries.find((self.file, group, leaf));
        found.map(|page| self.here.insert((group, leaf), page)).is_some()
    }

    /// A dictionary that is here.
    pub(super) fn get(&self, group: usize, leaf: usize) -> Option<&Page> {
        self.here.get(&(group, leaf))
    }

    /// Keeps one for the next reader if that is worth it.
    pub(super) fn keep(&self, group: usize, leaf: usize, page: &Page) {
        let bytes = page.buffer().len();
        if bytes >= DICTIONARY_BYTES_MIN {
            self.footers.dictionaries.keep((self.file, group, leaf), page.clone(), bytes);
        }
    }
}
