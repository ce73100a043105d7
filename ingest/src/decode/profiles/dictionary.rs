//! The tables that the messages of a request share.
//!
//! Invariant: an entry is the message as it came, read by whoever refers to it: a dictionary costs 16
//! bytes an entry, however large it is. The first entry of each table means "not set", and may
//! as well be missing.

use super::super::rows::{Refusal, collect};
use super::super::wire::{Broken, LIMIT, Reader, delimited, varint};
use super::fault::Fault;

/// One of the tables; its number is its field in the dictionary, less one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Table {
    Mapping,
    Location,
    Function,
    Link,
    String,
    Attribute,
    Stack,
}

const TABLES: usize = 7;

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Mapping => "mappings",
            Self::Location => "locations",
            Self::Function => "functions",
            Self::Link => "links",
            Self::String => "strings",
            Self::Attribute => "attributes",
            Self::Stack => "stacks",
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Dictionary<'a> {
    tables: [Vec<&'a [u8]>; TABLES],
}

impl<'a> Dictionary<'a> {
    /// That of a request, in as many pieces as it came.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, Broken> {
        const DICTIONARY: u32 = delimited(2);
        let mut dictionary = Self::default();
        let mut reader = Reader::new(payload, LIMIT);
        while let Some(key) = reader.key()? {
            match key {
                DICTIONARY => dictionary.add(reader.message()?)?,
                _ => reader.skip(key, 0)?,
            }
        }
        Ok(dictionary)
    }

    fn add(&mut self, bytes: &'a [u8]) -> Result<(), Broken> {
        let mut reader = Reader::new(bytes, LIMIT - 1);
        while let Some(key) = reader.key()? {
            let at = usize::try_from((key >> 3).wrapping_sub(1)).unwrap_or(TABLES);
            match self.tables.get_mut(at) {
                Some(table) if key & 7 == 2 => collect(table, reader.bytes()?),
                _ => reader.skip(key, 0)?,
            }
        }
        Ok(())
    }

    /// Entries of a table.
    pub(super) const fn len(&self, table: Table) -> usize {
        self.tables[table as usize].len()
    }

    /// The entry that `field` refers to.
    pub(super) fn get(
        &self,
        table: Table,
        field: &'static str,
        index: i32,
    ) -> Result<&'a [u8], Refusal> {
        let entries = &self.tables[table as usize];
        match usize::try_from(index).ok().and_then(|at| entries.get(at)) {
            Some(entry) => Ok(entry),
            None if index == 0 => Ok(&[]),
            None => {
                let (table, entries) = (table.name(), entries.len());
                Err(Refusal::Dangling { field, index, table, entries })
            }
        }
    }

    /// The text that `field` refers to.
    pub(super) fn string(&self, field: &'static str, index: i32) -> Result<&'a [u8], Refusal> {
        self.get(Table::String, field, index)
    }
}

/// Calls `each` with every number in a repeated `int32`, packed or not, of a message.
pub(super) fn each_index(
    message: &[u8],
    field: u32,
    mut each: impl FnMut(i32) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut reader = Reader::new(message, LIMIT);
    while let Some(key) = reader.key()? {
        if key == varint(field) {
            each(reader.int32()?)?;
        } else if key == delimited(field) {
            let mut packed = Reader::new(reader.bytes()?, 0);
            while !packed.at_end() {
                each(packed.int32()?)?;
            }
        } else {
            reader.skip(key, 0)?;
        }
    }
    Ok(())
}
