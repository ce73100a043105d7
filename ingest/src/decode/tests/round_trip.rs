//! Rows back to OTLP and to rows again: the store's `otlp` is the inverse of this decoder.

use icecore_store::{Signal, otlp};
use proptest::prelude::*;
use prost::Message;

use super::generate::{self, Dice};
use super::{config, plain};
use crate::decode::decode;

/// The rows of a request as text, sorted: OTLP groups records, and keeps no order among groups.
fn rows(signal: Signal, payload: &[u8]) -> (Vec<String>, Option<Vec<u8>>) {
    let decoded = decode(signal, payload).unwrap();
    let Some(batch) = decoded.rows else { return (Vec::new(), None) };
    let mut rows: Vec<String> = plain::rows(&batch).iter().map(|row| format!("{row:?}")).collect();
    rows.sort_unstable();
    // In two pieces, so that groups have to come together across batches.
    let half = batch.rows.num_rows() / 2;
    let pieces = [batch.rows.slice(0, half), batch.rows.slice(half, batch.rows.num_rows() - half)];
    let again = match signal {
        Signal::Traces => otlp::traces(&pieces).unwrap().encode_to_vec(),
        Signal::Metrics => otlp::metrics(&pieces).unwrap().encode_to_vec(),
        Signal::Logs => otlp::logs(&pieces).unwrap().encode_to_vec(),
        Signal::Profiles => otlp::profiles(&pieces).unwrap().encode_to_vec(),
    };
    (rows, Some(again))
}

proptest! {
    #![proptest_config(config())]

    /// Scenario: random requests of every signal become rows, OTLP, and rows again.
    /// Guarantees: the rows are the same: nothing that a row holds is lost on the way back.
    #[test]
    fn rows_survive_the_way_back_to_otlp(seed in any::<u64>()) {
        for signal in Signal::ALL {
            let (first, again) = rows(signal, &generate::request(signal, &mut Dice::new(seed)));
            let Some(again) = again else { continue };
            let (second, _) = rows(signal, &again);
            prop_assert_eq!(first, second);
        }
    }
}
