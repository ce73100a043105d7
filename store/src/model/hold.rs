//! A hold: rows of a window that nothing removes while it stands.
//!
//! Invariant: a [`HoldName`] is safe in a path, a URL and a terminal as it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Table, TimeRange, UnixNanos};

/// The longest name of a hold, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// The name of a hold: letters, digits, `.`, `_` and `-`, and it begins with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HoldName(String);

/// A text that is no name of a hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name for a hold: one has 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_` and \
     `-`, the first of them a letter or a digit"
)]
pub struct BadHoldName(String);

impl HoldName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HoldName {
    type Err = BadHoldName;

    fn from_str(text: &str) -> Result<Self, BadHoldName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        if begins && text.len() <= NAME_BYTES_MAX && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        let shown = text.chars().take(NAME_BYTES_MAX).flat_map(char::escape_default);
        Err(BadHoldName(shown.collect()))
    }
}

impl TryFrom<String> for HoldName {
    type Error = BadHoldName;

    fn try_from(text: String) -> Result<Self, BadHoldName> {
        text.parse()
    }
}

impl From<HoldName> for String {
    fn from(name: HoldName) -> Self {
        name.0
    }
}

impl fmt::Display for HoldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Rows that stay, whatever retention and erasure say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What it is called.
    pub name: HoldName,
    /// Rows whose time is in it.
    pub time: TimeRange,
    /// Of these, only rows that this SQL condition accepts; all where there is none.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Of these tables, in the order of [`Table::ALL`], at least one.
    pub tables: Vec<Table>,
    /// When it was made, by its maker's clock.
    pub at: UnixNanos,
}

impl Hold {
    /// Whether another hold keeps the same rows under the same name, whenever it was made.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let Self { name, time, condition, tables, at: _ } = other;
        self.name == *name
            && self.time == *time
            && self.condition == *condition
            && self.tables == *tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: names that people give, and texts that would be paths, flags or escapes.
    /// Guarantees: the former are kept as they are, the latter are refused in words without them.
    #[test]
    fn names_are_plain() {
        for name in ["a", "INC-2041", "2026-11-25.checkout_outage", &"x".repeat(100)] {
            assert_eq!(name.parse::<HoldName>().unwrap().as_str(), name);
        }
        for name in ["", "-x", ".", "../a", "a/b", "a b", "é", "a\u{1b}[31m", &"x".repeat(101)] {
            let refused = name.parse::<HoldName>().unwrap_err().to_string();
            assert!(!refused.contains('\u{1b}'), "{refused}");
        }
        assert!(serde_json::from_str::<HoldName>("\"a/b\"").is_err());
    }
}
