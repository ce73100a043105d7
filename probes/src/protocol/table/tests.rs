//! What holds for every protocol of the table.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::protocol::{Closing, Direction, Segment};

/// Pieces that messages are made of, so that random bytes get far.
const WORDS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\0\0\0\x04\0\0\0\0\0",
    b"\0\0\x03\x01\x05\0\0\0\x01\x82\x84\x86",
    b"\0\0\x01\x01\x04\0\0\0\x01\x88",
    b"\0\0\x03\0\x09\0\0\0\x01\x01a\0",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    b"\0\x11\0\x01\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01",
    b"\0\x11\0\x01\x81\x03\0\x01\0\0\0\0\0\0\0\0\x01\0\x01",
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"*3\r\n$9\r\nSUBSCRIBE\r\n",
    b"$-1\r\n",
    b"+OK\r\n",
    b">3\r\n",
    b"|1\r\n",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\0\0\0\x0e\0\x03\0\0user\0\0",
    b"Q\0\0\0\x0dSELECT 1\0",
    b"P\0\0\0\x0ba\0select\0\0\0",
    b"B\0\0\0\x0c\0a\0\0\0\0\0\0\0",
    b"E\0\0\0\x09\0\0\0\0\0",
    b"S\0\0\0\x04",
    b"Z\0\0\0\x05I",
    b"C\0\0\0\x0dSELECT 1\0",
    b"E\0\0\0\x0dC42601\0M\0\0",
    b"\x09\0\0\0\x03SELECT 1",
    b"\x07\0\0\x01\0\0\0\x02\0\0\0",
    b"\x01\0\0\x01\x02",
    b"set k 0 0 1\r\nv\r\n",
    b"VALUE k 0 1\r\nv\r\nEND\r\n",
    b"\xff\xff\xff\x7f",
    b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0",
    b"\x20\x03\0\0\0",
    b"\x32\x08\0\x01t\0\x01\0hi",
    b"\x34\x08\0\x01t\0\x02\0hi",
    b"\x50\x02\0\x02",
    b"\x62\x02\0\x02",
    b"\x70\x02\0\x02",
    b"\x82\x07\0\x03\0\0\x01t\x01",
    b"\x90\x04\0\x03\0\x01",
    b"INFO {\"server_id\":\"a\"}\r\n",
    b"CONNECT {\"verbose\":true}\r\n",
    b"SUB _INBOX.a.* 1\r\n",
    b"PUB a.b _INBOX.a.b 2\r\nhi\r\n",
    b"HMSG a.b 1 _INBOX.a.b 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    b"MSG _INBOX.a.b 1 2\r\nhi\r\n",
    b"\x23\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x0e\0\0\0\x10a\0\0\0\0\0\0\0",
    b"\x26\0\0\0\x02\0\0\0\x01\0\0\0\xdd\x07\0\0\0\0\0\0\0\x11\0\0\0\x01ok\0\0\0\0\0\0\0\xf0\x3f\0",
    b"\x1d\0\0\0\x01\0\0\0\0\0\0\0\xdc\x07\0\0\xdd\x07\0\0\x09\0\0\0\x02zip!",
    b"\x1a\0\0\0\x03\0\0\0\0\0\0\0\xd2\x07\0\0\0\0\0\0a.b\0\0\0",
    b"AMQP\0\0\x09\x01",
    b"\x01\0\x01\0\0\0\x0b\0\x3c\0\x28\0\0\x01e\x01k\0\xce",
    b"\x01\0\x01\0\0\0\x13\0\x3c\0\x3c\x01c\0\0\0\0\0\0\0\x01\0\x01e\x01k\xce",
    b"\x02\0\x01\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\x02\0\0\xce",
    b"\x03\0\x01\0\0\0\x02hi\xce",
    b"\x01\0\x01\0\0\0\x05\0\x55\0\x0a\0\xce",
    b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\x01\x01\xce",
    b"\x01\0\x01\0\0\0\x08\0\x3c\0\x46\0\0\x01q\0\xce",
    b"\x01\0\x01\0\0\0\x14\0\x3c\0\x47\0\0\0\0\0\0\0\x01\0\x01e\x01k\0\0\0\0\xce",
    b"\x01\0\x01\0\0\0\x0d\0\x14\0\x28\x01\x94\x02no\0\x3c\0\x28\xce",
    b"\0\0\0\x0d\0\x12\0\0\0\0\0\x01\0\x03abc",
    b"\0\0\0\x2a\0\0\0\x03\0\0\0\x02\0\x01c\xff\xff\0\x01\0\0\0\x09\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0\0\0",
    b"\0\0\0\x0a\0\0\0\x01\0\0\0\0\0\0",
    b"\x04\0\0\x01\x07\0\0\0\x0f\0\0\0\x08SELECT 1\0\x01\0",
    b"\x84\0\0\x01\x08\0\0\0\x04\0\0\0\x01",
    b"\x04\0\0\x02\x0a\0\0\0\x15\0\x100123456789abcdef\0\x01\0",
    b"\x84\0\0\x02\0\0\0\0\x08\0\0\x22\0\0\x02no",
    b"\x03\x01\0\x01\x07\0\0\0\x08packed!!",
    b"\x1b\0\x0285\xca\x05\0\0\x01\x07\0\0\0\x12\0\0\0\x08SELECT 1\0\x01\0\0\0\0\xbf\x8f\x9a;",
    b"\x0d\0\x02\xcf\x07\xf7\x85\0\0\x01\x08\0\0\0\x04\0\0\0\x01\x1eC\xb5\xfd",
    b"Q\0\x02x\x035\x05\0\0\x01\x07\0\0\0\x12\0\0\0\x08SELECT 1\0\x01\0\0\0\0\x05\0\0\x01\x07\0\0\0\x12\0\0\0\x08SELECT 1\0\x01\0\0\0\0\x05\0\0\x01\x07\0\0\0\x12\0\0\0\x08SELECT 1\0\x01\0\0\0\0\xf8\xd9\x0c\x89",
    b"\x1b\0\0\0\x04;\x04\xb5\x05\0\0\x01\x07\0\0\0\x12\0\0\0\x08SELECT 1\0\x01\0\0\0\0\xbf\x8f\x9a;",
    b"\x0d\0\0\0\x04 \xb6\x9c\x85\0\0\x01\x08\0\0\0\x04\0\0\0\x01\x1eC\xb5\xfd",
    b"&\0\xa2\0\x04\x97\x9a~\xff\x0c\x05\0\0\x01\x07\0\0\0\x12\0\0\0\x08SELECT 1\0\x01\0\0\0\0\x1b\0\x1eP\x01\0\0\0\x003Plb",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(WORDS.to_vec()).prop_map(<[u8]>::to_vec);
    let cut = (word.clone(), 0..32_usize).prop_map(|(mut word, cut)| {
        word.truncate(cut);
        word
    });
    let noise = vec(any::<u8>(), 0..12);
    vec(prop_oneof![4 => word, 1 => cut, 1 => noise], 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Scenario: messages of all protocols, parts of them and noise, with holes and gaps, fed to
    /// each parser, from the start of a connection or amid it, in either role.
    /// Guarantees: no panic, each byte counted once, no more exchanges than requests can have been.
    #[test]
    fn anything_goes(
        from_start in any::<bool>(),
        server in any::<bool>(),
        segments in vec(
            (any::<bool>(), bytes(), prop::option::weighted(0.1, 0_u64..50),
             prop::bool::weighted(0.05), prop::bool::weighted(0.1)),
            0..40,
        ),
    ) {
        let role = if server { Role::Server } else { Role::Client };
        for row in ROWS {
            let limits = Limits { pending_max: 8, body_bytes_max: 16, ..Limits::default() };
            let mut parser = row.parser(Arc::new(limits), role, from_start);
            let (mut out, mut fed, mut time) = (Vec::new(), 0, 0);
            for (inbound, captured, omitted, gap_before, quiet) in &segments {
                let direction = if *inbound { Direction::Inbound } else { Direction::Outbound };
                let omitted = omitted.unwrap_or(0);
                time += if *quiet { 2_000_000_000 } else { 1 };
                fed += captured.len() as u64 + omitted;
                let gap_before = *gap_before;
                parser.feed(&Segment { direction, time, captured, omitted, gap_before }, &mut out);
            }
            parser.close(time, Closing::Reset, &mut out);
            let counts = parser.take_counts();
            let sum = counts.parsed_bytes + counts.unparsed_bytes + counts.passed_bytes;
            prop_assert_eq!(sum, fed, "{}: {:?}", row.name, counts);
            prop_assert!(out.len() as u64 <= fed);
            prop_assert!(out.iter().all(|exchange| exchange.role == role && exchange.start <= exchange.end));
        }
    }
}
