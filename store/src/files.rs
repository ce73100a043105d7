//! Parquet files: rows in row shape to one sorted file, and any columns of a file back.
//!
//! Invariants: `read_rows` of what `write` wrote gives the same rows, order aside, to the
//! nanosecond; any engine that knows Parquet can read a file as it is; [`project`] gives the same
//! columns for a file as for live rows.

pub(crate) mod cells;
mod columns;
mod describe;
mod encode;
mod encoding;
mod footer;
mod gather;
pub(crate) mod layout;
mod metadata;
mod order;
mod overflow;
mod parts;
mod project;
mod prune;
mod read;
mod request;
mod shape;
mod write;

pub(crate) use describe::describe;
pub(crate) use footer::off_runtime;
pub use project::{project, read_field};
pub(crate) use read::{read, read_origin, read_rows};
pub use request::{ReadColumn, ReadRequest, RowStream};
pub(crate) use write::{FileOrigin, WriteRequest, WrittenFile, write};

#[cfg(test)]
pub(crate) mod tests;
