//! Processes of one role each over one bucket: queries see what ingesters have not flushed yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::icecore::{Icecore, PATIENCE, Start};
use crate::otlp::{post, post_to, request};
use crate::readers;
use crate::{peers, tail};

/// A bucket and the processes over it.
struct Processes {
    folder: TempDir,
}

impl Processes {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A process with a data directory of its own.
    fn start(&self, role: &'static str, name: &str) -> Start {
        let bucket = format!("file://{}", self.folder.path().join("bucket").display());
        let start = Start::new(&self.folder.path().join(name)).role(role);
        // A catalog that is read on by the clock would hide one that is not read on when it must be.
        start.arg("storage", &bucket).arg("refresh-interval", "1h")
    }

    fn ingest(&self, name: &str, flush_after: &str) -> Icecore {
        self.start("ingest", name).arg("flush-after", flush_after).run()
    }

    fn query(&self, ingesters: &[String]) -> Icecore {
        self.start("query", "query").arg("ingesters", &ingesters.join(",")).run()
    }
}

fn named(ingester: &Icecore) -> String {
    format!("http://{}", ingester.live)
}

fn incomplete(answer: &Value) -> Vec<&str> {
    let texts = answer["stats"]["incomplete"].as_array().unwrap();
    texts.iter().map(|text| text.as_str().unwrap()).collect()
}

/// Scenario: spans, points of every kind and log records, with all that OTLP has, at an ingester that
/// does not flush; then it stops, which flushes.
/// Guarantees: a query process answers the same before and after: whole rows, single keys, conditions,
/// aggregates, a trace as OTLP; the first answers are of live rows, the last ones of files.
#[tokio::test(flavor = "multi_thread")]
async fn live_rows_of_another_process_are_those_that_are_stored() {
    let processes = Processes::new();
    let ingester = processes.ingest("one", "1h");
    for round in 0..4 {
        readers::send(&ingester, round).await;
    }
    for number in 0..30 {
        let sent = post(&ingester.http, request("far", number * 500, 500)).await;
        assert!(sent.status().is_success());
    }
    let query = processes.query(&[named(&ingester)]);
    let questions = [
        "SELECT * FROM spans ORDER BY trace_id, span_id",
        "SELECT * FROM metrics ORDER BY metric_name, attributes['number'], time",
        "SELECT * FROM logs ORDER BY attributes['number'], time",
        "SELECT attributes['mixed'], attributes['list'], resource['k8s.pod.name'] FROM spans
         WHERE attributes['even'] ORDER BY trace_id, span_id",
        "SELECT service_name, name, count(*), approx_percentile_cont(duration_ns, 0.99) FROM spans
         GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT count(*) FROM spans WHERE trace_id = '00000000000000000000000000000005'",
        "SELECT * FROM trace('00000000000000000000000000000005') ORDER BY trace_id, span_id",
        "SELECT count(*) FROM metrics WHERE array_length(exemplars) > 0",
    ];
    let path = "/api/v1/traces/00000000000000000000000000000005";
    let mut live = Vec::new();
    for question in questions {
        let answer = query.post_sql(question).await;
        assert!(incomplete(&answer).is_empty(), "{question}: {answer}");
        assert_ne!(answer["stats"]["live_rows"], 0, "{question}: {}", answer["stats"]);
        assert!(!answer["rows"].as_array().unwrap().is_empty(), "{question}");
        live.push(answer["rows"].clone());
    }
    let trace: Value = query.get(path).await.json().await.unwrap();
    let own = query.post_sql("SELECT count(*) FROM spans WHERE trace_id = '01'").await;
    assert_eq!(own["rows"][0][0], 0);
    ingester.stop();
    drop(query);
    // Nobody is named any more: what it answers is in files.
    let query = processes.start("query", "query").run();
    for (question, live) in questions.iter().zip(live) {
        let stored = query.post_sql(question).await;
        assert_eq!(stored["stats"]["live_rows"], 0, "{question}");
        assert_eq!(stored["rows"], live, "{question}");
    }
    let stored: Value = query.get(path).await.json().await.unwrap();
    assert_eq!(spans_of(&stored), spans_of(&trace));
}

/// The spans of a trace in a form that compares.
fn spans_of(trace: &Value) -> Vec<Value> {
    crate::otlp::items(trace, ["resourceSpans", "scopeSpans", "spans"])
}

/// Scenario: two ingesters that flush all the time while senders send, and a query process that reads
/// the catalog only where it must, asked all the while; then one of the ingesters is killed, and comes
/// back.
/// Guarantees: each answer has every span that was acknowledged before it was asked for, and none
/// twice; while one is away it is named, and the other's rows are there; afterwards all are.
#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_seen_once_while_ingesters_flush() {
    let _held = peers::noisy().await;
    let processes = Processes::new();
    let flush_after = "120ms";
    let ingesters = [processes.ingest("one", flush_after), processes.ingest("two", flush_after)];
    // The same ingester by two names is one.
    let port = ingesters[0].live.rsplit(':').next().unwrap();
    let names = [named(&ingesters[0]), named(&ingesters[1]), format!("dns://localhost:{port}")];
    let query = processes.query(&names);
    let acknowledged = Arc::new(AtomicI64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..2_u64)
        .map(|sender| {
            let http = ingesters[usize::try_from(sender).unwrap()].http.clone();
            let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
            tokio::spawn(send(http, sender * 1_000_000_000, acknowledged, stop))
        })
        .collect();
    let (mut asked, mut of_live) = (0, 0);
    let end = tokio::time::Instant::now() + Duration::from_secs(8);
    while tokio::time::Instant::now() < end {
        let before = acknowledged.load(Ordering::SeqCst);
        let answer = query.post_sql("SELECT count(*), count(DISTINCT span_id) FROM spans").await;
        assert!(incomplete(&answer).iter().all(|why| why.contains("in part")), "{answer}");
        let number = |at: usize| answer["rows"][0][at].as_i64().unwrap();
        assert_eq!(number(0), number(1), "rows are there twice");
        let torn = !incomplete(&answer).is_empty();
        assert!(torn || number(0) >= before, "{} of {before} acknowledged", number(0));
        asked += 1;
        of_live += i64::from(answer["stats"]["live_rows"] != 0);
    }
    stop.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
    assert!(asked > 5 && of_live > 0, "{asked} answers, of these {of_live} with live rows");
    let [one, two] = ingesters;
    let all = acknowledged.load(Ordering::SeqCst);
    let sent = post(&two.http, request("late", 5_000_000_000, 10)).await;
    assert!(sent.status().is_success());
    let (address, name) = (two.live.clone(), named(&two));
    two.kill();
    let answer = query.post_sql("SELECT count(*) FROM spans").await;
    let said = incomplete(&answer);
    let wanted = format!("live rows of spans: ingester {address} did not answer: ");
    assert!(said.len() == 1 && said[0].starts_with(&wanted), "{said:?}");
    let found = answer["rows"][0][0].as_i64().unwrap();
    assert!(found <= all + 10, "{found} of {}", all + 10);
    let two = processes.start("ingest", "two").arg("live-addr", &address).run();
    assert_eq!(named(&two), name);
    assert_eq!(query.wait_for("SELECT count(*) FROM spans", all + 10).await, all + 10);
    let answer = query.post_sql("SELECT count(*) FROM spans").await;
    assert!(incomplete(&answer).is_empty(), "{answer}");
    drop((one, two));
}

async fn send(http: String, first: u64, acknowledged: Arc<AtomicI64>, stop: Arc<AtomicBool>) {
    let client = reqwest::Client::new();
    let mut number = first;
    while !stop.load(Ordering::SeqCst) {
        let sent = post_to(&client, &http, request("busy", number, 40)).await.unwrap();
        assert!(sent.status().is_success());
        acknowledged.fetch_add(40, Ordering::SeqCst);
        number += 40;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Scenario: names that no process can have, and one that stands for nobody.
/// Guarantees: the first are refused at start, by the setting's name; the second is told by each
/// answer, which still has what is in the bucket.
#[tokio::test(flavor = "multi_thread")]
async fn ingesters_that_cannot_be_are_told() {
    let processes = Processes::new();
    for wrong in ["ingest:7072", "https://ingest:7072", "http://ingest:7072/path"] {
        let (code, said) = processes.start("query", "query").arg("ingesters", wrong).refused();
        assert_eq!(code, Some(2), "{wrong}: {said}");
        assert!(said.contains("ingester"), "{wrong}: {said}");
    }
    let query = processes.query(&["dns://nobody.invalid:7072".to_owned()]);
    let answer = query.post_sql("SELECT count(*) FROM spans").await;
    let said = incomplete(&answer);
    assert!(said.len() == 1 && said[0].contains("dns://nobody.invalid:7072"), "{said:?}");
    assert_eq!(answer["rows"][0][0], 0);
}

/// Scenario: somebody looks on at a query process while spans arrive at an ingester, which then goes.
/// Guarantees: the rows are shown as they arrive; that the ingester is away is said, and the rest goes
/// on.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_shown_as_they_arrive_elsewhere() {
    let processes = Processes::new();
    let ingester = processes.ingest("one", "1h");
    let query = processes.query(&[named(&ingester)]);
    let tail = tail::Tail::start(&query, &["spans", "-o", "ndjson"]);
    tail::until(&query, "icecore_query_tails", 1).await;
    for number in 0..5 {
        let sent = post(&ingester.http, request("far", number * 4, 4)).await;
        assert!(sent.status().is_success());
        tail::until(&query, "icecore_query_tail_rows_total{rows=\"shown\"}", (number + 1) * 4)
            .await;
    }
    ingester.kill();
    tokio::time::sleep(PATIENCE / 20).await;
    tail.interrupt();
    let (code, rows, said) = tail.ended();
    assert_eq!((code, rows.len()), (Some(0), 20), "{said}");
    assert!(said.contains("an ingester does not answer"), "{said}");
}
