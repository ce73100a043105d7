//! Seeds: those that once failed, a sweep of new ones, and whether a seed is a seed.

use super::*;

/// Seeds that once showed a fault.
const FOUND: &[u64] = &[1217];

/// Seeds of a sweep, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn check(seed: u64) {
    if let Err(story) = run(seed) {
        panic!("{story}\nseed {seed} failed: SEED={seed} replays it");
    }
}

/// Scenario: ingesters, compactors, collectors and queries on one bucket, over a network that
/// loses, delays and repeats requests, with crashes, frozen processes and wrong clocks.
/// Guarantees: every acknowledged row is in every later snapshot exactly once; old snapshots can
/// be read until their grace is over; nothing that counts is ever deleted; in the end all garbage
/// is gone and the bucket is whole.
#[test]
fn every_acknowledged_row_is_there_exactly_once() {
    if let Some(seed) = number("SEED") {
        return check(seed);
    }
    FOUND.iter().copied().for_each(check);
    let from = number("SIM_FROM").unwrap_or(0);
    (from..from + number("SIM_SEEDS").unwrap_or(SEEDS)).for_each(check);
}

/// What must happen now and then: a world in which nothing does proves nothing.
const EVENTS: &[&str] = &[
    "merged 1, void 0",
    "void 1",
    " rows go, 0 are held",
    "are held",
    "erased 1 rows",
    "releases h1: true",
    "holds h1",
    "part data/",
    "complete data/",
    ": Unanswered",
    ": Resent",
    "deleted 3",
    "made its index anew",
    "finds an index that is whole",
    "finds an index that was cut short",
    "finds an index that is rubbish",
    "finds an index of another version",
    "finds no index",
    ".fence.json lands",
    "counts for nothing",
    "says that 1 records count no more",
];

/// Scenario: as many seeds as it takes, and not very many.
/// Guarantees: together they have every kind of event that the simulation is about.
#[test]
fn much_happens() {
    let mut missing: Vec<&str> = EVENTS.to_vec();
    for seed in 0..240 {
        let lines = run(seed).unwrap();
        missing.retain(|event| !lines.iter().any(|line| line.contains(event)));
        if missing.is_empty() {
            break;
        }
    }
    assert_eq!(missing, Vec::<&str>::new());
}

/// Scenario: seeds are run twice.
/// Guarantees: the same events both times, to the microsecond; other seeds, other events.
#[test]
fn a_seed_is_a_seed() {
    let mut before: Vec<String> = Vec::new();
    for seed in 0..3 {
        let (first, second) = (run(seed).unwrap(), run(seed).unwrap());
        let same = first.iter().zip(&second).take_while(|(one, other)| one == other).count();
        let parts = [&first, &second].map(|lines| lines[same..].first());
        assert_eq!(parts, [None, None], "seed {seed} parts at line {same}");
        assert!(first != before, "seeds differ");
        before = first;
    }
}
