//! Which keys of the maps somebody wants columns of.
//!
//! Invariant: rows that are made with fewer keys are the same rows with the same values; what is
//! left out is neither in a column nor in the overflow. Most of what rows cost is their attributes.

use std::collections::BTreeSet;

use icecore_store::ReadColumn;
use icecore_store::schema::MapColumn;

/// The keys of both maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub(super) attributes: Keys,
    pub(super) resource: Keys,
}

/// Some keys of one map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Keys {
    #[default]
    All,
    Only(BTreeSet<Box<[u8]>>),
}

impl Wanted {
    /// All keys.
    pub const ALL: Self = Self { attributes: Keys::All, resource: Keys::All };

    /// What these columns are made from.
    #[must_use]
    pub fn of(columns: &[ReadColumn]) -> Self {
        let mut wanted =
            Self { attributes: Keys::Only(BTreeSet::new()), resource: Keys::Only(BTreeSet::new()) };
        for column in columns {
            match column {
                ReadColumn::Fixed(_) => {}
                ReadColumn::Map(map) => *wanted.keys_mut(*map) = Keys::All,
                ReadColumn::Attribute { map, key, kind: _ } => {
                    if let Keys::Only(keys) = wanted.keys_mut(*map) {
                        keys.insert(key.as_bytes().into());
                    }
                }
            }
        }
        wanted
    }

    /// Whether rows with these keys will do for whoever wants `other`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.attributes.covers(&other.attributes) && self.resource.covers(&other.resource)
    }

    /// The keys of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            attributes: self.attributes.union(&other.attributes),
            resource: self.resource.union(&other.resource),
        }
    }

    const fn keys_mut(&mut self, map: MapColumn) -> &mut Keys {
        match map {
            MapColumn::Attributes => &mut self.attributes,
            MapColumn::Resource => &mut self.resource,
        }
    }
}

impl Keys {
    /// Whether no key is wanted at all.
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::Only(keys) if keys.is_empty())
    }

    /// Whether this key is wanted.
    #[inline]
    pub(super) fn has(&self, key: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Only(keys) => keys.contains(key),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Only(_), Self::All) => false,
            (Self::Only(own), Self::Only(other)) => own.is_superset(other),
        }
    }

    fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Only(own), Self::Only(other)) => Self::Only(own.union(other).cloned().collect()),
            _ => Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use icecore_store::schema::AttributeType;

    use super::*;

    fn key(map: MapColumn, key: &str) -> ReadColumn {
        ReadColumn::Attribute { map, key: key.to_owned(), kind: AttributeType::String }
    }

    /// Scenario: columns, keys of both maps, whole maps.
    /// Guarantees: exactly the keys that were named are wanted, and covering is what a subset is.
    #[test]
    fn keys_are_those_that_were_named() {
        let (attributes, resource) = (MapColumn::Attributes, MapColumn::Resource);
        let none = Wanted::of(&[ReadColumn::Fixed("name".to_owned())]);
        let one = Wanted::of(&[key(attributes, "a")]);
        let two = Wanted::of(&[key(attributes, "b"), key(resource, "a")]);
        let whole = Wanted::of(&[ReadColumn::Map(attributes), key(attributes, "a")]);
        assert!(none.attributes.is_none() && none.resource.is_none());
        assert!(one.attributes.has(b"a") && !one.attributes.has(b"b"));
        assert!(one.covers(&none) && !none.covers(&one) && !one.covers(&two));
        let both = one.union(&two);
        assert!(both.covers(&one) && both.covers(&two) && !both.covers(&whole));
        assert!(whole.covers(&one) && !whole.covers(&two) && Wanted::ALL.covers(&whole));
        assert_eq!(whole.union(&two).attributes, Keys::All);
    }
}
