//! The Huffman code of HPACK (RFC 7541, appendix B).
//!
//! Invariant: the code is canonical, so that the lengths of its words say all: words of one length
//! follow each other in the order of their symbols. What is decoded is at most 8/5 of what came.

use super::Malformed;

/// The length in bits of the word of each byte, and of the end.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
/// The longest word.
const BITS_MAX: usize = 30;
/// The symbol behind the last byte: it must not be sent.
const END: u16 = 256;

/// The words of one length: the first of them, how many there are, and which symbol is the first.
#[derive(Debug, Clone, Copy)]
struct Words {
    first: u32,
    count: u32,
    symbol_at: usize,
}

/// Words by length, and all symbols in the order of their words.
struct Code {
    words: [Words; BITS_MAX + 1],
    symbols: [u16; 257],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut words = [Words { first: 0, count: 0, symbol_at: 0 }; BITS_MAX + 1];
    let mut symbols = [0; 257];
    let (mut next_word, mut next_symbol, mut bits) = (0_u32, 0, 1);
    while bits <= BITS_MAX {
        next_word <<= 1;
        words[bits] = Words { first: next_word, count: 0, symbol_at: next_symbol };
        let mut symbol = 0_u16;
        while symbol <= END {
            if LENGTHS[symbol as usize] as usize == bits {
                symbols[next_symbol] = symbol;
                next_symbol += 1;
                next_word += 1;
            }
            symbol += 1;
        }
        words[bits].count = next_word - words[bits].first;
        bits += 1;
    }
    Code { words, symbols }
}

/// Decodes a whole string.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut text = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut word, mut bits) = (0_u32, 0_usize);
    for &byte in bytes {
        for shift in (0..8).rev() {
            word = word << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            let words = CODE.words.get(bits).ok_or(Malformed)?;
            let place = word.wrapping_sub(words.first);
            if place < words.count {
                let symbol = CODE.symbols.get(words.symbol_at + place as usize);
                text.push(symbol.and_then(|&symbol| u8::try_from(symbol).ok()).ok_or(Malformed)?);
                (word, bits) = (0, 0);
            }
        }
    }
    // The rest of the last byte is the beginning of the end's word: ones.
    let padded = bits < 8 && word == (1 << bits) - 1;
    if padded { Ok(text) } else { Err(Malformed) }
}

#[cfg(test)]
pub(in super::super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The string in Huffman's code.
    pub(in super::super) fn encode(text: &[u8]) -> Vec<u8> {
        let word_of = |byte: u8| {
            let bits = usize::from(LENGTHS[usize::from(byte)]);
            let of_length = &CODE.symbols[CODE.words[bits].symbol_at..];
            let place = of_length.iter().position(|&symbol| symbol == u16::from(byte)).unwrap();
            (CODE.words[bits].first + u32::try_from(place).unwrap(), bits)
        };
        let mut digits = String::new();
        for &byte in text {
            let (word, bits) = word_of(byte);
            digits.push_str(&format!("{word:0bits$b}"));
        }
        digits.push_str(&"1".repeat((8 - digits.len() % 8) % 8));
        let bytes = digits.as_bytes().chunks(8).map(|eight| std::str::from_utf8(eight).unwrap());
        bytes.map(|eight| u8::from_str_radix(eight, 2).unwrap()).collect()
    }

    /// Scenario: the examples of RFC 7541 (C.4, C.6), no padding, padding of eight ones or with a
    /// zero, and the end that must not be sent.
    /// Guarantees: the first are read, the others are none.
    #[test]
    fn strings() {
        for (coded, text) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x64\x02", "302"),
            (b"\x64\x0e\xff", "307"),
            (b"", ""),
        ] {
            assert_eq!(decode(coded).as_deref(), Ok(text.as_bytes()));
            assert_eq!(encode(text.as_bytes()), coded);
        }
        for bad in [&b"\xa8\xeb\x10\x64\x9c\xbf\xff"[..], b"\x64\x0e\xfe", b"\xff\xff\xff\xff"] {
            assert_eq!(decode(bad), Err(Malformed), "{bad:?}");
        }
    }

    proptest! {
        /// Scenario: any bytes, coded; and any bytes taken for coded ones.
        /// Guarantees: the first come back, the others neither panic nor grow beyond the bound.
        #[test]
        fn any_string(text in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&encode(&text)), Ok(text.clone()));
            prop_assert!(decode(&text).map_or(0, |read| read.len()) <= text.len() * 8 / 5);
        }
    }
}
