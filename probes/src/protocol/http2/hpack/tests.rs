//! Blocks: the examples of RFC 7541, and those of an encoder of our own.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A sender: refers back to what it sent before, and adds what it did not.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    entries: Vec<(String, String)>,
    bytes_max: usize,
    pub(in super::super) coded: bool,
}

fn integer(first: u8, bits: u32, number: usize) -> Vec<u8> {
    let mask = (1 << bits) - 1;
    if number < mask {
        return vec![first | u8::try_from(number).unwrap()];
    }
    let mut bytes = vec![first | u8::try_from(mask).unwrap()];
    let mut rest = number - mask;
    while rest >= 0x80 {
        bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

impl Encoder {
    pub(in super::super) fn new() -> Self {
        Self { entries: Vec::new(), bytes_max: TABLE_BYTES, coded: true }
    }

    fn text(&self, text: &str) -> Vec<u8> {
        if self.coded {
            let coded = huffman::tests::encode(text.as_bytes());
            return [integer(0x80, 7, coded.len()), coded].concat();
        }
        [integer(0, 7, text.len()), text.as_bytes().to_vec()].concat()
    }

    fn shrink(&mut self) {
        let size = |(name, value): &(String, String)| name.len() + value.len() + ENTRY_BYTES;
        while self.entries.iter().map(size).sum::<usize>() > self.bytes_max {
            self.entries.pop();
        }
    }

    /// Changes how much both ends hold, and says so.
    pub(in super::super) fn resize(&mut self, bytes_max: usize) -> Vec<u8> {
        self.bytes_max = bytes_max;
        self.shrink();
        integer(0x20, 5, bytes_max)
    }

    fn find(&self, wanted: impl Fn(&str, &str) -> bool) -> Option<usize> {
        let fixed = table::FIXED.iter().map(|(name, value)| (*name, *value));
        let own = self.entries.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        fixed.chain(own).position(|(name, value)| wanted(name, value)).map(|at| at + 1)
    }

    pub(in super::super) fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for &(name, value) in fields {
            if let Some(index) = self.find(|n, v| n == name && v == value) {
                block.extend(integer(0x80, 7, index));
                continue;
            }
            let index = self.find(|n, _| n == name);
            block.extend(integer(0x40, 6, index.unwrap_or(0)));
            if index.is_none() {
                block.extend(self.text(name));
            }
            block.extend(self.text(value));
            self.entries.insert(0, (name.to_owned(), value.to_owned()));
            self.shrink();
        }
        block
    }
}

fn shown(decoder: &mut Decoder, block: &[u8]) -> String {
    let mut fields = Vec::new();
    let text = |bytes: Option<&[u8]>| {
        bytes.map_or("?".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let read = decoder.read(block, |field| {
        fields.push(format!("{}={}", text(field.name), text(field.value)));
    });
    read.map_or("malformed".to_owned(), |()| fields.join(" "))
}

fn bytes(digits: &str) -> Vec<u8> {
    let digits: String = digits.split_whitespace().collect();
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Scenario: three requests of one connection with Huffman coding (C.4 of RFC 7541), and three
/// responses with a table of 256 bytes, from which entries fall out (C.6).
/// Guarantees: the fields of the document; amid the same connection, what the blocks say by
/// themselves and what was added since, and nothing for the rest.
#[test]
fn the_examples_of_the_standard() {
    let requests = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]
    .map(bytes);
    let wanted = [
        ":method=GET :scheme=http :path=/ :authority=www.example.com",
        ":method=GET :scheme=http :path=/ :authority=www.example.com cache-control=no-cache",
        ":method=GET :scheme=https :path=/index.html :authority=www.example.com custom-key=custom-value",
    ];
    let mut decoder = Decoder::new(1 << 16, true);
    assert_eq!(requests.each_ref().map(|block| shown(&mut decoder, block)), wanted);
    let mut late = Decoder::new(1 << 16, false);
    assert_eq!(
        shown(&mut late, &requests[1]),
        ":method=GET :scheme=http :path=/ ?=? cache-control=no-cache"
    );
    assert_eq!(
        shown(&mut late, &requests[2]),
        ":method=GET :scheme=https :path=/index.html ?=? custom-key=custom-value"
    );

    let responses = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
         919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
         821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
         4ee5 b106 3d50 07",
    ]
    .map(bytes);
    let mut decoder = Decoder::new(256, true);
    let first = shown(&mut decoder, &responses[0]);
    assert!(
        first.starts_with(":status=302 cache-control=private date=Mon, 21 Oct 2013"),
        "{first}"
    );
    let second = shown(&mut decoder, &responses[1]);
    assert_eq!(second, first.replace("302", "307"));
    let third = shown(&mut decoder, &responses[2]);
    assert!(third.contains("20:13:22 GMT location=https://www.example.com content-encoding=gzip"));
    assert!(third.ends_with("max-age=3600; version=1"), "{third}");
    assert_eq!(decoder.bytes, 215);
}

/// Scenario: index 0, an index of nothing, strings and numbers that are cut off.
/// Guarantees: unknown where it may be something, else malformed.
#[test]
fn bad_blocks() {
    for (block, wanted) in [
        ("80", "malformed"),
        ("ff", "malformed"),
        ("40", "malformed"),
        ("4003 6162", "malformed"),
        ("ff10", "?=?"),
        ("ffff ff7f", "?=?"),
        ("7f20 0161", "?=a"),
        ("20", ""),
        ("3fe1 1f", ""),
    ] {
        assert_eq!(shown(&mut Decoder::new(4_096, true), &bytes(block)), wanted, "{block}");
    }
}

proptest! {
    /// Scenario: blocks of random fields under tables that grow and shrink; the reader holds less
    /// than the sender, comes late, or misses some blocks.
    /// Guarantees: each field is the one that was sent or unknown; with nothing missed and enough
    /// room, known.
    #[test]
    fn never_a_wrong_field(
        blocks in vec((vec((0..12_usize, 0..6_usize), 1..6), prop::option::of(0..400_usize)), 1..30),
        bound in prop::sample::select(vec![100_usize, 200, 4_096]),
        from_start in any::<bool>(),
        missed in vec(any::<bool>(), 1..10),
        miss in any::<bool>(),
    ) {
        let names: Vec<_> = (0..12).map(|at| format!("name-{at}-{}", "n".repeat(at * 3))).collect();
        let values: Vec<_> = (0..6).map(|at| format!("value-{at}-{}", "v".repeat(at * 9))).collect();
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new(bound, from_start);
        let mut missed = missed.iter().cycle();
        for (fields, resized) in &blocks {
            encoder.coded = !encoder.coded;
            let mut block = resized.map_or(Vec::new(), |bytes| encoder.resize(bytes));
            let fields: Vec<_> =
                fields.iter().map(|&(n, v)| (names[n].as_str(), values[v].as_str())).collect();
            block.extend(encoder.block(&fields));
            if miss && *missed.next().unwrap() {
                decoder.forget();
                continue;
            }
            let mut read = Vec::new();
            decoder.read(&block, |field| {
                read.push((field.name.map(<[u8]>::to_vec), field.value.map(<[u8]>::to_vec)));
            }).unwrap();
            prop_assert_eq!(read.len(), fields.len());
            for ((name, value), (wanted_name, wanted_value)) in read.iter().zip(&fields) {
                let known = from_start && !miss && bound == 4_096;
                prop_assert!(!known || name.is_some() && value.is_some());
                prop_assert!(name.as_ref().is_none_or(|name| name == wanted_name.as_bytes()));
                prop_assert!(value.as_ref().is_none_or(|value| value == wanted_value.as_bytes()));
            }
            prop_assert!(decoder.bytes <= bound);
        }
    }

    /// Scenario: any bytes.
    /// Guarantees: no panic, and nothing held beyond the bound.
    #[test]
    fn anything_goes(blocks in vec(vec(any::<u8>(), 0..200), 0..10)) {
        let mut decoder = Decoder::new(500, true);
        for block in blocks {
            let mut told = 0;
            let read = decoder.read(&block, |_| told += 1);
            prop_assert!(read == Ok(()) || read == Err(Malformed));
            prop_assert!(decoder.bytes <= 500 && told <= block.len());
        }
    }
}
