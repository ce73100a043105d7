//! Relatives, trees and edges of random traces against a model that walks every span.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::bench::{Bench, Place};
use crate::rows::{Span, spans};

/// Numbers that look random and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// Spans of a few traces over some minutes; a parent may be of another trace, or nowhere.
fn random(chance: &mut Chance) -> Vec<Span> {
    (1..=120_u8)
        .map(|span| Span {
            trace: u8::try_from(chance.below(6)).unwrap(),
            span,
            parent: (chance.below(8) > 0).then(|| u8::try_from(chance.below(span.into())).unwrap()),
            service: chance.of(&["shop", "pay", "cart"]),
            name: chance.of(&["a", "b", "c", "d"]),
            kind: chance.of(&["SERVER", "CLIENT", "INTERNAL", "PRODUCER", "CONSUMER"]),
            status: chance.of(&["UNSET", "UNSET", "ERROR"]),
            start_ms: chance.below(600_000).cast_signed(),
            duration_ns: chance.below(90_000_000_000).cast_signed(),
            overflow: None,
            resource: None,
        })
        .collect()
}

/// The spans that are to `me` what a word says.
fn relatives<'s>(word: &str, me: &Span, all: &'s [Span]) -> Vec<&'s Span> {
    let parent_of =
        |span: &Span| all.iter().find(|p| p.trace == span.trace && Some(p.span) == span.parent);
    let above = |span: &Span| {
        let mut seen = BTreeSet::new();
        let mut here = parent_of(span);
        let mut found = Vec::new();
        while let Some(parent) = here.filter(|parent| seen.insert(parent.span)) {
            found.push(parent);
            here = parent_of(parent);
        }
        found
    };
    match word {
        "child_of" => parent_of(me).into_iter().collect(),
        "descendant_of" => above(me),
        "parent_of" => {
            all.iter().filter(|s| s.trace == me.trace && s.parent == Some(me.span)).collect()
        }
        "ancestor_of" => all
            .iter()
            .filter(|s| s.trace == me.trace && above(s).iter().any(|up| up.span == me.span))
            .collect(),
        "sibling_of" => all
            .iter()
            .filter(|s| {
                s.trace == me.trace
                    && s.span != me.span
                    && s.parent.is_some()
                    && s.parent == me.parent
            })
            .collect(),
        _ => all.iter().filter(|s| s.trace == me.trace).collect(),
    }
}

/// Scenario: random conditions on the relatives of spans of random traces, with and without a time.
/// Guarantees: the spans that a walk through all of them finds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relatives_are_those_of_a_walk() {
    const WORDS: [&str; 6] =
        ["child_of", "parent_of", "sibling_of", "in_trace_with", "descendant_of", "ancestor_of"];
    for (seed, place) in Place::ALL.into_iter().enumerate() {
        let mut chance = Chance(seed as u64 * 7_919 + 3);
        let all = random(&mut chance);
        let batches = all.chunks(40).map(|some| spans(some, Vec::new())).collect();
        let bench = Bench::start(batches, place).await;
        for round in 0..24 {
            let word = WORDS[round % WORDS.len()];
            let (service, name, kind) = (
                chance.of(&["shop", "pay"]),
                chance.of(&["a", "b"]),
                chance.of(&["SERVER", "CLIENT"]),
            );
            let from = chance.below(500_000).cast_signed();
            let time = "TIMESTAMP '2026-11-21T10:00:00Z' + INTERVAL";
            let sql = format!(
                "SELECT span_id FROM spans AS s WHERE s.kind = '{kind}' AND {word}(service_name = '{service}' \
                 AND name <> '{name}') AND start_time >= {time} '{from} milliseconds' ORDER BY span_id"
            );
            let fits = |me: &&Span| {
                let hit = |one: &&Span| one.service == service && one.name != name;
                me.kind == kind && me.start_ms >= from && relatives(word, me, &all).iter().any(hit)
            };
            let expected: Vec<_> = all
                .iter()
                .filter(fits)
                .map(|span| json!([format!("{:02x}", span.span).repeat(8)]))
                .collect();
            assert_eq!(bench.rows(&sql).await, expected, "{sql} over {place:?}");
        }
    }
}

/// Scenario: relatives an hour and more away from the time that is asked for.
/// Guarantees: they are found up to an hour away, and further where the query says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relatives_are_looked_for_within_an_hour() {
    let span = |span, parent, start_ms| Span {
        trace: 1,
        span,
        parent,
        service: "shop",
        name: "a",
        kind: "SERVER",
        status: "OK",
        start_ms,
        duration_ns: 1,
        overflow: None,
        resource: None,
    };
    let rows = [span(1, None, 0), span(2, Some(1), 3_000_000), span(3, Some(1), 7_000_000)];
    let bench = Bench::start(vec![spans(&rows, Vec::new())], Place::Files).await;
    let ask = async |within: &str, from: &str| {
        let sql = format!(
            "SELECT count(*) FROM spans WHERE start_time >= '{from}' AND child_of(name = 'a'{within})"
        );
        bench.rows(&sql).await[0][0].clone()
    };
    assert_eq!(ask("", "2026-11-21T10:30:00Z").await, json!(2));
    assert_eq!(ask("", "2026-11-21T11:30:00Z").await, json!(0));
    assert_eq!(ask(", INTERVAL '1 day'", "2026-11-21T11:30:00Z").await, json!(1));
}

/// Scenario: the edges between the services of random traces.
/// Guarantees: calls and errors of each pair are those that a walk counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_are_those_of_a_walk() {
    for (seed, place) in Place::ALL.into_iter().enumerate() {
        let mut chance = Chance(seed as u64 * 104_729 + 1);
        let all = random(&mut chance);
        let batches = all.chunks(50).map(|some| spans(some, Vec::new())).collect();
        let bench = Bench::start(batches, place).await;
        let mut expected: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
        let mut count = |client: &str, server: &str, failed: bool| {
            let (calls, errors) =
                expected.entry((client.to_owned(), server.to_owned())).or_default();
            *calls += 1;
            *errors += i64::from(failed);
        };
        for caller in &all {
            let calls = matches!(caller.kind, "CLIENT" | "PRODUCER");
            let answers = |s: &&&Span| matches!(s.kind, "SERVER" | "CONSUMER");
            let children = relatives("parent_of", caller, &all);
            let answered: Vec<_> = children.iter().filter(answers).collect();
            if calls && answered.is_empty() {
                count(caller.service, "unknown", caller.status == "ERROR");
            }
            for answer in answered {
                if calls || answer.service != caller.service {
                    let failed = caller.status == "ERROR" || answer.status == "ERROR";
                    count(caller.service, answer.service, failed);
                }
            }
        }
        let sql = "SELECT client, server, calls, errors FROM \
                   service_edges('2026-11-21T10:00:00Z', '2026-11-21T11:00:00Z') ORDER BY 1, 2";
        let expected: Vec<_> = expected
            .into_iter()
            .map(|((client, server), (calls, errors))| json!([client, server, calls, errors]))
            .collect();
        assert_eq!(bench.rows(sql).await, expected, "{place:?}");
    }
}
