//! What is shown of the places where threads were.
//!
//! Invariant: two places that look the same have one number; a number is valid until the table is emptied,
//! and that is done between two intervals.

use std::collections::HashMap;
use std::sync::Arc;

/// What kind of code it is, by the name that the semantic conventions have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Native,
    Kernel,
    /// Made by its process while it runs.
    Made,
}

/// A file, or what else code is from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Origin {
    pub(super) name: Arc<str>,
    pub(super) build_id: Option<Arc<str>>,
    /// Where its code begins and ends, as its own tables speak of it; 0 where it has none.
    pub(super) range: (u64, u64),
}

/// A function, and where in its source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Line {
    pub(super) function: Arc<str>,
    /// Empty: not known.
    pub(super) file: Arc<str>,
    /// 0: not known.
    pub(super) line: u32,
}

/// A place in code.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) origin: Arc<Origin>,
    /// Where its function begins, as its origin speaks of it.
    pub(super) address: u64,
    /// The function, behind those that are inlined into it. None: it has no name.
    pub(super) lines: Vec<Line>,
}

/// Places by number.
#[derive(Debug)]
pub(super) struct Places {
    list: Vec<Arc<Place>>,
    numbers: HashMap<Arc<Place>, u32>,
    /// What was found for an address of a file.
    addresses: HashMap<(u32, u64), u32>,
    places_max: usize,
}

/// The number of the place that stands for all that found no number of their own.
pub(super) const OTHER: u32 = 0;

impl Places {
    /// Holds so many places, and twice as many addresses.
    pub(super) fn new(places_max: usize) -> Self {
        let (list, numbers, addresses) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut places = Self { list, numbers, addresses, places_max: places_max.max(1) };
        places.empty();
        places
    }

    /// Forgets all but the place of all others.
    pub(super) fn empty(&mut self) {
        self.numbers.clear();
        self.addresses.clear();
        self.list.clear();
        let line = Line { function: Arc::from("[other]"), ..Line::default() };
        let origin = Arc::default();
        let other = Place { kind: Kind::Native, origin, address: 0, lines: vec![line] };
        self.list.push(Arc::new(other));
    }

    /// There may be too little room for another interval.
    pub(super) fn are_crowded(&self) -> bool {
        self.list.len() > self.places_max / 2 || self.addresses.len() > self.places_max
    }

    /// The number of a place; [`OTHER`] where there is no room for one more.
    pub(super) fn number(&mut self, place: Place) -> u32 {
        if let Some(number) = self.numbers.get(&place) {
            return *number;
        }
        if self.list.len() >= self.places_max {
            return OTHER;
        }
        let number = u32::try_from(self.list.len()).unwrap_or(OTHER);
        let place = Arc::new(place);
        self.list.push(Arc::clone(&place));
        self.numbers.insert(place, number);
        number
    }

    /// What was found for an address of a file.
    pub(super) fn known(&self, file: u32, address: u64) -> Option<u32> {
        self.addresses.get(&(file, address)).copied()
    }

    /// Remembers what was found for an address of a file.
    pub(super) fn learn(&mut self, file: u32, address: u64, number: u32) {
        if self.addresses.len() < self.places_max * 2 {
            self.addresses.insert((file, address), number);
        }
    }

    /// The place of a number.
    pub(super) fn place(&self, number: u32) -> Option<&Arc<Place>> {
        self.list.get(usize::try_from(number).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Place {
        let line = Line { function: Arc::from(name), ..Line::default() };
        Place { kind: Kind::Native, origin: Arc::default(), address: 1, lines: vec![line] }
    }

    /// Scenario: places, one of them twice, more than there is room for, and then the next interval.
    /// Guarantees: what looks the same has one number; what finds no room is `[other]`; there is room again.
    #[test]
    fn a_place_has_one_number() {
        let mut places = Places::new(3);
        let (a, b) = (places.number(place("a")), places.number(place("b")));
        assert_ne!(a, b);
        assert_eq!(places.number(place("a")), a);
        assert_eq!(places.number(place("c")), OTHER);
        assert_eq!(&*places.place(OTHER).unwrap().lines[0].function, "[other]");
        assert_eq!(&*places.place(b).unwrap().lines[0].function, "b");
        places.learn(7, 0x10, a);
        assert_eq!((places.known(7, 0x10), places.known(7, 0x11)), (Some(a), None));
        assert!(places.are_crowded());
        places.empty();
        assert!(!places.are_crowded());
        assert_eq!(places.known(7, 0x10), None);
        assert_ne!(places.number(place("c")), OTHER);
    }
}
