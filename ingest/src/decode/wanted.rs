//! Which columns, and which keys of the maps, somebody wants.
//!
//! Invariant: rows that are made with fewer keys are the same rows with the same values; what is
//! left out is neither in a column nor in the overflow. Most of what rows cost is their attributes.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use icecore_store::ReadColumn;
use icecore_store::schema::MapColumn;

/// The keys of both maps, and the columns beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub(super) attributes: Keys,
    pub(super) resource: Keys,
    /// Columns that all rows of a table have; `None` for all of them. They are made in any case, and
    /// kept only where they are wanted.
    fixed: Option<BTreeSet<String>>,
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
    pub const ALL: Self = Self { attributes: Keys::All, resource: Keys::All, fixed: None };

    /// What these columns are made from.
    #[must_use]
    pub fn of(columns: &[ReadColumn]) -> Self {
        let (attributes, resource) = (Keys::none(), Keys::none());
        let mut fixed = BTreeSet::new();
        let mut wanted = Self { attributes, resource, fixed: None };
        for column in columns {
            match column {
                ReadColumn::Fixed(name) => drop(fixed.insert(name.clone())),
                ReadColumn::Map(map) => *wanted.keys_mut(*map) = Keys::All,
                ReadColumn::Attribute { map, key, kind: _ } => {
                    if let Keys::Only(keys) = wanted.keys_mut(*map) {
                        keys.insert(key.as_bytes().into());
                    }
                }
            }
        }
        wanted.fixed = Some(fixed);
        wanted
    }

    /// Rows without the columns that nobody wants.
    pub(crate) fn only(&self, rows: &RecordBatch) -> RecordBatch {
        let Some(fixed) = &self.fixed else { return rows.clone() };
        let overflow = |name: &str| MapColumn::ALL.into_iter().find(|map| map.name() == name);
        let wanted = |name: &str| match overflow(name) {
            Some(map) => !self.keys(map).is_none(),
            None => fixed.contains(name) || MapColumn::parse(name).is_some(),
        };
        let fields = rows.schema_ref().fields().iter().enumerate();
        let places = fields.filter(|(_, field)| wanted(field.name())).map(|(at, _)| at);
        rows.project(&places.collect::<Vec<_>>()).expect("the places are those of its columns")
    }

    /// Whether rows with these keys will do for whoever wants `other`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let fixed = match (&self.fixed, &other.fixed) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own.is_superset(other),
        };
        fixed && self.attributes.covers(&other.attributes) && self.resource.covers(&other.resource)
    }

    /// The keys of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            attributes: self.attributes.union(&other.attributes),
            resource: self.resource.union(&other.resource),
            fixed: self.fixed.as_ref().zip(other.fixed.as_ref()).map(|(own, other)| own | other),
        }
    }

    const fn keys(&self, map: MapColumn) -> &Keys {
        match map {
            MapColumn::Attributes => &self.attributes,
            MapColumn::Resource => &self.resource,
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
    const fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

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
        assert!(!none.covers(&one) && !one.covers(&two));
        let both = one.union(&two);
        assert!(both.covers(&one) && both.covers(&two) && !both.covers(&whole));
        assert!(whole.covers(&one) && !whole.covers(&two) && Wanted::ALL.covers(&whole));
        let name = |name: &str| Wanted::of(&[ReadColumn::Fixed(name.to_owned())]);
        assert!(
            !one.covers(&none) && one.union(&none).covers(&none) && !none.covers(&name("kind"))
        );
        assert!(!none.covers(&Wanted::ALL) && none.union(&Wanted::ALL).covers(&name("kind")));
        assert_eq!(whole.union(&two).attributes, Keys::All);
    }
}
