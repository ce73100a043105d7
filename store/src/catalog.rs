//! Which files count: two sets that only grow, kept as small records in the bucket.
//!
//! Each writer appends numbered records of its own, compactions share one sequence. A record is
//! made by a create-only put and never changes, so writers need no lock and readers no server.
//!
//! Invariant: a row is in an answer if and only if a valid record adds its file and no valid
//! record removes that file. Whether a record is valid depends on records before it alone, so
//! that every reader comes to the same catalog.

pub(crate) mod append;
pub(crate) mod check;
pub(crate) mod checkpoint;
pub(crate) mod collect;
mod entry;
pub(crate) mod epochs;
mod file_set;
pub(crate) mod invariants;
pub(crate) mod layouts;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod replay;
mod snapshot;
pub(crate) mod state;

pub(crate) use entry::FileKey;
pub use entry::{FileAttribute, FileEntry, FileLayout, OverflowKey};
pub use snapshot::{AttributeTypes, Snapshot};
