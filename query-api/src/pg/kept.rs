//! What a connection keeps under names: statements that were prepared, and portals.
//!
//! Invariant: at most so many, of at most so many bytes together.

use std::collections::HashMap;

/// Names and what is kept under them.
#[derive(Debug)]
pub(super) struct Kept<T> {
    all: HashMap<String, (usize, T)>,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

impl<T> Kept<T> {
    /// Nothing yet.
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Self {
        Self { all: HashMap::new(), bytes: 0, count_max, bytes_max }
    }

    /// Keeps something of so many bytes, beside its name, in place of what was kept under that.
    ///
    /// # Errors
    /// Where it is too much; the text says of what.
    pub(super) fn put(&mut self, name: String, bytes: usize, it: T) -> Result<(), String> {
        self.take(&name);
        let bytes = bytes.saturating_add(name.len());
        if self.all.len() >= self.count_max {
            return Err(format!("{} are kept already", self.count_max));
        }
        if self.bytes.saturating_add(bytes) > self.bytes_max {
            return Err(format!("{} of {} bytes are kept already", self.bytes, self.bytes_max));
        }
        self.bytes += bytes;
        self.all.insert(name, (bytes, it));
        Ok(())
    }

    /// What is kept under a name.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.all.get_mut(name).map(|(_, it)| it)
    }

    /// No longer keeps what has this name.
    pub(super) fn take(&mut self, name: &str) -> Option<T> {
        let (bytes, it) = self.all.remove(name)?;
        self.bytes -= bytes;
        Some(it)
    }

    /// Keeps nothing any more.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: too many, too much, the same name again, and room once something is gone.
    /// Guarantees: both bounds hold, and what is replaced or taken leaves room.
    #[test]
    fn what_is_kept_is_bounded() {
        let mut kept = Kept::new(2, 10);
        kept.put("a".to_owned(), 7, 1).unwrap();
        assert!(kept.put("b".to_owned(), 2, 2).unwrap_err().contains("8 of 10 bytes"));
        kept.put("a".to_owned(), 3, 3).unwrap();
        kept.put("b".to_owned(), 5, 4).unwrap();
        assert!(kept.put("c".to_owned(), 0, 5).unwrap_err().contains("2 are kept"));
        assert_eq!(kept.get_mut("a"), Some(&mut 3));
        assert_eq!((kept.take("b"), kept.take("b")), (Some(4), None));
        kept.put("c".to_owned(), 5, 6).unwrap();
        kept.clear();
        kept.put("d".repeat(4), 6, 7).unwrap();
    }
}
