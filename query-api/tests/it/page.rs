//! The page's own code: the queries that it asks, and the trace that it draws.

use std::process::Command;

use serde_json::json;

use crate::bench::{Bench, Place};
use crate::places::fixture;
use crate::rows::profiles;

const APP: &str = include_str!("../../ui/app.js");

/// The text between the first `open` after `from` and the next `close`.
fn between<'t>(text: &'t str, from: &str, open: &str, close: &str) -> &'t str {
    let (_, text) = text.split_once(from).unwrap();
    let (_, text) = text.split_once(open).unwrap();
    text.split_once(close).unwrap().0
}

/// Scenario: the queries in the page's source, with the parameters that it gives.
/// Guarantees: they run, and find the requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_queries_run() {
    let mut rows = fixture();
    rows.push(profiles(&[("shop", "cpu", 30, &["parse", "main"]), ("shop", "cpu", 5, &["main"])]));
    let bench = Bench::start(rows, Place::Both).await;
    let request = between(APP, "const REQUEST", "`", "`");
    let ask = async |sql: &str, params: serde_json::Value| -> serde_json::Value {
        let body = json!({ "query": sql.replace("${REQUEST}", request), "params": params });
        bench.ask(body, "application/json").await.json().await.unwrap()
    };
    let since = "2026-11-21T10:00:00.000Z";
    let services = between(APP, "async function refresh", "sql(`", "`");
    let answer = ask(services, json!([since])).await;
    assert_eq!(answer["rows"][0][0], "shop", "{answer:#}");
    assert_eq!(answer["rows"][0][1], 3);
    let requests = between(APP, services, "sql(`", "`");
    let answer = ask(requests, json!([since, null])).await;
    assert_eq!(answer["rows"].as_array().unwrap().len(), 3, "{answer:#}");
    let answer = ask(requests, json!([since, "pay"])).await;
    assert_eq!(answer["rows"].as_array().unwrap().len(), 0, "{answer:#}");
    let work = between(APP, "async function showWork", "sql(`", "`");
    let span = "c2".repeat(8);
    for (span, frames) in [(json!(null), 2), (json!(span), 2), (json!("a1".repeat(8)), 0)] {
        let times = ["2026-11-21T10:00:00.000Z", "2026-11-21T11:00:00.000Z"];
        let answer = ask(work, json!([times[0], times[1], "c1".repeat(16), span])).await;
        assert_eq!(answer["rows"].as_array().unwrap().len(), frames, "{answer:#}");
    }
    let first = between(include_str!("../../ui/index.html"), "<textarea", ">", "</textarea>");
    let answer = ask(first, json!([])).await;
    assert_eq!(answer["rows"][0][0], "shop", "{answer:#}");
}

/// Scenario: the source of the page.
/// Guarantees: no text from outside can become markup or code.
#[test]
fn nothing_becomes_markup() {
    let (trace, flame) = (include_str!("../../ui/trace.js"), FLAME);
    for text in [APP, trace, flame, include_str!("../../ui/index.html")] {
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!text.contains(way), "{way}");
        }
        assert!(!text.contains("style=") && !text.contains("onclick="), "the policy forbids it");
    }
}

const FLAME: &str = include_str!("../../ui/flame.js");

const FLAME_CHECK: &str = r#"
import { isFlame, treesOf, layout } from './flame.js';
import assert from 'node:assert';
const columns = ['sample_type', 'unit', 'depth', 'frame', 'total', 'self', 'path'].map((name) => ({ name }));
assert.ok(isFlame(columns) && !isFlame(columns.slice(0, 5)));
const row = (depth, frame, total, path, type = 'cpu') => [type, 'ns', depth, frame, total, 0, path];
const rows = [row(1, 'b', 30, 'main;b'), row(2, 'c', 10, 'main;b;c'), row(0, 'main', 40, 'main'), row(1, 'd', 10, 'main;d'),
  row(0, 'main', 7, 'main', 'wall'), row(2, 'lost', 3, 'gone;x;lost')];
const [cpu, wall] = treesOf(columns, rows);
assert.deepStrictEqual([cpu.name, cpu.total, wall.name, wall.total], ['cpu, ns', 40, 'wall, ns', 7]);
const drawn = (chosen) => layout(chosen).map(({ node, left, width, row }) => [node.name, left, width, row]);
assert.deepStrictEqual(drawn(cpu).sort((one, other) => one[3] - other[3] || one[1] - other[1]),
  [['cpu, ns', 0, 1, 0], ['main', 0, 1, 1], ['b', 0, 0.75, 2], ['d', 0.75, 0.25, 2], ['c', 0, 0.25, 3]]);
assert.deepStrictEqual(drawn(cpu.children[0].children[0]), [['b', 0, 1, 0], ['c', 0, 10 / 30, 1]]);
"#;

/// Scenario: frames of two kinds of samples, children before parents, a frame whose caller was cut off.
/// Guarantees: a tree for each kind; a frame is as wide as its share, above what called it; a chosen
/// frame is as wide as the place.
#[test]
fn every_frame_is_above_its_caller() {
    let flame = FLAME.replace("'/ui/trace.js'", "'./trace.js'");
    run_in_node(&[("flame.js", &flame), ("check.js", FLAME_CHECK)]);
}

/// Runs `check.js` beside the page's own module; does nothing where there is no Node.js.
fn run_in_node(files: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let shared = [
        ("trace.js", include_str!("../../ui/trace.js")),
        ("package.json", "{\"type\":\"module\"}"),
    ];
    for (name, text) in shared.iter().chain(files) {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let ran = Command::new("node").arg("check.js").current_dir(folder.path()).output();
    let Ok(ran) = ran else {
        println!("skipped: there is no `node` here");
        return;
    };
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

const CHECK: &str = r#"
import { spansOf, attributesOf, duration } from './trace.js';
import assert from 'node:assert';
const span = (spanId, parentSpanId, start) => ({ spanId, parentSpanId, name: spanId, startTimeUnixNano: start, endTimeUnixNano: '30' });
const trace = { resourceSpans: [{ resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] },
  scopeSpans: [{ spans: [span('c', 'a', '3'), span('b', 'a', '2'), span('a', '', '1'), span('x', 'y', '9'), span('y', 'x', '9'), span('o', 'gone', '8')] }] }] };
const rows = spansOf(trace).map(({ span, depth }) => span.spanId + depth);
assert.deepStrictEqual(rows, ['a0', 'b1', 'c1', 'o0', 'x0', 'y1']);
assert.strictEqual(spansOf(trace)[0].span.service, 'shop');
assert.deepStrictEqual(attributesOf([{ key: 'k', value: { intValue: '7' } }, { key: 'l', value: { arrayValue: { values: [{ boolValue: true }] } } }, { key: 'n', value: {} }]),
  [['k', '7'], ['l', '[true]'], ['n', 'null']]);
assert.strictEqual(duration(1500000n), '1.5 ms');
assert.strictEqual(duration(2e9), '2.00 s');
"#;

/// Scenario: a trace with children before parents, a lost parent and a circle of parents.
/// Guarantees: every span is drawn once, below its parent where there is one.
#[test]
fn every_span_is_drawn_once() {
    run_in_node(&[("check.js", CHECK)]);
}
