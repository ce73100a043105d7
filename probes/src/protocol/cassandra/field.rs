//! The fields that bodies are made of.
//!
//! Invariant: nothing is allocated; what is not there, or was cut off, is none.

/// What is left of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// A text, as much of it as is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub(super) bytes: &'a [u8],
    /// More of it was sent.
    pub(super) cut: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn array_of<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array_of().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array_of().map(u16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array_of().map(i32::from_be_bytes)
    }

    /// A length that must be there.
    fn len(&mut self) -> Option<usize> {
        usize::try_from(self.i32()?).ok()
    }

    pub(super) fn skip(&mut self, len: usize) -> Option<()> {
        self.bytes(len).map(drop)
    }

    /// Bytes behind a short length.
    pub(super) fn short(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(usize::from(len))
    }

    pub(super) fn string(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.short()?).ok()
    }

    /// A text behind a long length; nothing behind it is left where it was cut off.
    pub(super) fn text(&mut self) -> Option<Text<'a>> {
        let len = self.len()?;
        let (bytes, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        Some(Text { bytes, cut: bytes.len() < len })
    }

    /// A value, or that there is none of it.
    pub(super) fn value(&mut self) -> Option<()> {
        match usize::try_from(self.i32()?) {
            Ok(len) => self.skip(len),
            Err(_) => Some(()),
        }
    }

    /// So many values, each with its name in front if they are `named`.
    pub(super) fn values(&mut self, named: bool) -> Option<()> {
        for _ in 0..self.u16()? {
            if named {
                self.short()?;
            }
            self.value()?;
        }
        Some(())
    }

    pub(super) fn strings(&mut self) -> Option<()> {
        for _ in 0..self.u16()? {
            self.short()?;
        }
        Some(())
    }
}
