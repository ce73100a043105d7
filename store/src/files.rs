//! Parquet files: rows in row shape to one sorted file, and any columns of a file back.
//!
//! Invariants: `read_rows` of what `write` wrote gives the same rows, order aside, to the
//! nanosecond; any engine that knows Parquet can read a file as it is; [`project`] gives the same
//! columns for a file as for live rows.

mod ahead;
pub(crate) mod cells;
mod chunks;
mod columns;
mod constant;
mod describe;
mod encode;
mod encoding;
mod fetch;
mod filter;
mod footer;
mod footers;
mod gather;
mod hybrid;
mod inspect;
mod ints;
mod lately;
pub(crate) mod layout;
mod merge;
mod metadata;
mod numbers;
mod order;
mod overflow;
mod pages;
mod parts;
mod plan;
mod point;
mod project;
mod prune;
mod read;
mod request;
mod room;
mod rows;
mod seldom;
mod shape;
mod source;
mod tally;
mod texts;
mod write;

pub(crate) use describe::describe;
pub(crate) use encoding::row_group_rows;
pub(crate) use fetch::Reach;
pub use filter::{OneOf, select};
pub(crate) use footers::{FooterMetrics, Footers, KeptMax};
pub(crate) use inspect::inspect;
pub(crate) use lately::LatelyMetrics;
pub(crate) use merge::{Keep, MergeRequest, MergedFile, Merger, verify};
#[cfg(feature = "fuzz")]
pub(crate) use metadata::described as footer_description;
pub(crate) use pages::Pages;
pub use project::{project, read_field};
#[cfg(test)]
pub(crate) use read::read_rows;
pub(crate) use read::{InOne, read, read_kept, read_origin, read_trace};
pub use request::{Bound, ReadColumn, ReadRequest, RowFilter, RowStream, Values};
pub use room::Room;
pub(crate) use room::RoomMetrics;
pub use tally::{ReadFigures, ReadTally};
pub(crate) use write::{FileOrigin, WriteRequest, WrittenFile, write};

#[cfg(test)]
pub(crate) mod tests;
