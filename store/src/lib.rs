//! The words, the files and the catalog of Icecore's storage.
//!
//! Everything that Icecore keeps lives in one bucket: Parquet files under `data/`, and a catalog
//! that says which of them count. Indexes and caches can be deleted at any moment.
#![deny(missing_docs)]

pub mod model;
pub mod ports;
pub mod schema;

pub use model::{
    FileId, LogPosition, RowBatch, Secret, Signal, SpanId, Table, TimeRange, TraceId, UnixNanos,
    Value, WriterId,
};
pub use ports::{Clock, Feed, FeedItem, LiveBatch, LiveRows, LiveSnapshot, PortError, SystemClock};
