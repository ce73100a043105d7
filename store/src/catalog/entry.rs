//! What the catalog says about one file.
//!
//! Invariant: an entry never changes. It is all that is needed to find the file, and to decide
//! whether the file must be opened.
//!
//! A process that reads keeps an entry for every file, so entries are small: what follows from
//! other fields is not kept, and what many files have in common is kept once ([`FileLayout`]).

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::files::layout;
use crate::model::{FileId, Table, TimeRange, UnixNanos};
use crate::schema::{AttributeType, MapColumn};

/// One Parquet file. 80 bytes, and a share in its layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its name, never reused.
    pub id: FileId,
    /// The table that its rows belong to.
    pub table: Table,
    /// Its size.
    pub bytes: u64,
    /// Its rows, at least one.
    pub rows: u64,
    /// Covers the time column of every row; within the hour.
    pub time: TimeRange,
    /// The start of the hour that all its rows belong to.
    pub hour: UnixNanos,
    /// Its attribute columns and its overflow; shared with every file that has the same.
    pub layout: Arc<FileLayout>,
}

const _: () = assert!(size_of::<FileEntry>() == 80, "a million entries must stay small");

/// How the attributes of a file's rows are kept. Files of one table mostly have the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileLayout {
    /// The attribute columns.
    pub attributes: Vec<FileAttribute>,
    /// The keys that are in the overflow; bounded, see `overflow_listed`.
    pub overflow: Vec<OverflowKey>,
    /// False where the overflow has more keys than are listed: then any key may be in it.
    pub overflow_listed: bool,
}

/// One attribute column of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OverflowKey {
    /// Which map.
    pub map: MapColumn,
    /// The key.
    pub key: String,
    /// The types that its values have there; a value of any other type (array, map, bytes, null)
    /// counts as a string, because that is how SQL shows it.
    pub kinds: Vec<AttributeType>,
}

/// What files of a table are kept in order of: their hour, then their name.
pub(crate) type FileKey = (UnixNanos, FileId);

impl FileEntry {
    /// Where it is, below the storage prefix.
    #[must_use]
    pub fn path(&self) -> String {
        layout::path(self.table, self.hour, self.id)
    }

    pub(crate) const fn key(&self) -> FileKey {
        (self.hour, self.id)
    }
}

/// An entry as records have it. It says its path, so that a person with nothing but the bucket
/// finds the file.
#[derive(Serialize, Deserialize)]
struct Written {
    id: FileId,
    table: Table,
    path: String,
    bytes: u64,
    rows: u64,
    time: TimeRange,
    hour: UnixNanos,
    #[serde(flatten)]
    layout: Arc<FileLayout>,
}

impl Serialize for FileEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let &Self { id, table, bytes, rows, time, hour, ref layout } = self;
        let (path, layout) = (self.path(), Arc::clone(layout));
        Written { id, table, path, bytes, rows, time, hour, layout }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FileEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let Written { id, table, path, bytes, rows, time, hour, layout } = written;
        let entry = Self { id, table, bytes, rows, time, hour, layout };
        if entry.path() == path {
            return Ok(entry);
        }
        let expected = entry.path();
        Err(serde::de::Error::custom(format!("file {id} is at `{path}`, not at `{expected}`")))
    }
}
