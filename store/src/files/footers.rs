//! Footers that were read lately.
//!
//! Invariant: they take no more memory than they may. A file never changes and its id is never
//! reused, so that a footer kept is always right.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::footer::{Fetching, Footer, fetch_footer};
use crate::catalog::FileEntry;
use crate::error::Error;
use crate::model::FileId;

/// What the footers in memory come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct FooterMetrics {
    /// Memory of them.
    pub(crate) bytes: Gauge,
    /// Times that a footer was there.
    pub(crate) hits: Counter,
    /// Times that it had to be fetched.
    pub(crate) misses: Counter,
}

/// The footers that one process keeps.
#[derive(Debug)]
pub(crate) struct Footers {
    bytes_max: usize,
    metrics: FooterMetrics,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    footers: HashMap<FileId, (Arc<Footer>, usize, u64)>,
    bytes: usize,
    uses: u64,
}

impl Footers {
    /// None yet, and never more than so many bytes of them.
    pub(crate) fn new(bytes_max: usize, metrics: FooterMetrics) -> Self {
        Self { bytes_max, metrics, kept: Mutex::default() }
    }

    /// The footer of a file, from memory where it is there.
    pub(super) async fn of(
        &self,
        file: &FileEntry,
        from: Fetching<'_>,
    ) -> Result<Arc<Footer>, Error> {
        if let Some(kept) = self.with(|kept| kept.find(file.id)) {
            self.metrics.hits.inc();
            return Ok(kept);
        }
        self.metrics.misses.inc();
        let footer = Arc::new(fetch_footer(from, file.bytes).await?);
        let bytes = self.with(|kept| {
            kept.keep(file.id, &footer, self.bytes_max);
            kept.bytes
        });
        self.metrics.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(footer)
    }

    /// Lets go of those of files that left the catalog: hardly anybody asks for them again.
    pub(crate) fn forget(&self, files: impl Iterator<Item = FileId>) {
        let bytes = self.with(|kept| {
            files.for_each(|id| kept.remove(id));
            kept.bytes
        });
        self.metrics.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        // A footer is put in whole or not at all, so that a panic elsewhere leaves nothing torn.
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    fn find(&mut self, id: FileId) -> Option<Arc<Footer>> {
        self.uses += 1;
        let (footer, _, used) = self.footers.get_mut(&id)?;
        *used = self.uses;
        Some(Arc::clone(footer))
    }

    fn keep(&mut self, id: FileId, footer: &Arc<Footer>, bytes_max: usize) {
        let bytes = footer.bytes();
        if bytes > bytes_max || self.footers.contains_key(&id) {
            return;
        }
        while self.bytes + bytes > bytes_max {
            let oldest = self.footers.iter().min_by_key(|(_, (_, _, used))| *used);
            let Some(oldest) = oldest.map(|(id, _)| *id) else { break };
            self.remove(oldest);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.footers.insert(id, (Arc::clone(footer), bytes, self.uses));
    }

    fn remove(&mut self, id: FileId) {
        if let Some((_, gone, _)) = self.footers.remove(&id) {
            self.bytes -= gone;
        }
    }
}
