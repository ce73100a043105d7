//! Fields of messages, in both of their encodings.
//!
//! Invariant: nothing is allocated; what is not there, or was cut off, is none.

/// What is left of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    /// Lengths are compact, and structures have tags behind them.
    flexible: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(rest: &'a [u8], flexible: bool) -> Self {
        Self { rest, flexible }
    }

    /// The same bytes in the other encoding.
    pub(super) fn flexible(self, flexible: bool) -> Self {
        Self { flexible, ..self }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn array_of<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn i8(&mut self) -> Option<i8> {
        self.array_of().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        self.array_of().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array_of().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array_of().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Option<[u8; 16]> {
        self.array_of()
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A number of a record, of which the lowest bit is the sign.
    pub(super) fn zigzag(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        let magnitude = i64::try_from(value >> 1).ok()?;
        Some(if value & 1 == 0 { magnitude } else { -magnitude - 1 })
    }

    /// A length that is compact or `plain`; none of it: -1.
    fn length(&mut self, plain: impl Fn(&mut Self) -> Option<i64>) -> Option<i64> {
        if self.flexible {
            i64::try_from(self.unsigned()?).ok().map(|it| it - 1)
        } else {
            plain(self)
        }
    }

    /// A text; the inner none: null.
    pub(super) fn text(&mut self) -> Option<Option<&'a str>> {
        let length = self.length(|fields| fields.i16().map(i64::from))?;
        let Ok(length) = usize::try_from(length) else { return Some(None) };
        std::str::from_utf8(self.bytes(length)?).ok().map(Some)
    }

    /// How many elements follow.
    pub(super) fn count(&mut self) -> Option<u64> {
        let length = self.length(|fields| fields.i32().map(i64::from))?;
        Some(u64::try_from(length).unwrap_or(0))
    }

    /// Bytes: how many there are, and what was kept of them. They are gone beyond that.
    pub(super) fn blob(&mut self) -> Option<(usize, &'a [u8])> {
        let length = self.length(|fields| fields.i32().map(i64::from))?;
        let length = usize::try_from(length).unwrap_or(0);
        let (kept, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        Some((length, kept))
    }

    /// Numbers of four bytes, which nobody reads.
    pub(super) fn skip_numbers(&mut self) -> Option<()> {
        let count = usize::try_from(self.count()?).ok()?;
        self.bytes(count.checked_mul(4)?).map(drop)
    }

    /// The tags behind a structure.
    pub(super) fn tags(&mut self) -> Option<()> {
        if !self.flexible {
            return Some(());
        }
        for _ in 0..self.unsigned()? {
            self.unsigned()?;
            let size = usize::try_from(self.unsigned()?).ok()?;
            self.bytes(size)?;
        }
        Some(())
    }
}
