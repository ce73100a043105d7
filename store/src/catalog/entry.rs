//! What the catalog says about one file.
//!
//! Invariant: an entry never changes. Together with the file's path it is all that is needed to
//! decide whether the file must be opened.

use serde::{Deserialize, Serialize};

use crate::model::{FileId, Table, TimeRange, UnixNanos};
use crate::schema::{AttributeType, MapColumn};

/// One Parquet file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name, never reused.
    pub id: FileId,
    /// The table that its rows belong to.
    pub table: Table,
    /// Where it is, below the storage prefix.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows, at least one.
    pub rows: u64,
    /// Covers the time column of every row; within the hour.
    pub time: TimeRange,
    /// The start of the hour that all its rows belong to.
    pub hour: UnixNanos,
    /// The attribute columns that it has.
    pub attributes: Vec<FileAttribute>,
    /// The keys that are in its overflow; bounded, see `overflow_listed`.
    pub overflow: Vec<OverflowKey>,
    /// False where the overflow has more keys than are listed: then any key may be in it.
    pub overflow_listed: bool,
}

/// One attribute column of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAttribute {
    /// Which map.
    pub map: MapColumn,
    /// The key.
    pub key: String,
    /// The type of the column.
    pub kind: AttributeType,
    /// No entry of this key is in the overflow: the column alone answers for it.
    pub whole: bool,
}

/// One key in the overflow of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverflowKey {
    /// Which map.
    pub map: MapColumn,
    /// The key.
    pub key: String,
    /// The types that its values have there; a value of any other type (array, map, bytes, null)
    /// counts as a string, because that is how SQL shows it.
    pub kinds: Vec<AttributeType>,
}
