//! The same questions asked so that a scan may answer them, and so that the engine must.

use icecore_store::RowBatch;
use serde_json::Value;

use crate::bench::{Bench, Place};
use crate::rows::{Span, doubles, ints, spans, texts};

const SERVICES: [&str; 4] = ["cart", "pay", "shop", "ship%_"];
const NAMES: [&str; 5] = ["GET /", "GET /cart", "POST /pay", "SELECT", "größe"];
const OVERFLOWS: [Option<&str>; 6] = [
    None,
    Some(r#"{"mixed":"x"}"#),
    Some(r#"{"mixed":7,"rare":true}"#),
    Some(r#"{"mixed":2.5}"#),
    Some(r#"{"http.route":"/late","mixed":null}"#),
    Some(r#"{"tags":["a"],"mixed":-3}"#),
];

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

/// Some hundred spans over three hours, with keys that have a column, keys that have none, and keys
/// that have both.
fn fixture(chance: &mut Chance) -> Vec<RowBatch> {
    let mut span = 0_u8;
    let batches = (0..6).map(|batch| {
        let rows: Vec<Span> = (0..60)
            .map(|_| {
                span = span.wrapping_add(1);
                Span {
                    trace: u8::try_from(chance.below(30)).unwrap(),
                    span,
                    parent: (chance.below(2) == 0).then_some(span / 2),
                    service: chance.of(&SERVICES),
                    name: chance.of(&NAMES),
                    kind: chance.of(&["SERVER", "CLIENT"]),
                    status: chance.of(&["UNSET", "OK", "ERROR"]),
                    start_ms: (batch / 2) * 3_600_000 + chance.below(3_000).cast_signed() * 997,
                    duration_ns: chance.below(2_000_000).cast_signed() - 1_000,
                    overflow: chance.of(&OVERFLOWS),
                    resource: chance.of(&[None, Some(r#"{"host.name":"a"}"#)]),
                }
            })
            .collect();
        let route = |chance: &mut Chance| chance.of(&[None, Some("/cart"), Some("/"), Some("/x")]);
        let route: Vec<_> =
            rows.iter().map(|row| route(chance).filter(|_| row.overflow != OVERFLOWS[4])).collect();
        let code: Vec<_> =
            rows.iter().map(|_| chance.of(&[None, Some(200), Some(404), Some(500)])).collect();
        let total: Vec<_> =
            rows.iter().map(|_| chance.of(&[None, Some(1.5), Some(-2.0)])).collect();
        let attributes = vec![
            ("attributes.http.route", texts(&route)),
            ("attributes.http.response.status_code", ints(&code)),
            ("attributes.cart.total", doubles(&total)),
        ];
        spans(&rows, attributes)
    });
    batches.collect()
}

/// One random condition.
fn condition(chance: &mut Chance) -> String {
    let service = chance.of(&SERVICES);
    let name = chance.of(&NAMES);
    let number = chance.below(2_000_000);
    let trace = format!("{:02x}", chance.below(30) | 0xa0).repeat(16);
    let minutes = chance.below(200);
    let time = format!("TIMESTAMP '2026-11-21T10:00:00Z' + INTERVAL '{minutes} minutes'");
    match chance.below(25) {
        0 => format!("service_name = '{service}'"),
        1 => format!("service_name IN ('{service}', 'nobody')"),
        2 => format!("service_name IN ('{service}', 'cart', 'pay', 'x', 'y')"),
        3 => format!("service_name = '{service}' OR service_name = 'pay'"),
        4 => format!("name LIKE '{}%'", name.chars().take(3).collect::<String>()),
        5 => format!("name NOT LIKE '%{}%'", name.chars().last().unwrap()),
        6 => format!("duration_ns > {number}"),
        7 => format!("duration_ns BETWEEN {} AND {number}", number / 3),
        8 => format!("duration_ns <= {}.5", number / 2),
        9 => format!("start_time >= {time}"),
        10 => format!("start_time < {time}"),
        11 => format!("start_time BETWEEN {time} AND {time} + INTERVAL '1 hour'"),
        12 => format!("trace_id = '{trace}'"),
        13 => format!("trace_id IN ('{}', '{trace}', 'zz')", "a1".repeat(16)),
        14 => format!("trace_id > '{trace}'"),
        15 => "parent_span_id IS NULL".to_owned(),
        16 => "attributes['http.route'] = '/cart'".to_owned(),
        17 => "attributes['http.route'] IS NULL".to_owned(),
        18 => "attributes['http.response.status_code'] >= 404".to_owned(),
        19 => "attributes['mixed'] = 7".to_owned(),
        20 => "attributes['mixed'] LIKE '%.5'".to_owned(),
        21 => "attributes['cart.total'] < 0.5".to_owned(),
        22 => "resource['host.name'] = 'a'".to_owned(),
        23 => format!("end_time > {time} AND kind <> 'CLIENT'"),
        _ => format!("length(name) * 100000 > duration_ns AND status_code <> '{service}'"),
    }
}

fn conditions(chance: &mut Chance) -> String {
    let all: Vec<String> = (0..=chance.below(3)).map(|_| condition(chance)).collect();
    let joined = all.join(if chance.below(4) == 0 { ") OR (" } else { ") AND (" });
    format!("({joined})")
}

async fn sorted(bench: &Bench, sql: &str) -> Vec<String> {
    let mut rows: Vec<String> = bench.rows(sql).await.iter().map(Value::to_string).collect();
    rows.sort_unstable();
    rows
}

/// Scenario: random conditions over rows in every place, as they are, and so that no scan can
/// apply them.
/// Guarantees: the same rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_filter_as_the_engine_does() {
    for (seed, place) in Place::ALL.into_iter().enumerate() {
        let mut chance = Chance(seed as u64 * 7_919 + 11);
        let bench = Bench::start(fixture(&mut chance), place).await;
        for _ in 0..40 {
            let condition = conditions(&mut chance);
            let select = "SELECT span_id, start_time, name, attributes['http.route'], duration_ns FROM spans";
            let scan = sorted(&bench, &format!("{select} WHERE {condition}")).await;
            let engine = format!("{select} WHERE ({condition}) OR random() < 0");
            assert_eq!(scan, sorted(&bench, &engine).await, "{condition} over {place:?}");
        }
    }
}

/// Scenario: groups by random keys of random aggregates, over a scan and over a node that the scan
/// does not know.
/// Guarantees: the same groups with the same answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_group_as_the_engine_does() {
    const KEYS: [&str; 9] = [
        "service_name",
        "name",
        "kind",
        "attributes['http.route']",
        "attributes['http.response.status_code']",
        "attributes['mixed']",
        "resource['host.name']",
        "date_bin(INTERVAL '1 minute', start_time)",
        "parent_span_id IS NULL",
    ];
    const AGGREGATES: [&str; 11] = [
        "count(*)",
        "sum(duration_ns)",
        "avg(duration_ns)",
        "min(start_time)",
        "max(name)",
        "count(DISTINCT trace_id)",
        "approx_percentile_cont(duration_ns, 0.9)",
        "approx_percentile_cont(0.25) WITHIN GROUP (ORDER BY duration_ns DESC)",
        "approx_median(duration_ns)",
        "count(*) FILTER (WHERE status_code = 'ERROR')",
        "count(attributes['cart.total'])",
    ];
    for (seed, place) in Place::ALL.into_iter().enumerate() {
        let mut chance = Chance(seed as u64 * 104_729 + 5);
        let bench = Bench::start(fixture(&mut chance), place).await;
        for round in 0..30 {
            let keys: Vec<_> = (0..=chance.below(3)).map(|_| chance.of(&KEYS)).collect();
            let aggregates: Vec<_> =
                (0..=chance.below(3)).map(|_| chance.of(&AGGREGATES)).collect();
            let named = keys.iter().chain(&aggregates).enumerate();
            let select: Vec<_> = named.map(|(at, one)| format!("{one} AS c{at}")).collect();
            let places: Vec<_> = (1..=keys.len()).map(|at| at.to_string()).collect();
            let filter = if round % 2 == 0 { conditions(&mut chance) } else { "true".to_owned() };
            let sql = |more: &str| {
                let (select, by) = (select.join(", "), places.join(", "));
                format!("SELECT {select} FROM spans WHERE ({filter}) {more} GROUP BY {by}")
            };
            let scan = sorted(&bench, &sql("")).await;
            let engine = sorted(&bench, &sql("AND random() >= 0")).await;
            assert_eq!(scan, engine, "{} over {place:?}", sql(""));
        }
        let plan = bench.rows("EXPLAIN SELECT service_name, count(*) FROM spans GROUP BY 1").await;
        assert!(plan.last().unwrap()[1].as_str().unwrap().contains("GroupExec"), "{plan:?}");
    }
}

/// Scenario: groups over one large file, whose batches the engine would deal out to several threads.
/// Guarantees: they are told apart by places all the same, and are the engine's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_is_grouped_where_it_is_read() {
    let mut chance = Chance(17);
    let row = |at: u64| Span {
        trace: 1,
        span: at.to_le_bytes()[0],
        parent: None,
        service: chance.of(&SERVICES),
        name: chance.of(&NAMES),
        kind: "SERVER",
        status: "OK",
        start_ms: at.cast_signed(),
        duration_ns: chance.below(2_000_000).cast_signed(),
        overflow: None,
        resource: None,
    };
    let rows: Vec<Span> = (0..20_000).map(row).collect();
    let bench = Bench::start(vec![spans(&rows, Vec::new())], Place::Files).await;
    let sql = |more: &str| {
        let figures = "count(*), max(duration_ns), approx_percentile_cont(duration_ns, 0.99)";
        format!("SELECT service_name, name, {figures} FROM spans {more} GROUP BY 1, 2")
    };
    let engine = sorted(&bench, &sql("WHERE random() >= 0")).await;
    assert_eq!(engine.len(), 20);
    assert_eq!(sorted(&bench, &sql("")).await, engine);
    let plan = bench.rows(&format!("EXPLAIN {}", sql(""))).await;
    let plan = plan.last().unwrap()[1].as_str().unwrap().to_owned();
    assert!(plan.contains("GroupExec") && !plan.contains("RoundRobin"), "{plan}");
}

/// Scenario: the first rows by random orders that leave none equal.
/// Guarantees: the same rows in the same order; the scan says that it knows of the order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_know_the_first_rows() {
    const ORDERS: [&str; 6] = [
        "start_time DESC",
        "start_time",
        "duration_ns DESC NULLS LAST",
        "name, duration_ns",
        "attributes['http.response.status_code'] DESC",
        "duration_ns % 1000",
    ];
    for (seed, place) in Place::ALL.into_iter().enumerate() {
        let mut chance = Chance(seed as u64 * 15_485_863 + 3);
        let bench = Bench::start(fixture(&mut chance), place).await;
        for _ in 0..30 {
            let order = chance.of(&ORDERS);
            let rows = chance.of(&[1, 5, 50, 1_000]);
            let filter = conditions(&mut chance);
            let sql = |more: &str| {
                format!(
                    "SELECT name, duration_ns / 2 AS half, span_id, trace_id, start_time FROM spans \
                     WHERE ({filter}) {more} ORDER BY {order}, span_id, start_time, trace_id LIMIT {rows}"
                )
            };
            let engine = bench.rows(&sql("AND random() >= 0")).await;
            assert_eq!(bench.rows(&sql("")).await, engine, "{} over {place:?}", sql(""));
        }
        let explain = "EXPLAIN SELECT name FROM spans ORDER BY start_time DESC LIMIT 3";
        let plan = bench.rows(explain).await;
        assert!(plan.last().unwrap()[1].as_str().unwrap().contains("first=3 by"), "{plan:?}");
    }
}
