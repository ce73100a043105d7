//! Durations and sizes as people write them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A number of bytes, written `4096`, `64KiB`, `1.5GiB` or `10MB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Text")]
pub(crate) struct Bytes(pub(crate) u64);

/// A setting that may be written as a bare number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Number(u64),
    Text(String),
}

impl Bytes {
    /// For a bound on memory of this process.
    pub(crate) fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl TryFrom<Text> for Bytes {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        match text {
            Text::Number(bytes) => Ok(Self(bytes)),
            Text::Text(text) => Self::try_from(text),
        }
    }
}

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_bytes(&text).map(Self).ok_or_else(|| {
            format!("`{text}` is not a size; write it like `64KiB`, `256MiB` or `10GB`")
        })
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B", self.0)
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        Err(_not_whole) => {
            let number: f64 = number.parse().ok()?;
            #[expect(clippy::cast_precision_loss, reason = "a size with a fraction is approximate")]
            let bytes = number * factor as f64;
            // 2^53: beyond it a double no longer holds every byte count.
            (bytes < 9_007_199_254_740_992.0).then(|| {
                #[expect(clippy::cast_possible_truncation, reason = "the bound is checked above")]
                #[expect(clippy::cast_sign_loss, reason = "digits and a point have no sign")]
                let bytes = bytes.round() as u64;
                bytes
            })
        }
    }
}

/// A duration such as `250ms`, `2s` or `1h 30m`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        let hint = "write it like `250ms`, `2s` or `1h`";
        serde::de::Error::custom(format!("`{text}` is not a duration ({error}); {hint}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: sizes in every unit, with fractions, too large, and nonsense.
    /// Guarantees: exact bytes, or a refusal; never a wrapped number.
    #[test]
    fn sizes_are_exact_or_refused() {
        let good = [
            ("0B", 0),
            ("17", 17),
            ("64KiB", 65536),
            ("1.5 GiB", 1_610_612_736),
            ("2MB", 2_000_000),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "x", "1X", "-1B", "99999999999TiB", "1.2.3MB", "9999999.5TiB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
