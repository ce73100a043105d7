//! Which keys, with values of which types, occur in overflow texts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Int32Type;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::cells::Texts;
use crate::error::Error;
use crate::schema::{AttributeType, MapColumn};

type Kinds = BTreeSet<AttributeType>;

/// The keys of all texts scanned so far. Memory grows with the distinct keys, which are a part of
/// the rows that the caller holds anyway.
#[derive(Debug, Default)]
pub(super) struct KeysSeen {
    keys: [BTreeMap<String, Kinds>; 2],
}

impl KeysSeen {
    /// Adds the keys of an overflow column; of texts with a dictionary each is read once.
    pub(super) fn scan(&mut self, map: MapColumn, column: &ArrayRef) -> Result<(), Error> {
        let distinct = column.as_dictionary_opt::<Int32Type>().map(|shared| shared.values());
        let column = distinct.unwrap_or(column);
        let Some(texts) = Texts::of(column) else { return Ok(()) };
        if column.null_count() == column.len() {
            return Ok(());
        }
        let keys = &mut self.keys[usize::from(map == MapColumn::Resource)];
        for text in (0..column.len()).filter_map(|row| texts.get(row)) {
            scan_text(text, keys).map_err(|source| Error::Damaged {
                path: map.name().to_owned(),
                reason: format!("an overflow text cannot be read: {source}"),
            })?;
        }
        Ok(())
    }

    /// All of them, sorted.
    pub(super) fn finish(self) -> BTreeMap<(MapColumn, String), Kinds> {
        let [attributes, resource] = self.keys;
        let with = |map: MapColumn, keys: BTreeMap<String, Kinds>| {
            keys.into_iter().map(move |(key, kinds)| ((map, key), kinds))
        };
        let attributes = with(MapColumn::Attributes, attributes);
        attributes.chain(with(MapColumn::Resource, resource)).collect()
    }
}

fn scan_text(text: &str, keys: &mut BTreeMap<String, Kinds>) -> Result<(), serde_json::Error> {
    struct Scan<'k>(&'k mut BTreeMap<String, Kinds>);

    impl<'de> Visitor<'de> for Scan<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                let kind = kind_of(map.next_value::<&'de RawValue>()?.get());
                match self.0.get_mut(key.as_ref()) {
                    Some(kinds) => drop(kinds.insert(kind)),
                    None => drop(self.0.insert(key.into_owned(), Kinds::from([kind]))),
                }
            }
            Ok(())
        }
    }

    serde_json::Deserializer::from_str(text).deserialize_map(Scan(keys))
}

/// The attribute type of a JSON text; what has none counts as a string.
fn kind_of(raw: &str) -> AttributeType {
    match raw.as_bytes().first() {
        Some(b't' | b'f') => AttributeType::Bool,
        Some(b'-' | b'0'..=b'9') => {
            let double = raw.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
            if double { AttributeType::Double } else { AttributeType::Int }
        }
        Some(b'{') if raw.starts_with("{\"$double\"") => AttributeType::Double,
        _ => AttributeType::String,
    }
}
