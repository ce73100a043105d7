//! The vocabulary: pure values that every crate shares.
//!
//! Invariant: nothing under `model/` does I/O, reads a clock, takes a lock or knows of a runtime.

mod batch;
mod hold;
mod ids;
mod secret;
mod table;
mod time;
pub mod value;
mod when;

pub use batch::RowBatch;
pub use hold::{BadHoldName, Hold, HoldName};
pub use ids::{BadId, FileId, LogPosition, SpanId, TraceId, WriterId};
pub use secret::Secret;
pub use table::{Signal, Table};
pub use time::{TimeRange, UnixNanos};
pub use value::Value;
pub use when::{BadTime, parse_when};
