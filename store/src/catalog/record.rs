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
use crate::model::{FileId, HoldName, LogPosition, Table, TimeRange, UnixNanos, WriterId};

/// The folder of all sequences.
pub(crate) const FOLDER: &str = "catalog";

/// The name of the sequence of everything that removes files or forbids to; no writer is called so.
const COMPACTION: &str = "compaction";

/// Records that follow one another without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Sequence {
    /// The commits of one writer.
    Writer(WriterId),
    /// What everybody removes, and the holds against it, in one order: a removal is published
    /// only after whoever makes it has seen every hold before it.
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

    /// The path of one record of an epoch.
    pub(crate) fn path_in(self, number: u64, epoch: Ulid) -> String {
        format!("{FOLDER}/{self}/{number:020}-{epoch}.json")
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

/// The place that a record's path means.
pub(crate) fn place_of(path: &str) -> Option<(Sequence, u64)> {
    let (folder, _) = path.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
    Some((Sequence::of_folder(folder)?, number_of(path)?))
}

/// The number in a record's path, of whichever epoch.
pub(crate) fn number_of(path: &str) -> Option<u64> {
    let name = path.rsplit('/').next()?.strip_suffix(".json")?;
    name.split_once('-').map_or(name, |(number, _)| number).parse().ok()
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Made new for every attempt: tells whether a record that is there already is our own.
    pub(crate) id: Ulid,
    /// When it was made, by its maker's clock; once read, when it landed, if that is later.
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
    /// These files hold the rows of those, but for `rows` of them, which are gone. Void where one
    /// of those is gone already.
    Deletion { cause: Cause, rows: u64, adds: Vec<FileEntry>, removes: Vec<Removal> },
    /// From here on, nobody removes rows of this window.
    Hold {
        name: HoldName,
        time: TimeRange,
        #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
        condition: Option<String>,
        tables: Vec<Table>,
    },
    /// The hold of this name is over.
    Release { name: HoldName },
    /// An erasure ended: who asked, and what it did. Changes nothing.
    Erasure(Erasure),
}

/// Why rows were deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cause {
    /// They were older than every rule that speaks of them allows.
    Retention,
    /// Somebody asked for it.
    Erasure,
}

/// What is kept of an erasure. The condition may name the very person who is to be forgotten, so
/// it is not here; only its digest is, with a salt that nobody has but who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Erasure {
    /// SHA-256 of the salt, a zero byte, and the condition, in hex.
    pub(crate) digest: String,
    /// Who asked, in their own words.
    pub(crate) by: String,
    pub(crate) tables: Vec<Table>,
    pub(crate) time: TimeRange,
    /// Rows that it removed.
    pub(crate) rows: u64,
    /// Rows that matched and stayed, because a hold keeps them.
    pub(crate) held: u64,
    /// Files that it removed or wrote anew.
    pub(crate) files: u64,
}

impl Body {
    /// The files that it adds.
    pub(crate) fn adds(&self) -> &[FileEntry] {
        match self {
            Self::Commit { adds, .. }
            | Self::Compaction { adds, .. }
            | Self::Deletion { adds, .. } => adds,
            Self::Hold { .. } | Self::Release { .. } | Self::Erasure(_) => &[],
        }
    }

    /// Whether it removes files.
    pub(crate) fn removes(&self) -> bool {
        match self {
            Self::Compaction { removes, .. } | Self::Deletion { removes, .. } => {
                !removes.is_empty()
            }
            Self::Commit { .. } | Self::Hold { .. } | Self::Release { .. } | Self::Erasure(_) => {
                false
            }
        }
    }
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
