//! Fields of methods and properties.
//!
//! Invariant: pure, nothing is allocated; what is not there, or was cut off, is none.

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.bytes(8)?.try_into().ok()?))
    }

    /// Bytes behind one byte of length.
    pub(super) fn short_text(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.bytes(len.into())
    }

    /// Bytes behind four bytes of length: a text, a table or an array.
    pub(super) fn long(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.bytes(usize::try_from(len).ok()?)
    }

    /// The next entry of a table: its name, and its value where that is a text.
    pub(super) fn entry(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let name = self.short_text()?;
        let kind = self.u8()?;
        let len = match kind {
            b'S' | b'x' => return Some((name, Some(self.long()?))),
            b'A' | b'F' => self.u32()?,
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'l' | b'L' | b'd' | b'T' => 8,
            _ => return None,
        };
        self.bytes(usize::try_from(len).ok()?)?;
        Some((name, None))
    }

    /// The text with this name in what is left, which is a table.
    pub(super) fn named(mut self, wanted: &[u8]) -> Option<&'a [u8]> {
        loop {
            let (name, value) = self.entry()?;
            if name == wanted {
                return value;
            }
        }
    }
}
