//! Small files of an hour become few large ones.
//!
//! Invariant: a compaction adds and removes in one record, so that every snapshot holds each row
//! exactly once; when two run anyway, the record that comes second is void.

mod lease;
mod merge;
mod plan;
mod run;

pub(crate) use crate::files::Keep;
pub(crate) use merge::Merged;
