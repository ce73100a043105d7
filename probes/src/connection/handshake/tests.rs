use proptest::prelude::*;

use super::*;

/// What two ends of OpenSSL 3.0 said to each other under TLS 1.2 and under 1.3, the first flight of
/// each.
const RECORDED: &str = include_str!("recorded.txt");

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Two flights, of the client and of the server, for each version.
fn recorded() -> Vec<[Vec<u8>; 2]> {
    let lines = RECORDED.lines().filter_map(|line| line.split_once(' '));
    let of = |sign| lines.clone().filter(move |(one, _)| *one == sign).map(|(_, it)| bytes(it));
    of(">").zip(of("<")).map(|(client, server)| [client, server]).collect()
}

fn read(flights: &[Vec<u8>; 2], piece_bytes: usize) -> Tls {
    let mut handshake = Handshake::default();
    for (direction, flight) in [Direction::Outbound, Direction::Inbound].into_iter().zip(flights) {
        for piece in flight.chunks(piece_bytes) {
            handshake.feed(direction, piece);
        }
    }
    handshake.tls().clone()
}

/// Scenario: the handshakes of TLS 1.2 and 1.3, in pieces of every size.
/// Guarantees: version, cipher suite and server name; the protocol that was agreed on under 1.2, which
/// 1.3 encrypts.
#[test]
fn hellos_are_read_however_they_are_cut() {
    let recorded = recorded();
    assert_eq!(recorded.len(), 2);
    for piece_bytes in 1..800 {
        let told = recorded.iter().map(|flights| {
            let tls = read(flights, piece_bytes);
            assert_eq!(tls.server_name.as_deref(), Some("shop.example"));
            (tls.version.unwrap(), tls.cipher_name().unwrap(), tls.next_protocol)
        });
        let [old, new] = told.collect::<Vec<_>>().try_into().unwrap();
        let suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
        assert_eq!(old, ("1.2", suite.to_owned(), Some("h2".to_owned())));
        assert_eq!(new, ("1.3", "TLS_AES_256_GCM_SHA384".to_owned(), None));
    }
}

/// Scenario: a piece of the client's hello is missing, and one of the server's.
/// Guarantees: nothing is told that was not read whole.
#[test]
fn a_hole_ends_a_hello() {
    for flights in recorded() {
        let mut handshake = Handshake::default();
        for (direction, flight) in
            [Direction::Inbound, Direction::Outbound].into_iter().zip(&flights)
        {
            let (head, rest) = flight.split_at(20);
            handshake.feed(direction, head);
            handshake.finish(direction);
            handshake.feed(direction, rest);
            handshake.feed(direction, flight);
        }
        assert_eq!(handshake.tls(), &Tls::default());
    }
}

proptest! {
    /// Scenario: bytes that nobody would send, alone and in place of a part of a hello.
    /// Guarantees: no panic, and what is held stays within its bound.
    #[test]
    fn whatever_comes_is_bounded(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..3_000)), 0..12),
        at in 0_usize..600,
        byte in any::<u8>(),
    ) {
        let mut handshake = Handshake::default();
        for mut flights in recorded() {
            flights.iter_mut().for_each(|flight| {
                if let Some(changed) = flight.get_mut(at) {
                    *changed = byte;
                }
            });
            read(&flights, 100);
        }
        for (inbound, piece) in &pieces {
            let direction = if *inbound { Direction::Inbound } else { Direction::Outbound };
            let mut record = vec![22, 3, 1, 0xff, 0xff];
            record.extend_from_slice(piece);
            handshake.feed(direction, &record);
            prop_assert!(handshake.flights.iter().all(|it| it.bytes.len() <= HELD_BYTES_MAX));
        }
    }
}
