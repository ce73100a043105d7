//! What removals did, in figures.

use crate::model::{Table, TimeRange, UnixNanos};
use crate::ports::Flushed;
use crate::retention::Leftover;

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeletionReport {
    /// By table, only those of which anything went or was held.
    pub tables: Vec<TableDeletion>,
    /// Files that were read to know which of their rows go.
    pub looked: u64,
    /// Files that could not be dealt with; the log says why, and the next pass tries again.
    pub failed: u64,
}

/// What was removed of one table, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableDeletion {
    /// Which.
    pub table: Table,
    /// Rows that went.
    pub rows: u64,
    /// Rows that would have gone, were there no hold; of files that were read.
    pub held: u64,
    /// Files of which nothing is left.
    pub dropped: u64,
    /// Files that were written anew without some of their rows.
    pub rewritten: u64,
    /// The bytes of both before, and of what was written after; a trial run writes nothing.
    pub bytes_before: u64,
    /// See `bytes_before`.
    pub bytes_after: u64,
}

impl TableDeletion {
    /// Nothing yet.
    pub(super) const fn of(table: Table) -> Self {
        let (rows, held, dropped, rewritten, bytes_before, bytes_after) = (0, 0, 0, 0, 0, 0);
        Self { table, rows, held, dropped, rewritten, bytes_before, bytes_after }
    }
}

impl DeletionReport {
    /// All tables together: rows that went, and rows that holds kept.
    #[must_use]
    pub fn rows(&self) -> (u64, u64) {
        let rows = self.tables.iter().map(|table| table.rows).sum();
        (rows, self.tables.iter().map(|table| table.held).sum())
    }

    /// Files that were dropped or written anew.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.tables.iter().map(|table| table.dropped + table.rewritten).sum()
    }

    /// Counts another report in.
    pub(super) fn add(&mut self, other: Self) {
        let Self { tables, looked, failed } = other;
        self.looked += looked;
        self.failed += failed;
        for TableDeletion { table, rows, held, dropped, rewritten, bytes_before, bytes_after } in
            tables
        {
            let all = self.table(table);
            all.rows += rows;
            all.held += held;
            all.dropped += dropped;
            all.rewritten += rewritten;
            all.bytes_before += bytes_before;
            all.bytes_after += bytes_after;
        }
    }

    /// The figures of a table, to be added to.
    pub(super) fn table(&mut self, table: Table) -> &mut TableDeletion {
        let place = self.tables.iter().position(|known| known.table == table);
        let place = place.unwrap_or_else(|| {
            self.tables.push(TableDeletion::of(table));
            self.tables.len() - 1
        });
        &mut self.tables[place]
    }
}

/// What an erasure did, and the proof of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseReport {
    /// The tables on which the condition was understood.
    pub tables: Vec<Table>,
    /// The window.
    pub time: TimeRange,
    /// What went.
    pub deleted: DeletionReport,
    /// The bucket read once more: rows that match and that no hold keeps. Nothing is erased
    /// unless this is 0.
    pub left: u64,
    /// Rows that match and stay, because a hold keeps them.
    pub held: u64,
    /// Files that were read for the proof.
    pub proof_files: u64,
    /// Objects of the bucket that count no more and still hold such rows.
    pub leftovers: Vec<Leftover>,
    /// Objects that cannot be read, so that nobody knows what is in them.
    pub unreadable: Vec<String>,
    /// When the last of the leftovers may be deleted by itself.
    pub gone_by: Option<UnixNanos>,
    /// Objects that were deleted at once, each found absent afterwards.
    pub absent: Vec<String>,
    /// The bucket keeps versions of what is deleted; its own rules say until when.
    pub versioned: bool,
    /// What the log still holds; `None` where no log was asked.
    pub log: Option<Flushed>,
    /// The record that says so, `None` after a trial run.
    pub record: Option<String>,
    /// With the condition, proves which erasure the record is about. Kept nowhere.
    pub salt: Option<String>,
}
