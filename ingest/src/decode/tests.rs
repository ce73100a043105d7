//! The decoder against `prost` and an oracle that goes through its structs, field by field.

mod generate;
mod json;
mod oracle;
mod plain;
mod round_trip;
mod rules;

use icecore_store::Signal;
use proptest::prelude::*;

use self::generate::Dice;
use super::*;

/// A seed that fails is in the message: there is no file of them.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() }
}

/// Decodes in both ways and compares: whether it is a request at all, the rows, the counts.
fn check(signal: Signal, payload: &[u8]) {
    let (ours, theirs) = (decode(signal, payload), oracle::expect(signal, payload));
    let (ours, theirs) = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(DecodeError::Protobuf { at, .. }), Err(_)) => {
            assert!(at <= payload.len());
            return;
        }
        (ours, theirs) => panic!("decode: {ours:?}\nprost: {:?}", theirs.map(|_| ())),
    };
    assert_eq!(ours.rejected, theirs.rejected);
    assert_eq!(ours.rejected > 0, ours.reason.is_some());
    assert_eq!(ours.accepted, theirs.rows.len() as u64);
    let rows = ours.rows.as_ref().map(plain::rows).unwrap_or_default();
    assert_eq!(rows.len(), theirs.rows.len());
    for (row, expected) in rows.iter().zip(&theirs.rows) {
        pretty(row, expected);
    }
    if let Some(batch) = ours.rows {
        assert_eq!(Some(batch.time), theirs.time);
    }
}

fn pretty(row: &plain::Row, expected: &plain::Row) {
    for (name, cell) in &expected.cells {
        assert_eq!(row.cells.get(name), Some(cell), "column {name}");
    }
    assert_eq!(row, expected);
}

proptest! {
    #![proptest_config(config())]

    /// Scenario: requests with every field set or not, all kinds of values, bad ids and times.
    /// Guarantees: the rows say what the structs of `prost` say; what is refused is counted.
    #[test]
    fn rows_equal_structs(seed in any::<u64>()) {
        for signal in Signal::ALL {
            check(signal, &generate::request(signal, &mut Dice::new(seed)));
        }
    }

    /// Scenario: the same requests with bytes changed, cut off, doubled, swapped.
    /// Guarantees: accepted exactly where `prost` accepts, with the same rows; never a panic.
    #[test]
    fn damage_is_judged_as_prost_does(seed in any::<u64>()) {
        let mut dice = Dice::new(seed);
        for signal in Signal::ALL {
            let whole = generate::request(signal, &mut dice);
            for _ in 0..20 {
                check(signal, &generate::damage(&whole, &mut dice));
            }
        }
    }

    /// Scenario: bytes that never were a request.
    /// Guarantees: as above.
    #[test]
    fn noise_is_judged_as_prost_does(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        for signal in Signal::ALL {
            check(signal, &noise);
        }
    }
}

/// Scenario: nothing at all.
/// Guarantees: a request without items is accepted, and gives no rows.
#[test]
fn an_empty_request_is_fine() {
    for signal in Signal::ALL {
        let decoded = decode(signal, &[]).unwrap();
        assert!(decoded.rows.is_none() && decoded.reason.is_none());
        assert_eq!((decoded.accepted, decoded.rejected), (0, 0));
    }
}
