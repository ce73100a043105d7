//! The decoder against `prost` and an oracle that goes through its structs, field by field.

mod generate;
mod json;
mod oracle;
mod plain;
mod profiles;
mod round_trip;
mod rules;

use icecore_store::schema::{AttributeType, MapColumn};
use icecore_store::{ReadColumn, Signal};
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
    foretold(signal, payload, &ours);
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

/// What is said of a request beforehand must be what becomes of it.
fn foretold(signal: Signal, payload: &[u8], decoded: &Result<Decoded, DecodeError>) {
    match (super::check(signal, payload), decoded) {
        (Ok(checked), Ok(decoded)) => {
            assert_eq!(checked.accepted, decoded.accepted);
            assert_eq!(checked.rejected, decoded.rejected);
            assert_eq!(checked.reason, decoded.reason);
            assert_eq!(checked.time, decoded.rows.as_ref().map(|rows| rows.time));
        }
        (Err(_), Err(_)) => {}
        (checked, decoded) => panic!("checked: {checked:?}\ndecoded: {decoded:?}"),
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

    /// Scenario: many requests, some of them damaged but still accepted, in one batch.
    /// Guarantees: the batch has the rows that each has by itself, in order.
    #[test]
    fn a_batch_has_the_rows_of_its_requests(seed in any::<u64>()) {
        let mut dice = Dice::new(seed);
        for signal in Signal::ALL {
            let (mut batch, mut expected) = (Batch::new(signal, Wanted::ALL), Vec::new());
            for _ in 0..8 {
                let whole = generate::request(signal, &mut dice);
                for payload in [generate::damage(&whole, &mut dice), whole] {
                    let Ok(decoded) = decode(signal, &payload) else { continue };
                    batch.push(&payload).unwrap();
                    expected.extend(decoded.rows.iter().flat_map(plain::rows));
                }
            }
            let rows = batch.finish().unwrap();
            let rows = rows.as_ref().map(plain::rows).unwrap_or_default();
            assert_eq!(rows.len(), expected.len());
            rows.iter().zip(&expected).for_each(|(row, expected)| pretty(row, expected));
        }
    }

    /// Scenario: the same requests, of which some keys are wanted, or none.
    /// Guarantees: the same rows, with exactly these keys.
    #[test]
    fn fewer_keys_are_wanted(seed in any::<u64>()) {
        let mut dice = Dice::new(seed);
        for signal in Signal::ALL {
            let payload = generate::request(signal, &mut dice);
            let Some(rows) = decode(signal, &payload).unwrap().rows else { continue };
            let mut expected = plain::rows(&rows);
            let keys = |row: &plain::Row| row.attributes.iter().map(|(key, _)| key.clone()).next();
            let key = expected.iter().find_map(keys).unwrap_or_default();
            let read = ReadColumn::Attribute {
                map: MapColumn::Attributes,
                key: key.clone(),
                kind: AttributeType::String,
            };
            for row in &mut expected {
                row.attributes.retain(|(name, _)| *name == key);
                row.resource.clear();
            }
            let mut batch = Batch::new(signal, Wanted::of(&[read]));
            batch.push(&payload).unwrap();
            let rows = batch.finish().unwrap();
            let rows = rows.as_ref().map(plain::rows).unwrap_or_default();
            assert_eq!(rows.len(), expected.len());
            rows.iter().zip(&expected).for_each(|(row, expected)| pretty(row, expected));
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
