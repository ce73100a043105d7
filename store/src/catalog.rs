//! Which files count: two sets that only grow, kept as small records in the bucket.
//!
//! Invariant: a row is in an answer if and only if a record that adds its file is in the catalog
//! and no valid record removes that file.

mod entry;
mod snapshot;

pub use entry::{FileAttribute, FileEntry, OverflowKey};
pub use snapshot::{AttributeTypes, Snapshot};
