//! HPACK (RFC 7541), read by somebody who may have come late or missed some of it.
//!
//! Invariants: a field is told only if it is certainly the one that the sender meant. Entries of the
//! dynamic table are numbered from the newest, so that those which were seen keep their numbers
//! whatever came before them; any other number is told as unknown, never guessed. What is held is
//! bounded, and holding less than the sender does makes fields unknown, never wrong.

mod huffman;
mod integer;
mod table;

use std::borrow::Cow;
use std::collections::VecDeque;

/// A field of a header block; what is not known of it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

/// The bytes are no header block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What RFC 7541 adds to the length of an entry.
const ENTRY_BYTES: usize = 32;
/// How large the table may grow before its sender says otherwise.
const TABLE_BYTES: usize = 4_096;

/// An entry of the dynamic table. A value is always known: it was read when it was added.
#[derive(Debug)]
struct Entry {
    name: Option<Box<[u8]>>,
    value: Box<[u8]>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.name.as_ref().map_or(0, |name| name.len()) + self.value.len() + ENTRY_BYTES
    }

    fn field(&self) -> Field<'_> {
        Field { name: self.name.as_deref(), value: Some(&self.value) }
    }
}

/// The state of one direction of a connection.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The newest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    /// More is not held, whatever the sender says.
    bound: usize,
}

impl Decoder {
    /// What its fields take, as the protocol counts it.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// `from_start`: no header block came before the first that will be read.
    pub(super) fn new(bound: usize, from_start: bool) -> Self {
        // A table that is older may have been enlarged.
        let bytes_max = if from_start { TABLE_BYTES.min(bound) } else { bound };
        Self { entries: VecDeque::new(), bytes: 0, bytes_max, bound }
    }

    /// Header blocks were missed: how many entries they added, and how large the table may be now,
    /// is not known.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.bound, false);
    }

    /// Reads a whole block, and tells its fields in order.
    pub(super) fn read(
        &mut self,
        mut block: &[u8],
        mut each: impl FnMut(Field<'_>),
    ) -> Result<(), Malformed> {
        while let Some(&first) = block.first() {
            block = match first {
                0x80.. => {
                    let (index, rest) = integer::read(block, 7)?;
                    each(self.field(index)?);
                    rest
                }
                0x40..0x80 => self.literal(block, 6, true, &mut each)?,
                0x20..0x40 => {
                    let (bytes, rest) = integer::read(block, 5)?;
                    self.resize(bytes);
                    rest
                }
                0..0x20 => self.literal(block, 4, false, &mut each)?,
            };
        }
        Ok(())
    }

    /// A field whose value stands in the block, and its name there or in a table.
    fn literal<'a>(
        &mut self,
        block: &'a [u8],
        prefix_bits: u8,
        add: bool,
        each: &mut impl FnMut(Field<'_>),
    ) -> Result<&'a [u8], Malformed> {
        let (index, rest) = integer::read(block, prefix_bits)?;
        let (name, rest) = match index {
            0 => {
                let (name, rest) = text(rest)?;
                (Some(name), rest)
            }
            _ => (self.field(index)?.name.map(|name| Cow::Owned(name.to_vec())), rest),
        };
        let (value, rest) = text(rest)?;
        each(Field { name: name.as_deref(), value: Some(&value) });
        if add {
            self.add(name.as_deref(), &value);
        }
        Ok(rest)
    }

    fn field(&self, index: usize) -> Result<Field<'_>, Malformed> {
        let Some(index) = index.checked_sub(1) else { return Err(Malformed) };
        if let Some((name, value)) = table::FIXED.get(index) {
            return Ok(Field { name: Some(name.as_bytes()), value: Some(value.as_bytes()) });
        }
        let entry = self.entries.get(index - table::FIXED.len());
        Ok(entry.map_or(Field { name: None, value: None }, Entry::field))
    }

    fn add(&mut self, name: Option<&[u8]>, value: &[u8]) {
        let bytes = name.map_or(0, <[u8]>::len) + value.len() + ENTRY_BYTES;
        if bytes > self.bytes_max {
            self.entries.clear();
            self.bytes = 0;
            return;
        }
        self.bytes += bytes;
        self.entries.push_front(Entry { name: name.map(Box::from), value: value.into() });
        self.evict();
    }

    fn resize(&mut self, bytes: usize) {
        self.bytes_max = bytes.min(self.bound);
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.entries.pop_back()
        {
            self.bytes -= oldest.bytes();
        }
    }
}

/// A string of a block, and what follows it.
fn text(block: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Malformed> {
    let coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let (len, rest) = integer::read(block, 7)?;
    let (bytes, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
    let text = if coded { Cow::Owned(huffman::decode(bytes)?) } else { Cow::Borrowed(bytes) };
    Ok((text, rest))
}

#[cfg(test)]
pub(super) mod tests;
