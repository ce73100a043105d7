//! A file as a row of the index: 36 bytes behind a key of 26.

use std::sync::Arc;

use crate::catalog::{FileEntry, FileKey, FileLayout};
use crate::model::{Table, TimeRange, UnixNanos};

const BYTES: usize = 36;

/// What the key does not say.
pub(super) fn encode(file: &FileEntry, layout: u32) -> Vec<u8> {
    let &FileEntry { id: _, table: _, bytes, rows, time, hour: _, layout: _ } = file;
    let figures = [time.start().0.to_be_bytes(), time.end().0.to_be_bytes()];
    let counts = [bytes.to_be_bytes(), rows.to_be_bytes()];
    [figures.as_flattened(), counts.as_flattened(), &layout.to_be_bytes()].concat()
}

/// The entry, and the number of its layout; `None` for what makes no sense.
pub(super) fn decode(
    table: Table,
    (hour, id): FileKey,
    row: &[u8],
    layout: impl Fn(u32) -> Option<Arc<FileLayout>>,
) -> Option<(FileEntry, u32)> {
    let row: &[u8; BYTES] = row.try_into().ok()?;
    let (words, number) = row.as_chunks::<8>();
    let &[start, end, bytes, rows] = words else { return None };
    let time = |word| UnixNanos(i64::from_be_bytes(word));
    let time = TimeRange::new(time(start), time(end))?;
    let number = u32::from_be_bytes(number.try_into().ok()?);
    let (bytes, rows) = (u64::from_be_bytes(bytes), u64::from_be_bytes(rows));
    let layout = layout(number)?;
    Some((FileEntry { id, table, bytes, rows, time, hour, layout }, number))
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::model::FileId;

    /// Scenario: an entry becomes a row and an entry again; the row is cut, or names no layout.
    /// Guarantees: the same entry, or none.
    #[test]
    fn a_row_gives_its_entry_back() {
        let hour = UnixNanos(-UnixNanos::HOUR);
        let file = FileEntry {
            id: FileId(Ulid::from_parts(5, 6)),
            table: Table::Metrics,
            bytes: u64::MAX,
            rows: 7,
            time: TimeRange::covering(hour, UnixNanos(-1)),
            hour,
            layout: Arc::default(),
        };
        let row = encode(&file, 3);
        let known = |number| (number == 3).then(|| Arc::clone(&file.layout));
        assert_eq!(decode(file.table, file.key(), &row, known), Some((file.clone(), 3)));
        assert_eq!(decode(file.table, file.key(), &row[1..], known), None);
        assert_eq!(decode(file.table, file.key(), &row, |_| None), None);
    }
}
