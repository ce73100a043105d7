//! A page: some hundred pairs of print and file, sorted, with a checksum.
//!
//! `crc32c of the rest: u32 | pairs: u16 | first print: u64 | pairs`, each pair as the distance of
//! its print from the one before and the number of the file, both in 7 bits a byte.
//!
//! Invariant: what [`pairs`] gives of a page is exactly what was pushed.

use super::prints::BITS;

/// Bytes of a page: what a disk reads at once.
pub(super) const BYTES: usize = 4096;

const HEADER: usize = 4 + 2 + 8;

/// A trace id's print, and the number of a file of the segment.
pub(super) type Pair = (u64, u32);

/// Pairs on their way into pages.
#[derive(Debug, Default)]
pub(super) struct PageBuilder {
    body: Vec<u8>,
    pairs: u16,
    first: u64,
    last: u64,
}

impl PageBuilder {
    /// Adds a pair, not below the one before; `false` where the page is full.
    pub(super) fn push(&mut self, (print, file): Pair) -> bool {
        let before = self.body.len();
        let first = if self.pairs == 0 { print } else { self.first };
        let last = if self.pairs == 0 { print } else { self.last };
        push_number(&mut self.body, print - last);
        push_number(&mut self.body, u64::from(file));
        if self.body.len() > BYTES - HEADER {
            self.body.truncate(before);
            return false;
        }
        (self.pairs, self.first, self.last) = (self.pairs + 1, first, print);
        true
    }

    /// The page and its first print; leaves an empty builder. `None` where it is empty.
    pub(super) fn finish(&mut self) -> Option<([u8; BYTES], u64)> {
        let Self { body, pairs, first, last: _ } = std::mem::take(self);
        if pairs == 0 {
            return None;
        }
        let mut page = [0; BYTES];
        page[4..6].copy_from_slice(&pairs.to_le_bytes());
        page[6..HEADER].copy_from_slice(&first.to_le_bytes());
        page[HEADER..HEADER + body.len()].copy_from_slice(&body);
        let sum = crc32c::crc32c(&page[4..]);
        page[..4].copy_from_slice(&sum.to_le_bytes());
        Some((page, first))
    }
}

/// The pairs of a page, in order; `None` where it is not one that was written.
pub(super) fn pairs(page: &[u8; BYTES]) -> Option<Vec<Pair>> {
    let (sum, rest) = page.split_first_chunk()?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (count, rest) = rest.split_first_chunk()?;
    let (first, mut rest) = rest.split_first_chunk()?;
    let mut print = u64::from_le_bytes(*first);
    let mut pairs = Vec::with_capacity(usize::from(u16::from_le_bytes(*count)));
    for _ in 0..u16::from_le_bytes(*count) {
        print = print.checked_add(take_number(&mut rest)?)?;
        let file = u32::try_from(take_number(&mut rest)?).ok()?;
        pairs.push((print, file));
    }
    (print >> BITS == 0).then_some(pairs)
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7F {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7F) as u8);
}

fn take_number(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page_of(pairs: &[Pair]) -> (usize, [u8; BYTES]) {
        let mut builder = PageBuilder::default();
        let taken = pairs.iter().take_while(|pair| builder.push(**pair)).count();
        let (page, first) = builder.finish().unwrap();
        assert_eq!(first, pairs[0].0);
        assert!(builder.finish().is_none());
        (taken, page)
    }

    proptest! {
        /// Scenario: any sorted pairs go into a page until it is full; a bit of it is turned.
        /// Guarantees: the pairs come back; a damaged page says so.
        #[test]
        fn a_page_gives_its_pairs_back(
            mut expected in prop::collection::vec((0..1_u64 << BITS, any::<u32>()), 1..1200),
            bit in 0..BYTES * 8,
        ) {
            expected.sort_unstable();
            let (taken, mut page) = page_of(&expected);
            prop_assert_eq!(pairs(&page).unwrap(), &expected[..taken]);
            page[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(pairs(&page), None);
        }
    }

    /// Scenario: prints a hundred thousand apart, as ten million ids have them, of a few files.
    /// Guarantees: at most five bytes a pair.
    #[test]
    fn a_pair_takes_few_bytes() {
        let pairs: Vec<Pair> =
            (0..2000).map(|at| (at * 100_000, u32::try_from(at % 100).unwrap())).collect();
        assert!(BYTES / page_of(&pairs).0 <= 5);
    }
}
