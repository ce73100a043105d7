//! Identities. Each is a type of its own where a mix-up would lose data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// A trace, 16 bytes; shown as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// A span within its trace, 8 bytes; shown as 16 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

/// A text that is not an id of the wanted length in hex.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {digits} hex digits")]
pub struct BadId {
    text: String,
    digits: usize,
}

macro_rules! hex_id {
    ($name:ident, $bytes:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let mut id = [0; $bytes];
                decode_hex(text, &mut id)
                    .then_some(Self(id))
                    .ok_or_else(|| BadId { text: text.to_owned(), digits: $bytes * 2 })
            }
        }
    };
}

impl TraceId {
    /// What tells it from most others, in four bytes.
    #[inline]
    #[must_use]
    pub const fn print(self) -> u32 {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        let first = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let last = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
        // Ids are random, or count up, or say the same twice: all of them must come apart.
        let mixed = (last ^ first.wrapping_mul(0xC2B2_AE3D_27D4_EB4F)).wrapping_mul(GOLDEN);
        // What was mixed best.
        (mixed >> 32) as u32
    }
}

/// Spreads numbers that count up: 2^64 by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

hex_id!(TraceId, 16);
hex_id!(SpanId, 8);

/// Fills `out` from exactly `2 * out.len()` hex digits of either case.
fn decode_hex(text: &str, out: &mut [u8]) -> bool {
    let digits = text.as_bytes();
    digits.len() == out.len() * 2
        && digits.chunks_exact(2).zip(out).all(|(pair, byte)| {
            let (high, low) = (char::from(pair[0]).to_digit(16), char::from(pair[1]).to_digit(16));
            let Some(value) = high.zip(low).and_then(|(h, l)| u8::try_from(h * 16 + l).ok()) else {
                return false;
            };
            *byte = value;
            true
        })
}

/// Where a frame of the write-ahead log starts, in bytes since the log began; never reused, so
/// that positions of one writer order everything it ever acknowledged.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LogPosition(pub u64);

macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Ulid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = |_| BadId { text: text.to_owned(), digits: 26 };
                Ulid::from_string(text).map(Self).map_err(bad)
            }
        }
    };
}

ulid_id!(
    /// One write-ahead log and the catalog records written for it. Made new when the log folder
    /// is new, so that two logs never share positions.
    WriterId
);
ulid_id!(
    /// One Parquet file; never reused.
    FileId
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: ids as text, of either case, of wrong length, with other letters.
    /// Guarantees: what is shown parses back; anything else is refused.
    #[test]
    fn ids_round_trip_as_hex() {
        let id = TraceId(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("00000000000000FF".parse(), Ok(SpanId([0, 0, 0, 0, 0, 0, 0, 255])));
        for bad in ["", "0", "zz00000000000000", "00000000000000ff00", "é000000000000000"] {
            assert!(bad.parse::<SpanId>().is_err(), "{bad}");
        }
    }
}
