//! The distinct trace ids of a file, as 40 bits of a hash each.
//!
//! Two ids of the same print cost the look-up of one a needless look into a file. Among ten
//! million ids that happens to one look-up in a hundred thousand.

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, RecordBatch};

use crate::model::{Table, TraceId};

/// Bits of a print.
pub(super) const BITS: u32 = 40;

/// Prints that are collected before it is worth sorting out those that are there twice.
const SORT_MIN: usize = 8192;

/// Collects the prints of rows. Takes 8 bytes for each trace id, twice that in between, however
/// many spans there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct TracePrints {
    prints: Vec<u64>,
    /// So many are sorted, and each there once.
    sorted: usize,
}

impl TracePrints {
    /// The prints of rows of `table` in row shape; none where its files are not looked up by
    /// trace.
    pub(crate) fn of(table: Table, rows: &[RecordBatch]) -> Self {
        let mut prints = Self::default();
        if table == Table::Spans {
            let columns = rows.iter().filter_map(|rows| rows.column_by_name("trace_id"));
            let ids = columns.filter_map(|column| column.as_fixed_size_binary_opt());
            ids.for_each(|ids| prints.add(ids));
        }
        prints
    }

    /// Adds a column of trace ids.
    pub(crate) fn add(&mut self, ids: &FixedSizeBinaryArray) {
        let ids = (0..ids.len()).filter(|row| ids.is_valid(*row)).map(|row| ids.value(row));
        self.prints.extend(ids.filter_map(|id| id.try_into().ok()).map(print_of));
        if self.prints.len() >= 2 * self.sorted.max(SORT_MIN) {
            self.sort();
        }
    }

    /// The prints, in order, each once.
    pub(crate) fn finish(mut self) -> Vec<u64> {
        self.sort();
        self.prints.shrink_to_fit();
        self.prints
    }

    fn sort(&mut self) {
        self.prints.sort_unstable();
        self.prints.dedup();
        self.sorted = self.prints.len();
    }
}

/// The print of one id.
pub(super) fn print(id: TraceId) -> u64 {
    print_of(&id.0)
}

/// Some makers of ids put the time in front, so all of an id is mixed.
fn print_of(id: &[u8; 16]) -> u64 {
    let (halves, _) = id.as_chunks::<8>();
    let mixed = halves.iter().fold(0, |mixed, half| mix(mixed ^ u64::from_le_bytes(*half)));
    mixed >> (u64::BITS - BITS)
}

/// The last step of splitmix64: each bit of the outcome depends on each that goes in.
const fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Scenario: ids that count up, ids that differ in time alone, thousands of rows a trace.
    /// Guarantees: prints are in order, each once, within their bits, and hardly any two the same.
    #[test]
    fn prints_are_few_and_differ() {
        let counting = (0_u128..20_000).map(u128::to_be_bytes);
        let timed = (0_u128..20_000).map(|id| (id << 96).to_be_bytes());
        let ids: Vec<_> = counting.chain(timed).collect();
        let mut prints = TracePrints::default();
        for _ in 0..20 {
            let column = FixedSizeBinaryArray::try_from_iter(ids.iter()).unwrap();
            prints.add(&column);
            assert!(prints.prints.len() <= 2 * ids.len() + ids.len());
        }
        let found = prints.finish();
        assert!(found.is_sorted_by(|one, next| one < next));
        assert!(found.iter().all(|print| print >> BITS == 0));
        let expected: BTreeSet<_> = ids.iter().map(|id| print(TraceId(*id))).collect();
        assert!(expected.iter().eq(&found));
        assert!(found.len() >= ids.len() - 1 - 2, "{}", found.len());
    }
}
