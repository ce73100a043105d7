//! The named scripts on what the probes told of a small shop, recorded by scripts/record_capture.py.

use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};

use crate::icecore::{Icecore, Start};

const TRUTH: &str = include_str!("recorded/truth.json");
const SIGNALS: [(&str, &[u8]); 3] = [
    ("traces", include_bytes!("recorded/traces.json.gz")),
    ("metrics", include_bytes!("recorded/metrics.json.gz")),
    ("logs", include_bytes!("recorded/logs.json.gz")),
];
/// Requests, each behind its length.
const PROFILES: &[u8] = include_bytes!("recorded/profiles.gz");

/// How often the shop did what, as it counted itself: in two halves of which the second is worse. Of the
/// half's users, orders, missing pages and broken ones each is a request of its own.
struct Truth {
    from: String,
    at: String,
    to: String,
    users: i64,
    orders: i64,
    missing: i64,
    broken: i64,
    /// Segments that were lost on their way to the mail.
    dropped: i64,
    /// What the process behind `web` had of a processor.
    cpu_s: f64,
}

impl Truth {
    fn read() -> Self {
        let truth: Value = serde_json::from_str(TRUTH).unwrap();
        let figure = |name: &str| truth[name].as_i64().unwrap();
        let [from, at, to] =
            ["from", "at", "to"].map(|name| truth[name].as_str().unwrap().to_owned());
        let [users, orders, missing, broken] = ["users", "orders", "missing", "broken"].map(figure);
        let (dropped, cpu_s) = (figure("dropped"), truth["cpu_s"].as_f64().unwrap());
        Self { from, at, to, users, orders, missing, broken, dropped, cpu_s }
    }

    /// Of both halves.
    fn requests(&self) -> i64 {
        2 * (self.users + self.orders + self.missing + self.broken)
    }

    /// Orders fail in the second half, broken pages in both.
    fn failed(&self) -> i64 {
        self.orders + 2 * self.broken
    }
}

type Row = Map<String, Value>;

/// A running Icecore that has the recording.
struct Shop {
    icecore: Icecore,
    truth: Truth,
}

impl Shop {
    async fn open(folder: &Path) -> Self {
        let icecore = Start::new(folder).run();
        let unpacked = |packed: &[u8]| {
            let mut body = Vec::new();
            GzDecoder::new(packed).read_to_end(&mut body).unwrap();
            body
        };
        let post = async |path: &str, kind: &str, body: Vec<u8>| {
            let request = reqwest::Client::new().post(format!("{}/{path}", icecore.http));
            let sent = request.header("content-type", kind).body(body).send().await.unwrap();
            assert!(sent.status().is_success(), "{path}: {}", sent.status());
            sent.bytes().await.unwrap()
        };
        for (signal, packed) in SIGNALS {
            let answer = post(&format!("v1/{signal}"), "application/json", unpacked(packed)).await;
            assert_eq!(answer, "{}", "{signal}");
        }
        let profiles = unpacked(PROFILES);
        let mut rest = profiles.as_slice();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (one, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
            let kind = "application/x-protobuf";
            let answer = post("v1development/profiles", kind, one.to_vec()).await;
            assert!(answer.is_empty(), "{answer:?}");
            rest = behind;
        }
        Self { icecore, truth: Truth::read() }
    }

    /// The rows of a script over the recording, with more parameters.
    async fn run(&self, script: &str, more: Value) -> Vec<Row> {
        let Truth { from, to, .. } = &self.truth;
        let mut params = json!({ "since": from, "until": to, "limit": 10_000 });
        for (name, value) in more.as_object().unwrap() {
            params[name] = value.clone();
        }
        let url = format!("{}/api/v1/scripts/{script}", self.icecore.api);
        let request = reqwest::Client::new().post(url).json(&json!({ "params": params }));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let columns = answer["columns"].as_array().unwrap_or_else(|| panic!("{script}: {answer}"));
        let row = |row: &Value| {
            let names = columns.iter().map(|column| column["name"].as_str().unwrap().to_owned());
            names.zip(row.as_array().unwrap().iter().cloned()).collect()
        };
        answer["rows"].as_array().unwrap().iter().map(row).collect()
    }

    /// The rows of a script that have these values.
    async fn rows_of(&self, script: &str, more: Value, wanted: Value) -> Vec<Row> {
        let mut rows = self.run(script, more).await;
        rows.retain(|row| has(row, &wanted));
        rows
    }

    /// The one row of a script that has these values, which has those too.
    async fn check(&self, script: &str, more: Value, wanted: Value, told: Value) {
        let all = self.run(script, more).await;
        let rows: Vec<&Row> = all.iter().filter(|row| has(row, &wanted)).collect();
        let [row] = rows[..] else { panic!("{script}: {wanted} is in {} of {all:#?}", rows.len()) };
        assert!(has(row, &told), "{script}: {told} of {row:#?}");
    }
}

fn has(row: &Row, wanted: &Value) -> bool {
    wanted.as_object().unwrap().iter().all(|(name, wanted)| match (&row[name], wanted) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            (one.as_f64().unwrap() - other.as_f64().unwrap()).abs() < 1e-9
        }
        (one, other) => one == other,
    })
}

fn number(row: &Row, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("{name} of {row:#?}"))
}

fn share(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

fn total(rows: &[Row], name: &str) -> f64 {
    rows.iter().map(|row| number(row, name)).sum()
}

/// Scenario: a shop behind HTTP that asks Redis, PostgreSQL, a DNS server and Kafka, each seen by the probes
/// on both sides; in its second half orders fail at the database, of which it tells by the official SDK as well, the
/// bank's name is not found, and users cost time. Segments are lost on the way to its mail.
/// Guarantees: each script counts what the shop counted, where it happened, failed as it failed.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_tell_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::open(folder.path()).await;
    check_places(&shop).await;
    check_http(&shop).await;
    check_databases(&shop).await;
    check_names_and_queues(&shop).await;
    check_edges(&shop).await;
    check_network_and_processes(&shop).await;
    check_losses(&shop).await;
    check_exceptions(&shop).await;
    check_flame_graph(&shop).await;
    check_what_changed(&shop).await;
    shop.icecore.stop();
}

/// Clusters, namespaces, nodes, pods and services.
async fn check_places(shop: &Shop) {
    let truth = &shop.truth;
    let answered = json!({ "requests": truth.requests(), "error_share": share(truth.failed(), truth.requests()) });
    let web = json!({ "service": "web" });
    let whole = json!({ "cluster": "eu-1" });
    shop.check("cluster", json!({}), whole, json!({ "namespaces": 1, "nodes": 2 })).await;
    shop.check("namespaces", json!({}), json!({ "namespace": "shop" }), json!({})).await;
    shop.check("namespace", json!({ "namespace": "shop" }), web.clone(), answered.clone()).await;
    shop.check("services", json!({ "namespace": "shop" }), web.clone(), answered.clone()).await;
    shop.check("node", json!({ "node": "node-a" }), web.clone(), answered.clone()).await;
    let nodes = shop.run("nodes", json!({})).await;
    assert!(nodes.iter().any(|node| node["node"] == "node-a"), "{nodes:#?}");
    let pod = json!({ "pod": "web-0", "node": "node-a", "namespace": "shop" });
    shop.check("pods", json!({}), pod, answered).await;
    for (script, which) in [("pod", json!({ "pod": "web-0" })), ("service", web.clone())] {
        let rows = shop.run(script, which).await;
        assert_eq!(total(&rows, "requests"), truth.requests() as f64, "{script}: {rows:#?}");
        assert!(rows.iter().all(|row| row["protocol"] == "http"), "{rows:#?}");
    }
    let steps = shop.rows_of("service_stats", json!({ "step_s": 2 }), web).await;
    assert_eq!(total(&steps, "requests"), truth.requests() as f64);
    assert!(steps.len() >= 2, "{steps:#?}");
}

async fn check_http(shop: &Shop) {
    let truth = &shop.truth;
    let web = json!({ "service": "web" });
    let rows = shop.run("http_data", web.clone()).await;
    for (method, status, count) in [
        ("GET", "200", 2 * truth.users),
        ("POST", "201", truth.orders),
        ("POST", "500", truth.orders),
        ("GET", "404", 2 * truth.missing),
        ("GET", "503", 2 * truth.broken),
    ] {
        let alike = rows.iter().filter(|row| row["method"] == method && row["status"] == status);
        assert_eq!(alike.count() as i64, count, "{method} {status}");
    }
    let orders = rows.iter().filter(|row| row["method"] == "POST");
    assert!(orders.clone().all(|row| row["request_bytes"] == 64 && row["pod"] == "web-0"));
    let failed =
        json!({ "service": "web", "status_min": 500, "path": "/orders/%", "method": "POST" });
    let rows = shop.run("http_data_filtered", failed).await;
    assert_eq!(rows.len() as i64, truth.orders);
    for (path, method, status, errors) in [
        ("/orders/{id}", "POST", "500", truth.orders),
        ("/nothing/{id}", "GET", "404", 2 * truth.missing),
        ("/broken/{id}", "GET", "503", 2 * truth.broken),
    ] {
        let wanted = json!({ "path": path, "method": method, "status": status });
        shop.check("http_errors", web.clone(), wanted, json!({ "errors": errors })).await;
    }
    let slow = json!({ "service": "web", "duration_min_ms": 120 });
    let slow = shop.run("slow_requests", slow).await;
    assert!(slow.len() as i64 >= truth.users && slow.iter().all(|row| row["failed"] == false));
    for (template, count) in [
        ("/users/{id}", 2 * truth.users),
        ("/orders/{id}", 2 * truth.orders),
        ("/nothing/{id}", 2 * truth.missing),
        ("/broken/{id}", 2 * truth.broken),
    ] {
        let told = json!({ "requests": count, "paths": count });
        let wanted = json!({ "template": template });
        shop.check("http_request_clusters", web.clone(), wanted, told).await;
    }
}

async fn check_databases(shop: &Shop) {
    let truth = &shop.truth;
    let web = json!({ "service": "web" });
    let inserts = "INSERT INTO orders VALUES (?)";
    for (statement, calls, failed) in [
        ("SELECT name, price FROM items WHERE id = ?", 2 * truth.users, 0),
        (inserts, 2 * truth.orders, truth.orders),
    ] {
        let wanted = json!({ "system": "postgresql", "statement": statement });
        let told = json!({ "calls": calls, "error_share": share(failed, calls) });
        shop.check("sql_stats", web.clone(), wanted, told).await;
    }
    let failed = json!({ "system": "postgresql", "statement": inserts, "failed": true });
    let failed = shop.rows_of("sql_queries", web.clone(), failed).await;
    assert_eq!(failed.len() as i64, truth.orders);
    assert!(failed.iter().all(|row| row["error"] == "23505"), "{failed:#?}");
    let gets = shop.rows_of("redis_data", web, json!({ "command": "GET", "failed": false })).await;
    assert_eq!(gets.len() as i64, 2 * truth.users);
}

async fn check_names_and_queues(shop: &Shop) {
    let truth = &shop.truth;
    let web = json!({ "service": "web" });
    let asked = shop.rows_of("dns_data", web.clone(), json!({ "type": "A" })).await;
    assert_eq!(asked.len() as i64, 2 * truth.users + truth.orders);
    let found = asked.iter().filter(|row| row["error"].is_null());
    assert!(found.clone().all(|row| row["answers"].as_str().unwrap().contains("192.0.2.7")));
    assert_eq!(found.count() as i64, 2 * truth.users);
    let bank = json!({ "question": "bank.none.test", "type": "A", "error": "NXDOMAIN" });
    let told = json!({ "queries": truth.orders, "errors": truth.orders });
    shop.check("dns_errors", web.clone(), bank, told).await;
    let sent = json!({ "topic": "orders", "operation": "send" });
    let told = json!({ "messages": truth.orders, "error_share": 0.0 });
    shop.check("kafka_topics", web, sent, told).await;
}

async fn check_edges(shop: &Shop) {
    let truth = &shop.truth;
    let edge = |client: &str, server: &str| json!({ "client": client, "server": server });
    // To a client a page that is missing is an error, to a server it is not.
    let failed = truth.failed() + 2 * truth.missing;
    let told = json!({ "calls": truth.requests(), "error_share": share(failed, truth.requests()) });
    shop.check("service_edges", json!({}), edge("shopper", "web"), told).await;
    for server in ["cache", "postgres", "queue"] {
        shop.check("service_edges", json!({}), edge("web", server), json!({})).await;
    }
}

async fn check_network_and_processes(shop: &Shop) {
    let web = json!({ "service": "web" });
    let flows = shop.run("net_flows", json!({ "service": "shopper" })).await;
    for direction in ["transmit", "receive"] {
        let one_way: Vec<Row> =
            flows.iter().filter(|row| row["direction"] == direction).cloned().collect();
        assert!(total(&one_way, "bytes") > 1000.0, "{direction}: {flows:#?}");
    }
    let processes = shop.run("processes", web.clone()).await;
    let [process] = &processes[..] else { panic!("{processes:#?}") };
    assert!(number(process, "cpu") > 0.01 && number(process, "memory_bytes") > 5e6, "{process:#?}");
    let seen = shop.run("upids", json!({})).await;
    // The database's own process sends nothing, but uses something.
    for (service, sends) in
        [("web", true), ("shopper", true), ("cache", true), ("db", false), ("queue", true)]
    {
        let of_service: Vec<&Row> = seen.iter().filter(|row| row["service"] == service).collect();
        let [process] = of_service[..] else { panic!("{service}: {seen:#?}") };
        assert_eq!(process["pod"], format!("{service}-0"), "{process:#?}");
        assert_eq!(number(process, "spans") > 0.0, sends, "{process:#?}");
    }
}

/// Those who bring letters send again what the kernel threw away on its way in.
async fn check_losses(shop: &Shop) {
    let dropped = shop.truth.dropped as f64;
    assert!(dropped > 4.0);
    let to_mail = json!({ "service": "mail", "reason": "netfilter_drop" });
    let told = json!({ "pod": "mail-0", "peer": "127.0.0.1", "segments": dropped });
    shop.check("tcp_drops", json!({}), to_mail, told).await;
    assert_eq!(shop.run("tcp_drops", json!({})).await.len(), 1);
    let again = shop.run("tcp_retransmits", json!({ "service": "courier" })).await;
    let [row] = &again[..] else { panic!("{again:#?}") };
    assert!(number(row, "segments") >= dropped && row["pod"] == "courier-0", "{again:#?}");
    let others = shop.run("tcp_retransmits", json!({ "service": "shopper" })).await;
    assert_eq!(total(&others, "segments"), 0.0, "{others:#?}");
}

/// Each order that failed threw one, of which a span tells and a log record.
async fn check_exceptions(shop: &Shop) {
    let orders = shop.truth.orders;
    let rows = shop.run("exceptions", json!({})).await;
    for of in ["psycopg.errors.UniqueViolation", "UniqueViolation"] {
        let told = json!({ "service": "web", "exceptions": orders, "operations": 1 });
        shop.check("exceptions", json!({}), json!({ "type": of }), told).await;
    }
    assert_eq!(rows.len(), 2, "{rows:#?}");
    for row in &rows {
        assert!(row["message"].as_str().unwrap().contains("orders_pkey"), "{row:#?}");
        assert_eq!(row["trace_id"].as_str().unwrap().len(), 32, "{row:#?}");
    }
    assert_eq!(shop.run("exceptions", json!({ "service": "cache" })).await.len(), 0);
}

/// The profiler asks 97 times a second of a processor's time; users are slow where the clock is read.
async fn check_flame_graph(shop: &Shop) {
    let rows = shop.run("perf_flamegraph", json!({ "service": "web" })).await;
    assert!(rows.iter().all(|row| row["sample_type"] == "samples" && row["unit"] == "count"));
    let (all, expected) = (total(&rows, "self"), shop.truth.cpu_s * 97.0);
    assert!((all - expected).abs() < 0.15 * expected, "{all} samples, not {expected}");
    let roots = rows.iter().filter(|row| row["depth"] == 0).cloned().collect::<Vec<_>>();
    assert_eq!(total(&roots, "total"), all, "each is under one root");
    let clock: Vec<Row> =
        rows.iter().filter(|row| row["frame"] == "__x64_sys_clock_gettime").cloned().collect();
    assert!(total(&clock, "total") > 0.1 * all, "{clock:#?}");
    let idle = shop.run("perf_flamegraph", json!({ "service": "mail" })).await;
    assert!(total(&idle, "self") < 0.1 * all, "{idle:#?}");
}

/// Orders fail now, and users wait.
async fn check_what_changed(shop: &Shop) {
    let moment = json!({ "at": shop.truth.at, "service": "web" });
    let rows = shop.run("what_changed", moment).await;
    let of = |what: &str, facet: &str| {
        let wanted = json!({ "what": what, "facet": facet });
        let found = rows.iter().find(|row| has(row, &wanted));
        found.unwrap_or_else(|| panic!("{what} {facet} of {rows:#?}"))
    };
    let whole = of("service", "");
    assert!(number(whole, "errors_after") > number(whole, "errors_before"), "{whole:#?}");
    let inserts = of("attribute", "db.query.text=INSERT INTO orders VALUES (?)");
    assert!(number(inserts, "errors_before") == 0.0 && number(inserts, "errors_after") == 1.0);
    let slower = of("attribute", "http.response.status_code=200");
    let [before, after] = ["p95_ms_before", "p95_ms_after"].map(|name| number(slower, name));
    assert!(after > 120.0 && after > before, "{slower:#?}");
}
