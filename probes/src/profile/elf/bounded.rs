//! Reads of a file that stay within bounds, whatever the file claims.
//!
//! Invariant: memory is taken for a read only after its length was charged: no read is longer than one
//! may be, and all of a pass together are no longer than twice that.

use std::cell::Cell;
use std::fs::File;
use std::ops::Range;

use object::read::{ReadCache, ReadRef};

/// Headers are read with however little room there is for tables.
const HEADERS_BYTES_MAX: u64 = 64 << 10;
/// What looking at a text costs beside its length.
const TEXT_BYTES: u64 = 16;

/// What may still be read.
#[derive(Debug)]
pub(super) struct Room {
    one_max: u64,
    left: Cell<u64>,
    refused: Cell<bool>,
}

impl Room {
    pub(super) fn new(table_bytes_max: u64) -> Self {
        let one_max = table_bytes_max.max(HEADERS_BYTES_MAX);
        let left = Cell::new(one_max.saturating_mul(2));
        Self { one_max, left, refused: Cell::new(false) }
    }

    /// Something was not read since it is too long.
    pub(super) fn was_refused(&self) -> bool {
        self.refused.get()
    }

    fn take(&self, bytes: u64) -> Result<(), ()> {
        let left = self.left.get().checked_sub(bytes).filter(|_| bytes <= self.one_max);
        if let Some(left) = left {
            self.left.set(left);
            return Ok(());
        }
        self.refused.set(true);
        Err(())
    }
}

/// A file, and what may be read of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounded<'data> {
    cache: &'data ReadCache<&'data File>,
    room: &'data Room,
}

impl<'data> Bounded<'data> {
    pub(super) fn new(cache: &'data ReadCache<&'data File>, room: &'data Room) -> Self {
        Self { cache, room }
    }
}

impl<'data> ReadRef<'data> for Bounded<'data> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        self.room.take(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'data [u8], ()> {
        self.room.take(TEXT_BYTES)?;
        // The cache itself reads no more than some KiB of a text.
        let text = self.cache.read_bytes_at_until(range, delimiter)?;
        self.room.take(text.len() as u64)?;
        Ok(text)
    }
}
