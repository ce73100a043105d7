//! Entries of the attribute table as the `KeyValue` messages that other signals have.
//!
//! Invariant: an entry is made once a request, and paid for each time that something refers to it. A unit is
//! an attribute of its own, named as the one that it is the unit of, with `.unit` behind it.

use super::super::rows::{ITEMS_MAX, Refusal};
use super::super::shape::ANY_VALUE;
use super::super::value::ObjectText;
use super::super::wire::{Broken, LIMIT, Reader, delimited, varint};
use super::dictionary::{Dictionary, Table};
use super::fault::{Budget, Fault, settle};
use super::references::{put, write};

/// What a choice takes beside the entry, which may be a few bytes.
const CHOICE_BYTES: usize = 64;

/// A message refers to as many entries as a request has items.
const TOO_MANY: Refusal = Refusal::TooMany { what: "attributes of one message", bound: ITEMS_MAX };

/// Where the messages of an entry are; they follow each other.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    unit: usize,
    end: usize,
    /// Bytes of them as JSON.
    written: usize,
}

/// The entries that were asked for.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    bytes: Vec<u8>,
    known: Vec<Option<Result<Place, Refusal>>>,
    /// See [`Self::take_made`].
    made: usize,
}

/// The entries that one message refers to.
#[derive(Debug, Default)]
pub(super) struct Chosen(Vec<Place>);

impl Chosen {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Attributes {
    /// None was asked for yet.
    pub(super) fn begin(&mut self, dictionary: &Dictionary<'_>) {
        self.bytes.clear();
        self.known.clear();
        // An empty table has an entry 0 as well.
        self.known.resize(dictionary.len(Table::Attribute).max(1), None);
    }

    /// Bytes of the entries that were made since this was asked last: columns have each once.
    pub(super) fn take_made(&mut self) -> usize {
        std::mem::take(&mut self.made)
    }

    /// Chooses the entry at an index as well, for which `pay` takes what it costs.
    pub(super) fn choose(
        &mut self,
        chosen: &mut Chosen,
        index: i32,
        dictionary: &Dictionary<'_>,
        budget: &mut Budget,
        pay: impl Fn(&mut Budget, usize) -> Result<(), Refusal>,
    ) -> Result<(), Fault> {
        let entry = dictionary.get(Table::Attribute, "attribute_indices", index)?;
        if index == 0 && entry.is_empty() {
            return Ok(());
        }
        let known = usize::try_from(index).ok().and_then(|at| self.known.get(at).copied());
        let place = match known.flatten() {
            Some(place) => place,
            None => settle(self.make(entry, dictionary, budget))?,
        };
        if let Some(known) = usize::try_from(index).ok().and_then(|at| self.known.get_mut(at)) {
            *known = Some(place);
        }
        let place = place?;
        if chosen.0.len() == ITEMS_MAX {
            return Err(TOO_MANY.into());
        }
        budget.spend(CHOICE_BYTES)?;
        pay(budget, place.written.max(place.end - place.start))?;
        chosen.0.push(place);
        Ok(())
    }

    /// The `KeyValue` messages of those chosen.
    pub(super) fn messages(&self, chosen: &Chosen) -> Vec<&[u8]> {
        chosen.0.iter().flat_map(|place| self.messages_at(place)).collect()
    }

    fn messages_at(&self, place: &Place) -> impl Iterator<Item = &[u8]> {
        let Place { start, unit, end, .. } = *place;
        let messages = [&self.bytes[start..unit], &self.bytes[unit..end]];
        messages.into_iter().filter(|message| !message.is_empty())
    }

    /// Those chosen as one JSON object; empty where there are none.
    pub(super) fn text(&self, chosen: &Chosen) -> Result<String, Broken> {
        let mut object = ObjectText::default();
        object.push_all(&self.messages(chosen), LIMIT)?;
        Ok(object.take())
    }

    fn make(
        &mut self,
        entry: &[u8],
        dictionary: &Dictionary<'_>,
        budget: &mut Budget,
    ) -> Result<Place, Fault> {
        const KEY: u32 = varint(1);
        const VALUE: u32 = delimited(2);
        const UNIT: u32 = varint(3);
        let (mut key, mut unit, mut values) = (0, 0, Vec::new());
        let mut reader = Reader::new(entry, LIMIT);
        while let Some(field) = reader.key()? {
            match field {
                KEY => key = reader.int32()?,
                VALUE => values.push(reader.message()?),
                UNIT => unit = reader.int32()?,
                _ => reader.skip(field, 0)?,
            }
        }
        // Whoever makes large entries in vain pays for them as well.
        budget.spend(entry.len())?;
        let key = dictionary.string("key_strindex", key)?;
        let unit = dictionary.string("unit_strindex", unit)?;
        budget.spend(key.len() + unit.len())?;
        let start = self.bytes.len();
        let mut value = Vec::new();
        for piece in values {
            write(&mut value, &ANY_VALUE, piece, dictionary, budget)?;
        }
        put(&mut self.bytes, 1, key);
        put(&mut self.bytes, 2, &value);
        let unit_at = self.bytes.len();
        if !unit.is_empty() {
            let mut text = Vec::new();
            put(&mut text, 1, unit);
            put(&mut self.bytes, 1, &[key, b".unit"].concat());
            put(&mut self.bytes, 2, &text);
        }
        let mut place = Place { start, unit: unit_at, end: self.bytes.len(), written: 0 };
        place.written = self.text(&Chosen(vec![place]))?.len();
        self.made += place.written;
        Ok(place)
    }
}
