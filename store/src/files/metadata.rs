//! What a file says of itself, as JSON under one key of its footer.
//!
//! Invariant: the catalog's entry of a file can be made anew from the file alone.

use std::sync::Arc;

use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};

use super::FileOrigin;
use super::columns::AttributePlan;
use crate::catalog::{FileAttribute, FileEntry, FileLayout, OverflowKey};
use crate::model::{FileId, LogPosition, Table, TimeRange, WriterId};

/// The key in the footer's key-value metadata.
const FOOTER_KEY: &str = "icecore";

/// Of the columns and their meaning; a reader refuses files of a later one. Files of version 1 are
/// read: they have the ints of points in a column of their own.
const SCHEMA_VERSION: u32 = 2;

/// The footer's own description of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileMetadata {
    schema_version: u32,
    table: Table,
    rows: u64,
    time: TimeRange,
    /// The catalog record that was to add the file.
    record: String,
    /// Whose log the rows come from; none for a merged file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    writer: Option<WriterId>,
    /// Which stretch of that log, end exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    positions: Option<(LogPosition, LogPosition)>,
    attributes: Vec<FileAttribute>,
    overflow: Vec<OverflowKey>,
    overflow_listed: bool,
}

impl FileMetadata {
    pub(super) fn new(
        table: Table,
        rows: u64,
        time: TimeRange,
        origin: &FileOrigin,
        plan: &AttributePlan,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            table,
            rows,
            time,
            record: origin.record.clone(),
            writer: origin.log.map(|(writer, _, _)| writer),
            positions: origin.log.map(|(_, from, to)| (from, to)),
            attributes: plan.columns.clone(),
            overflow: plan.overflow.clone(),
            overflow_listed: plan.overflow_listed,
        }
    }

    /// For the footer.
    pub(super) fn to_key_value(&self) -> KeyValue {
        let text = serde_json::to_string(self).expect("plain data is always JSON");
        KeyValue::new(FOOTER_KEY.to_owned(), text)
    }

    /// From a footer; an error in words where it is not there or of a later version.
    pub(super) fn from_key_values(entries: Option<&Vec<KeyValue>>) -> Result<Self, String> {
        let entry =
            entries.and_then(|entries| entries.iter().find(|entry| entry.key == FOOTER_KEY));
        let text = entry.and_then(|entry| entry.value.as_deref());
        let text = text.ok_or("its footer has no description by Icecore")?;
        let metadata: Self = serde_json::from_str(text)
            .map_err(|error| format!("its footer cannot be read: {error}"))?;
        if metadata.schema_version > SCHEMA_VERSION {
            return Err(format!(
                "its schema version is {}, and this build knows up to {SCHEMA_VERSION}",
                metadata.schema_version
            ));
        }
        Ok(metadata)
    }

    /// The catalog's entry of the file, which has this name and size.
    pub(super) fn entry(self, id: FileId, bytes: u64) -> FileEntry {
        let Self { table, rows, time, attributes, overflow, overflow_listed, .. } = self;
        let layout = Arc::new(FileLayout { attributes, overflow, overflow_listed });
        FileEntry { id, table, bytes, rows, time, hour: time.start().hour(), layout }
    }

    /// Where the file came from.
    pub(super) fn origin(self) -> FileOrigin {
        let log = self.writer.zip(self.positions);
        FileOrigin { record: self.record, log: log.map(|(writer, (from, to))| (writer, from, to)) }
    }
}

/// Whether a footer with these entries describes a file; what was read is written and read again.
#[cfg(feature = "fuzz")]
pub(crate) fn described(entries: &Vec<KeyValue>) -> bool {
    let Ok(metadata) = FileMetadata::from_key_values(Some(entries)) else { return false };
    let again = FileMetadata::from_key_values(Some(&vec![metadata.to_key_value()]));
    assert_eq!(again, Ok(metadata), "a description must survive its own text");
    true
}
