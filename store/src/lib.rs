//! The words, the files and the catalog of Icecore's storage.
//!
//! Everything that Icecore keeps lives in one bucket: Parquet files under `data/`, and a catalog
//! that says which of them count. Indexes and caches can be deleted at any moment.
#![deny(missing_docs)]

// Unit tests share their samples with the integration tests, which know the crate by name.
#[cfg(test)]
extern crate self as icecore_store;

mod bucket;
mod catalog;
mod chance;
mod compaction;
mod config;
mod error;
mod files;
mod index;
mod metrics;
pub mod model;
pub mod otlp;
pub mod ports;
mod retention;
pub mod schema;
#[cfg(test)]
mod sim;
mod store;
#[cfg(feature = "fuzz")]
pub mod untrusted;
mod work;

pub use catalog::{AttributeTypes, FileAttribute, FileEntry, FileLayout, OverflowKey, Snapshot};
pub use config::{
    CompactionConfig, Config, PageCacheConfig, S3Config, StoreRoles, TraceFilterConfig,
};
pub use error::{Error, ErrorKind};
pub use files::{
    Bound, OneOf, ReadColumn, ReadFigures, ReadRequest, ReadTally, Room, RowFilter, RowStream,
    Values, project, read_field, select,
};
pub use index::TraceFiles;
pub use model::{
    BadHoldName, BadTime, FileId, Hold, HoldName, LogPosition, RowBatch, Secret, Signal, SpanId,
    Table, TimeRange, TraceId, UnixNanos, Value, WriterId, parse_when,
};
pub use ports::{
    Clock, CommitRows, Condition, ConditionError, Conditions, Feed, FeedItem, Flush, Flushed,
    LiveBatch, LiveBlock, LiveRows, LiveSnapshot, PortError, RowPieces, RowPlace, SystemClock,
};
pub use retention::{
    DeletionReport, EraseProgress, EraseReport, EraseRequest, HeldFiles, HoldOutcome, HoldRequest,
    Leftover, RetentionRule, TableDeletion, Tell,
};
pub use store::{
    CheckListener, CheckReport, Commit, CompactionReport, Finding, MergeReport, RebuildProgress,
    Store, StoreStats, TableStats,
};

#[cfg(test)]
#[path = "../tests/it/sample.rs"]
mod sample;
