//! Conditions as retention and erasure use them, against the same conditions in SQL.

use futures::TryStreamExt as _;
use icecore_query::SqlConditions;
use icecore_store::{Condition, Conditions as _, RowPlace, Table, TimeRange, project};

use crate::bench::{Bench, Place};
use crate::places::fixture;

/// Conditions on spans that the fixture tells apart.
const CONDITIONS: [&str; 26] = [
    "true",
    "false",
    "null",
    "service_name = 'shop'",
    "service_name <> 'shop' OR name LIKE 'GET%'",
    "kind = 'CLIENT' AND status_code = 'ERROR'",
    "trace_id = 'A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1'",
    "trace_id IN ('a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2', 'no id')",
    "parent_span_id IS NULL",
    "start_time >= '2026-11-21T11:30:00Z'",
    "start_time BETWEEN '2026-11-21T10:00:00Z' AND '2026-11-21T10:00:00.5Z'",
    "duration_ns / 1e6 > 80",
    "attributes['http.route'] = '/cart'",
    "attributes['http.route'] IS NULL",
    "attributes['http.response.status_code'] >= 400",
    "attributes['http.response.status_code'] = '404'",
    "attributes['cart.total'] > 3.5 OR attributes['cart.total'] = 3",
    "attributes['beta']",
    "NOT attributes['beta'] = true",
    "attributes['mixed'] = 5",
    "attributes['mixed'] = 'x'",
    "attributes['nowhere'] = 'x'",
    "resource['host.name'] = 'a'",
    "resource['k8s.pod.name'] LIKE 'shop-%'",
    "'user.tags' = ANY(map_keys(attributes))",
    "attributes['rare'] IN (7, 8) AND service_name = 'shop'",
];

async fn matching(bench: &Bench, condition: &dyn Condition) -> usize {
    let snapshot = bench.store.snapshot();
    let mut found = 0;
    for file in snapshot.files(Table::Spans, TimeRange::ALL) {
        let rows = bench.store.read_rows(&file, TimeRange::ALL);
        let rows: Vec<_> = rows.try_collect().await.unwrap();
        let count = |rows| {
            let columns = project(rows, Table::Spans, condition.columns()).unwrap();
            let matches = condition.matches(&columns).unwrap();
            assert!(arrow::array::Array::nulls(&matches).is_none());
            matches.true_count()
        };
        let here: usize = rows.iter().map(count).sum();
        let RowPlace { time, keys, .. } = condition.place();
        let inside = time.is_some_and(|time| time.overlaps(&file.time));
        assert!(here == 0 || inside, "{:?}", condition.place());
        for (map, key) in keys.iter().filter(|_| here > 0) {
            let column =
                file.layout.attributes.iter().any(|known| known.map == *map && known.key == *key);
            let overflow =
                file.layout.overflow.iter().any(|known| known.map == *map && known.key == *key);
            assert!(column || overflow, "{key} is in no file that has such rows");
        }
        found += here;
    }
    found
}

/// Scenario: conditions of every kind over files whose keys differ in column and type.
/// Guarantees: as many rows as SQL finds, null counts as no, and where the rows are said to be,
/// they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_find_what_sql_finds() {
    let bench = Bench::start(fixture(), Place::Files).await;
    let conditions = SqlConditions::new();
    let snapshot = bench.store.snapshot();
    let mut sizes = std::collections::BTreeSet::new();
    for sql in CONDITIONS {
        let rows = bench.rows(&format!("SELECT count(*) FROM spans WHERE {sql}")).await;
        let expected = rows[0][0].as_u64().unwrap();
        let condition = conditions.compile(Table::Spans, sql, &snapshot);
        let condition = condition.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(matching(&bench, &*condition).await as u64, expected, "{sql}");
        sizes.insert(expected);
    }
    assert!(sizes.len() >= 4, "the fixture tells them apart: {sizes:?}");
}

/// Scenario: texts that are no conditions on one row.
/// Guarantees: each is refused in the words of whoever wrote it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_condition_is_refused() {
    let bench = Bench::start(fixture(), Place::Files).await;
    let snapshot = bench.store.snapshot();
    let conditions = SqlConditions::new();
    for (sql, said) in [
        ("nonsense = 1", "nonsense"),
        ("name", "not true or false"),
        ("service_name = 'a' FROM spans; DROP TABLE spans", "SQL"),
        ("true) OR (true", "SQL"),
        ("", "SQL"),
        ("count(*) > 1", "aggregate"),
        ("start_time > now()", "same at any time"),
        ("random() < 0.5", "same at any time"),
        ("trace_id IN (SELECT trace_id FROM spans)", ""),
        ("name = $1", "parameter"),
    ] {
        let refused = conditions.compile(Table::Spans, sql, &snapshot);
        let text = refused.map(|_| ()).unwrap_err().to_string();
        assert!(text.contains(said) && !text.is_empty(), "{sql}: {text}");
    }
    let logs = conditions.compile(Table::Logs, "status_code = 'ERROR'", &snapshot);
    assert!(logs.is_err(), "logs have no such column");
}

/// Scenario: conditions that say where their rows are.
/// Guarantees: time, trace, service and the keys without which nothing matches are understood.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_says_where_its_rows_are() {
    let bench = Bench::start(fixture(), Place::Files).await;
    let snapshot = bench.store.snapshot();
    let place = |sql: &str| {
        let condition = SqlConditions::new().compile(Table::Spans, sql, &snapshot).unwrap();
        condition.place().clone()
    };
    assert_eq!(place("name = 'x' OR service_name = 'y'"), RowPlace::ANYWHERE);
    assert_eq!(place("service_name = 'y'").service_name.as_deref(), Some("y"));
    assert!(place("trace_id = 'a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1'").trace_id.is_some());
    assert!(place("start_time < '2026-01-01T00:00:00Z'").time.unwrap() != TimeRange::ALL);
    let keys = |sql: &str| -> Vec<String> {
        place(sql).keys.into_iter().map(|(map, key)| map.column(&key)).collect()
    };
    assert_eq!(keys("attributes['user.id'] = '42' AND name = 'x'"), ["attributes.user.id"]);
    assert_eq!(
        keys("attributes['a'] > 5 AND resource['b'] IN ('x')"),
        ["attributes.a", "resource.b"]
    );
    for sql in [
        "attributes['a'] IS NULL",
        "attributes['a'] = 'x' OR attributes['b'] = 'x'",
        "coalesce(attributes['a'], 'x') = 'x'",
        "attributes['a'] IS DISTINCT FROM 'x'",
    ] {
        assert_eq!(keys(sql), [""; 0], "{sql}");
    }
}
