//! How rows of the index are named. Big-endian, so that files sort by table and time.

use ulid::Ulid;

use crate::catalog::FileEntry;
use crate::catalog::record::{Removal, Sequence};
use crate::model::{FileId, Table, UnixNanos, WriterId};

/// The row that says what the index is.
pub(super) const META: &[u8] = b"m";
/// Rows of sequences.
pub(super) const SEQUENCES: &[u8] = b"s";
/// Rows of what is covered of each log.
pub(super) const COVERED: &[u8] = b"c";
/// Rows of files.
pub(super) const FILES: &[u8] = b"f";
/// Rows of removed files.
pub(super) const REMOVED: &[u8] = b"r";

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

/// The id behind the letter of a key.
pub(super) fn parse_id(key: &[u8]) -> Option<Ulid> {
    key.get(1..)?.try_into().ok().map(Ulid::from_bytes)
}

pub(super) fn file(file: &FileEntry) -> Vec<u8> {
    file_key(file.table, file.hour, file.id)
}

pub(super) fn removal(file: &Removal) -> Vec<u8> {
    file_key(file.table, file.hour, file.id)
}

fn file_key(table: Table, hour: UnixNanos, id: FileId) -> Vec<u8> {
    // Flipping the sign bit makes hours before 1970 sort first.
    let hour = (hour.0 ^ i64::MIN).to_be_bytes();
    [FILES, table.name().as_bytes(), b"/", &hour, &id.0.to_bytes()].concat()
}
