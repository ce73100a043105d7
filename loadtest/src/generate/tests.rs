//! The load is the same for the same seed, and like the one that the figures are stated for.

use std::collections::BTreeSet;

use super::*;

fn plan(seed: u64, signal: Signal, items: u64) -> Plan {
    Plan {
        seed,
        run: format!("run-{seed}"),
        signal,
        items,
        start_nanos: 1_700_000_000_000_000_000,
        items_per_second: 10_000,
        series: 2_000,
    }
}

/// Scenario: one seed twice, another once, for each signal.
/// Guarantees: the same bytes, other bytes; exactly as many items as asked for.
#[test]
fn a_seed_decides_everything() {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        let bytes = |seed| -> Vec<Vec<u8>> {
            requests(&plan(seed, signal, 4_800)).map(|request| request.message).collect()
        };
        assert_eq!(bytes(7), bytes(7), "{signal:?}");
        assert_ne!(bytes(7), bytes(8), "{signal:?}");
        let items: u64 = requests(&plan(7, signal, 4_800)).map(|request| request.items).sum();
        assert_eq!(items, 4_800, "{signal:?}");
    }
}

/// Scenario: forty thousand spans.
/// Guarantees: the statistics of the standard load, within a few per cent.
#[test]
fn spans_are_like_the_standard_load() {
    let found = describe(&plan(1, Signal::Traces, 40_000));
    let near = |what: &str, value: f64, wanted: f64, tolerance: f64| {
        assert!((value / wanted - 1.0).abs() <= tolerance, "{what} is {value}\n{found}");
    };
    near("bytes", found.bytes_per_item, 589.0, 0.02);
    near("packed bytes", found.packed_bytes_per_item, 80.0, 0.1);
    near("attributes", found.attributes_per_span, 11.6, 0.03);
    near("resources", found.resources_per_request, 58.0, 0.03);
    near("spans a trace", found.spans_per_trace, 17.5, 0.05);
    near("spans a request", found.items_per_request, 750.0, 0.1);
    near("errors", found.error_share, 0.01, 0.25);
    assert_eq!((found.operations, found.statements, found.disorder), (200, 60, 0));
}

/// Scenario: ids of a run, and of the same seed under another name.
/// Guarantees: no id twice, in a run or between runs.
#[test]
fn span_ids_are_distinct() {
    let one = plan(3, Signal::Traces, 20_000);
    let other = Plan { run: "another".to_owned(), ..one.clone() };
    let ids = requests(&one).chain(requests(&other)).flat_map(|request| request.ids);
    let distinct: BTreeSet<[u8; 8]> = ids.collect();
    assert_eq!(distinct.len(), 40_000);
}
