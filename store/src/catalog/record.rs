//! One record of the catalog, and where it is kept.
//!
//! Records are JSON, so that a person with nothing but the bucket can read them. They are never
//! rewritten: a new kind of body gets a new name, and an old reader that meets it stops with an
//! error instead of guessing.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::catalog::FileEntry;
use crate::error::Error;
use crate::model::{FileId, LogPosition, Table, UnixNanos, WriterId};

/// The folder of all sequences.
pub(crate) const FOLDER: &str = "catalog";

/// The name of the common sequence; no writer is called so.
const COMPACTION: &str = "compaction";

/// Records that follow one another without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Sequence {
    /// The commits of one writer.
    Writer(WriterId),
    /// The compactions of everybody.
    Compaction,
}

impl Sequence {
    /// The sequence that a folder of [`FOLDER`] holds; `None` for a folder of another purpose.
    pub(crate) fn of_folder(name: &str) -> Option<Self> {
        if name == COMPACTION {
            return Some(Self::Compaction);
        }
        name.parse().ok().map(Self::Writer)
    }

    /// Its folder.
    pub(crate) fn folder(self) -> String {
        format!("{FOLDER}/{self}")
    }

    /// The path of one record; paths sort as numbers do.
    pub(crate) fn path(self, number: u64) -> String {
        format!("{FOLDER}/{self}/{number:020}.json")
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writer(writer) => writer.fmt(f),
            Self::Compaction => f.write_str(COMPACTION),
        }
    }
}

/// The number in a record's path.
pub(crate) fn number_of(path: &str) -> Option<u64> {
    path.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Made new for every attempt: tells whether a record that is there already is our own.
    pub(crate) id: Ulid,
    /// When it was made, by its maker's clock.
    pub(crate) at: UnixNanos,
    /// What it does.
    #[serde(flatten)]
    pub(crate) body: Body,
}

/// What a record does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Body {
    /// Rows of one stretch of a log are in these files.
    Commit { covers_from: LogPosition, covers_to: LogPosition, adds: Vec<FileEntry> },
    /// These files hold the rows of those. Void where one of those is gone already.
    Compaction { adds: Vec<FileEntry>, removes: Vec<Removal> },
}

/// A file that a record removes, with all that is needed to find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removal {
    pub(crate) id: FileId,
    pub(crate) table: Table,
    pub(crate) hour: UnixNanos,
    pub(crate) path: String,
}

impl Removal {
    /// The removal of a file.
    pub(crate) fn of(file: &FileEntry) -> Self {
        Self { id: file.id, table: file.table, hour: file.hour, path: file.path() }
    }
}

impl Record {
    /// The bytes that are put.
    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a record is plain text and figures").into()
    }

    /// The record that an object holds.
    pub(crate) fn decode(path: &str, bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |error: serde_json::Error| Error::Damaged {
            path: path.to_owned(),
            reason: format!("it is not a catalog record: {error}"),
        };
        serde_json::from_slice(bytes).map_err(damaged)
    }
}
