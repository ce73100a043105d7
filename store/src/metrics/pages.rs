//! What the page cache tells.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::signed;

label_names!(Dropped {
    Room => "room",
    Removed => "removed",
    Damaged => "damaged",
    Gone => "gone",
    DiskFull => "disk_full",
    Failed => "failed",
});
label_names!(Skipped {
    Busy => "busy",
    Room => "room",
    Removed => "removed",
    DiskFull => "disk_full",
    Failed => "failed",
});

/// Why something is not kept any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dropped {
    /// For something else.
    Room,
    /// Its file left the catalog.
    Removed,
    /// It is not what was written.
    Damaged,
    /// Somebody deleted it.
    Gone,
    DiskFull,
    /// It could not be read or added to.
    Failed,
}

/// Why something that was fetched is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Skipped {
    /// Too much waits to be written.
    Busy,
    /// All that may be kept is not enough for its file.
    Room,
    /// Its file left the catalog.
    Removed,
    DiskFull,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedLabels {
    reason: Dropped,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SkippedLabels {
    reason: Skipped,
}

/// See the module. A clone counts for the same figures.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageMetrics {
    bytes: Gauge,
    files: Gauge,
    hits: Counter,
    misses: Counter,
    shared: Counter,
    read: Counter,
    written: Counter,
    dropped: Family<DroppedLabels, Counter>,
    skipped: Family<SkippedLabels, Counter>,
    failures: Counter,
}

impl PageMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let mut bytes = |name: &str, about: &str, counter: &Counter| {
            registry.register_with_unit(name, about, Unit::Bytes, counter.clone());
        };
        bytes("icecore_store_page_cache_read", "Read from the page cache on disk", &self.read);
        bytes("icecore_store_page_cache_written", "Put into the page cache", &self.written);
        registry.register_with_unit(
            "icecore_store_page_cache",
            "Disk that the page cache takes, at most page_cache_bytes_max",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "icecore_store_page_cache_files",
            "Data files that the page cache has something of",
            self.files.clone(),
        );
        registry.register(
            "icecore_store_page_hits",
            "Blocks of data files that were found in the page cache",
            self.hits.clone(),
        );
        registry.register(
            "icecore_store_page_misses",
            "Blocks of data files that were looked for there and had to be fetched",
            self.misses.clone(),
        );
        registry.register(
            "icecore_store_page_shared",
            "Blocks of these that another reader was fetching already",
            self.shared.clone(),
        );
        registry.register_with_unit(
            "icecore_store_page_cache_dropped",
            "What left the page cache, by reason",
            Unit::Bytes,
            self.dropped.clone(),
        );
        registry.register(
            "icecore_store_page_cache_skipped",
            "Blocks that were fetched and not kept, by reason",
            self.skipped.clone(),
        );
        registry.register(
            "icecore_store_page_cache_failures",
            "Times that a file of the page cache could not be opened or removed; it is tried again",
            self.failures.clone(),
        );
    }

    /// The data files that something is kept of, and the disk that it takes.
    pub(crate) fn stand(&self, files: usize, bytes: u64) {
        self.files.set(signed(files as u64));
        self.bytes.set(signed(bytes));
    }

    /// So many blocks were there and so many were not.
    pub(crate) fn found(&self, hits: u64, misses: u64, bytes: u64) {
        self.hits.inc_by(hits);
        self.misses.inc_by(misses);
        self.read.inc_by(bytes);
    }

    /// So many blocks came with what another fetched.
    pub(crate) fn shared(&self, blocks: u64) {
        self.shared.inc_by(blocks);
    }

    /// So many bytes were put in.
    pub(crate) fn written(&self, bytes: u64) {
        self.written.inc_by(bytes);
    }

    /// So many bytes are not kept any more.
    pub(crate) fn dropped(&self, reason: Dropped, bytes: u64) {
        self.dropped.get_or_create(&DroppedLabels { reason }).inc_by(bytes);
    }

    /// So many blocks are not kept.
    pub(crate) fn skipped(&self, reason: Skipped, blocks: u64) {
        self.skipped.get_or_create(&SkippedLabels { reason }).inc_by(blocks);
    }

    /// A file could not be opened or removed.
    pub(crate) fn failed(&self) {
        self.failures.inc();
    }
}
