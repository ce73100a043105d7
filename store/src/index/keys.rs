//! How rows of the index are named. Big-endian, so that files sort by table and time.

use ulid::Ulid;

use crate::catalog::FileKey;
use crate::catalog::record::Sequence;
use crate::model::{FileId, HoldName, Table, UnixNanos, WriterId};

/// The row that says what the index is.
pub(super) const META: &[u8] = b"m";
/// Rows of sequences.
pub(super) const SEQUENCES: &[u8] = b"s";
/// Rows of what is covered of each log.
pub(super) const COVERED: &[u8] = b"c";
/// Rows of files.
pub(super) const FILES: &[u8] = b"f";
/// Rows of layouts, by number.
pub(super) const LAYOUTS: &[u8] = b"l";
/// Rows of removed files.
pub(super) const REMOVED: &[u8] = b"r";
/// Rows of holds.
pub(super) const HOLDS: &[u8] = b"h";

pub(super) fn sequence(sequence: Sequence) -> Vec<u8> {
    [SEQUENCES, sequence.to_string().as_bytes()].concat()
}

pub(super) fn parse_sequence(key: &[u8]) -> Option<Sequence> {
    Sequence::of_folder(std::str::from_utf8(key.get(1..)?).ok()?)
}

pub(super) fn covered(writer: WriterId) -> Vec<u8> {
    [COVERED, &writer.0.to_bytes()].concat()
}

pub(super) fn removed(file: FileId) -> Vec<u8> {
    [REMOVED, &file.0.to_bytes()].concat()
}

pub(super) fn hold(name: &HoldName) -> Vec<u8> {
    [HOLDS, name.as_str().as_bytes()].concat()
}

/// The id behind the letter of a key.
pub(super) fn parse_id(key: &[u8]) -> Option<Ulid> {
    key.get(1..)?.try_into().ok().map(Ulid::from_bytes)
}

pub(super) fn layout(number: u32) -> Vec<u8> {
    [LAYOUTS, &number.to_be_bytes()].concat()
}

pub(super) fn parse_layout(key: &[u8]) -> Option<u32> {
    key.get(1..)?.try_into().ok().map(u32::from_be_bytes)
}

pub(super) fn file(table: Table, (hour, id): FileKey) -> Vec<u8> {
    let table = table as u8;
    // Flipping the sign bit makes hours before 1970 sort first.
    let hour = (hour.0 ^ i64::MIN).to_be_bytes();
    [FILES, &[table], &hour, &id.0.to_bytes()].concat()
}

pub(super) fn parse_file(key: &[u8]) -> Option<(Table, FileKey)> {
    let (table, key) = key.get(1..)?.split_first()?;
    let (hour, id) = key.split_first_chunk()?;
    let hour = UnixNanos(i64::from_be_bytes(*hour) ^ i64::MIN);
    let id = FileId(Ulid::from_bytes(id.try_into().ok()?));
    Some((*Table::ALL.get(usize::from(*table))?, (hour, id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: files of each table, before and after 1970, as keys.
    /// Guarantees: a key gives back what it names, and keys sort as tables and times do.
    #[test]
    fn keys_of_files_sort_by_table_and_time() {
        let hours = [-UnixNanos::HOUR, 0, UnixNanos::HOUR].map(UnixNanos);
        let ids = [1, 2].map(|number| FileId(Ulid::from_parts(number, 9)));
        let files = Table::ALL.into_iter().flat_map(|table| {
            hours.into_iter().flat_map(move |hour| ids.map(|id| (table, (hour, id))))
        });
        let keys: Vec<_> = files.clone().map(|(table, key)| file(table, key)).collect();
        assert!(keys.is_sorted());
        assert!(keys.iter().filter_map(|key| parse_file(key)).eq(files));
        assert_eq!(parse_file(b"f\x09"), None);
    }
}
