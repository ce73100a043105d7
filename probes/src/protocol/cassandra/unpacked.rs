//! What bodies of messages are once they are unpacked.
//!
//! Invariant: it never grows beyond what was wanted of it.

use super::{lz4, snappy};

/// The beginning of what was packed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unpacked {
    pub(super) bytes: Vec<u8>,
    wanted: usize,
    /// Everything was unpacked, to the end.
    pub(super) whole: bool,
}

impl Unpacked {
    pub(super) fn new(wanted: usize) -> Self {
        Self { bytes: Vec::new(), wanted, whole: false }
    }

    /// Literals; none if there is no room for all of them.
    pub(super) fn push(&mut self, literals: &[u8]) -> Option<()> {
        let room = self.wanted - self.bytes.len().min(self.wanted);
        let (taken, rest) = literals.split_at(literals.len().min(room));
        self.bytes.extend_from_slice(taken);
        rest.is_empty().then_some(())
    }

    /// What was unpacked so far back, once more, and over itself if it is longer than that.
    pub(super) fn repeat(&mut self, distance: usize, bytes: usize) -> Option<()> {
        let from = self.bytes.len().checked_sub(distance).filter(|_| distance > 0)?;
        let room = self.wanted - self.bytes.len().min(self.wanted);
        let mut missing = bytes.min(room);
        while missing > 0 {
            // What lies there doubles each time, where it is shorter than what is wanted of it.
            let taken = missing.min(self.bytes.len() - from);
            self.bytes.extend_from_within(from..from + taken);
            missing -= taken;
        }
        (bytes <= room).then_some(())
    }
}

/// By what the bodies of a connection are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Lz4,
    Snappy,
}

impl Method {
    /// The one that a client asks for.
    pub(super) fn named(name: &str) -> Option<Self> {
        [("lz4", Self::Lz4), ("snappy", Self::Snappy)]
            .into_iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known))
            .map(|(_, method)| method)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
        }
    }
}

/// Unpacks a body, at most `wanted` bytes of it; also by what it was packed. Where nobody has said that,
/// it has to be whole, to its end, to tell. None: nothing can be made of it.
pub(super) fn body(
    method: Option<Method>,
    packed: &[u8],
    wanted: usize,
) -> Option<(Method, Vec<u8>)> {
    let proven = |one: Method| {
        let unpacked = one.unpack(packed, wanted)?;
        unpacked.whole.then_some((one, unpacked.bytes))
    };
    let Some(known) = method else {
        return Method::ALL.into_iter().find_map(proven);
    };
    let bytes = known.unpack(packed, wanted)?.bytes;
    (!bytes.is_empty()).then_some((known, bytes))
}

impl Method {
    pub(super) const ALL: [Self; 2] = [Self::Lz4, Self::Snappy];

    /// At most `wanted` bytes of a body.
    pub(super) fn unpack(self, packed: &[u8], wanted: usize) -> Option<Unpacked> {
        match self {
            Self::Lz4 => {
                let (bytes, block) = packed.split_first_chunk::<4>()?;
                let bytes = usize::try_from(u32::from_be_bytes(*bytes)).ok()?;
                let mut unpacked = lz4::unpack(block, wanted.min(bytes));
                unpacked.whole &= unpacked.bytes.len() == bytes;
                Some(unpacked)
            }
            Self::Snappy => snappy::unpack(packed, wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Packed in the manner of the protocol by others.
    fn packed(method: Method, plain: &[u8]) -> Vec<u8> {
        match method {
            Method::Lz4 => {
                let len = u32::try_from(plain.len()).unwrap().to_be_bytes();
                [&len[..], &lz4_flex::block::compress(plain)].concat()
            }
            Method::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
        }
    }

    /// Runs of bytes, of the same ones and of others, long ones among them.
    fn plain() -> impl Strategy<Value = Vec<u8>> {
        let run = (any::<u8>(), 1..400_usize).prop_map(|(byte, times)| vec![byte; times]);
        let word =
            (0..9_usize, 1..90_usize).prop_map(|(at, times)| b"INSERT INTO"[at..].repeat(times));
        vec(prop_oneof![vec(any::<u8>(), 0..80), run, word], 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        /// Scenario: bodies that other libraries have packed, whole, cut off anywhere, and with a bound.
        /// Guarantees: what is unpacked is what was packed, to its end or as far as there is something of it, and
        /// never more than was wanted.
        #[test]
        fn as_others_pack(plain in plain(), cut in any::<prop::sample::Index>(), wanted in 0..9_000_usize) {
            for method in Method::ALL {
                let packed = packed(method, &plain);
                let whole = method.unpack(&packed, plain.len()).unwrap();
                prop_assert!(whole.whole);
                prop_assert_eq!(&whole.bytes, &plain);
                if plain.len() > 64 {
                    let told = body(None, &packed, plain.len()).unwrap();
                    prop_assert_eq!(told, (method, plain.clone()));
                }
                let bounded = method.unpack(&packed, wanted).unwrap();
                prop_assert!(plain.starts_with(&bounded.bytes));
                prop_assert_eq!(bounded.bytes.len(), wanted.min(plain.len()));
                let cut = cut.index(packed.len() + 1);
                if let Some(part) = method.unpack(&packed[..cut], plain.len()) {
                    prop_assert!(plain.starts_with(&part.bytes));
                }
            }
        }

        /// Scenario: bytes that nobody has packed.
        /// Guarantees: nothing panics, and no more is made of them than was wanted.
        #[test]
        fn anything(bytes in vec(any::<u8>(), 0..300), wanted in 0..2_000_usize) {
            for method in Method::ALL {
                let made = method.unpack(&bytes, wanted).map_or(0, |unpacked| unpacked.bytes.len());
                prop_assert!(made <= wanted);
            }
        }
    }
}
