//! `icecore tail`: a real server, real senders, and somebody who looks on.

use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::icecore::{Icecore, PATIENCE, Start};
use crate::otlp::{post, request};
use crate::peers;

/// `icecore tail` under way. Threads read what it writes, so that it never waits for the test.
pub(crate) struct Tail {
    child: Child,
    rows: JoinHandle<String>,
    said: JoinHandle<String>,
}

fn read(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

impl Tail {
    pub(crate) fn start(icecore: &Icecore, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_icecore"));
        command.arg("tail").args(args).env("ICECORE_URL", &icecore.api);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (rows, said) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
        Self { child, rows, said }
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    /// Its exit code, its rows, and what it said.
    pub(crate) fn ended(mut self) -> (Option<i32>, Vec<Value>, String) {
        let code = self.child.wait().unwrap().code();
        let rows = self.rows.join().unwrap();
        let rows = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (code, rows, self.said.join().unwrap())
    }
}

/// A figure of `/metrics`.
async fn figure(icecore: &Icecore, name: &str) -> u64 {
    let metrics = icecore.get("/metrics").await.text().await.unwrap();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Waits until a figure of `/metrics` is `wanted`.
pub(crate) async fn until(icecore: &Icecore, name: &str, wanted: u64) {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let now = figure(icecore, name).await;
        if now == wanted {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "{name} is {now} and not {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn numbers(rows: &[Value]) -> Vec<u64> {
    let number = |row: &Value| row["attributes"]["number"].as_str().unwrap().parse().unwrap();
    rows.iter().map(number).collect()
}

/// Scenario: three look on, for all spans, for one name of one service, and for a condition, while
/// spans arrive slowly and are flushed; one is ended by Ctrl-C, two by the server; a fourth by somebody who
/// finds it among the queries under way.
/// Guarantees: each row that is asked for is shown once and in order, nothing else, and no sample is
/// spoken of; Ctrl-C ends well, the server's end is told; a wrong condition is told as in SQL; those who
/// look on are listed with what they look for and how many rows they have, for as long as they are there.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_shown_as_they_arrive() {
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let icecore = Start::new(folder.path()).arg("flush-after", "300ms").run();
    assert!(post(&icecore.http, request("shop", 0, 10)).await.status().is_success());
    let all = Tail::start(&icecore, &[]);
    let named = Tail::start(&icecore, &["--service", "shop", "--name", "operation 13"]);
    let condition = "attributes['number'] LIKE '%7' AND service_name <> 'o''ther'";
    let chosen = Tail::start(&icecore, &["spans", "--where", condition]);
    until(&icecore, "icecore_query_tails", 3).await;
    for round in 0..20 {
        let service = if round % 4 < 2 { "shop" } else { "o'ther" };
        let sent = post(&icecore.http, request(service, 10 + round * 10, 10)).await;
        assert!(sent.status().is_success());
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    until(&icecore, "icecore_query_tail_rows_total{rows=\"arrived\"}", 600).await;
    named.interrupt();
    let (code, rows, said) = named.ended();
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(numbers(&rows), [13, 53, 93, 133, 173], "of shop, and of one name");
    until(&icecore, "icecore_query_tails", 2).await;
    let tails = under_way(&icecore).await;
    let asked: Vec<&str> = tails.iter().map(|tail| tail["sql"].as_str().unwrap()).collect();
    assert_eq!(asked, ["TAIL spans", &format!("TAIL spans WHERE ({condition})")]);
    assert_eq!((&tails[0]["rows"], &tails[0]["state"]), (&json!(200), &json!("running")));
    check_ended_by_id(&icecore).await;
    let (code, _, wrong) = icecore.client(&["tail", "--where", "nam = 'x'"]);
    assert_eq!(code, Some(1), "{wrong}");
    assert!(wrong.contains("did you mean `name`?"), "{wrong}");
    let (code, _, wrong) = icecore.client(&["tail", "metrics", "--errors"]);
    assert_eq!(code, Some(2), "{wrong}");
    icecore.stop();
    let (code, rows, said) = all.ended();
    assert_eq!(code, Some(1));
    assert!(said.contains("has ended the rows") && !said.contains("sampled"), "{said}");
    assert_eq!(numbers(&rows), (10..210).collect::<Vec<_>>());
    let (_, rows, said) = chosen.ended();
    assert!(!said.contains("sampled"), "{said}");
    assert_eq!(
        numbers(&rows),
        (0..20).filter(|it| it % 4 < 2).map(|it| 17 + it * 10).collect::<Vec<_>>()
    );
}

/// Those who look on, by what they look for.
async fn under_way(icecore: &Icecore) -> Vec<Value> {
    let listed: Value = icecore.get("/api/v1/queries").await.json().await.unwrap();
    let mut tails = listed["queries"].as_array().unwrap().clone();
    tails.retain(|query| query["kind"] == "tail");
    tails.sort_by_key(|tail| tail["sql"].as_str().map(str::to_owned));
    tails
}

/// One more looks on, and is ended from outside.
async fn check_ended_by_id(icecore: &Icecore) {
    let ended = Tail::start(icecore, &["logs"]);
    until(icecore, "icecore_query_tails", 3).await;
    let tail = under_way(icecore).await.swap_remove(0);
    assert_eq!(tail["sql"], "TAIL logs");
    let url = format!("{}/api/v1/queries/{}", icecore.api, tail["id"].as_str().unwrap());
    let answer: Value =
        reqwest::Client::new().delete(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["cancelled"]["id"], tail["id"]);
    let (code, _, said) = ended.ended();
    assert_eq!(code, Some(1));
    assert!(said.contains("the query was cancelled"), "{said}");
    until(icecore, "icecore_query_tails", 2).await;
    assert_eq!(under_way(icecore).await.len(), 2);
}

/// Scenario: the load generator sends a hundred thousand spans as fast as the server takes them,
/// and somebody looks on for failed ones of them, at most a hundred in a second.
/// Guarantees: no more are shown, each once, and only failed ones; the server says of how many they
/// are a sample, stays bounded, and has every acknowledged span.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_sampled() {
    let Some(loadtest) = peers::loadtest() else { return };
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let icecore = Start::new(folder.path()).run();
    let tail = Tail::start(&icecore, &["--where", "duration_ns > 0", "--rate", "100"]);
    until(&icecore, "icecore_query_tails", 1).await;
    let start = tokio::time::Instant::now();
    let mut send = Command::new(loadtest);
    send.args(["send", "--items", "100000", "--rate", "50000", "--endpoint", &icecore.grpc]);
    let sent = tokio::task::spawn_blocking(move || send.output().unwrap()).await.unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    assert_eq!(icecore.count("SELECT count(*) FROM spans").await, 100_000);
    let rows_of = |what: &str| format!("icecore_query_tail_rows_total{{rows=\"{what}\"}}");
    until(&icecore, &rows_of("arrived"), 100_000).await;
    let looks = u64::try_from(start.elapsed().as_millis()).unwrap() / 100 + 2;
    let arrived = figure(&icecore, &rows_of("arrived")).await;
    let looked_at = figure(&icecore, &rows_of("looked_at")).await;
    let shown = figure(&icecore, &rows_of("shown")).await;
    println!("{arrived} arrived, {looked_at} were looked at, {shown} shown in {looks} looks");
    assert!(shown <= 10 * looks && shown <= looked_at && looked_at <= arrived);
    // An account is given once a second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    tail.interrupt();
    let (code, rows, said) = tail.ended();
    assert_eq!(code, Some(0), "{said}");
    println!("{said}");
    assert!(said.contains("sampled: ") && said.contains(" are shown"), "{said}");
    assert!(!rows.is_empty() && rows.len() as u64 <= shown, "{} of {shown}", rows.len());
    let ids: std::collections::BTreeSet<_> =
        rows.iter().map(|row| row["span_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), rows.len(), "each once");
    icecore.stop();
}

/// Scenario: somebody looks on and takes nothing of what is sent, until no more can be sent; then it is ended from
/// outside.
/// Guarantees: it leaves the list and its turn is free, though nobody reads; the server did not read rows for it
/// without end.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_is_ended_all_the_same() {
    let Some(loadtest) = peers::loadtest() else { return };
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let start = Start::new(folder.path()).arg("tails-max", "1");
    let icecore = start.arg("tail-rows-per-second-max", "1000000").run();
    let address = icecore.api.strip_prefix("http://").unwrap();
    let mut idle = std::net::TcpStream::connect(address).unwrap();
    let asked = format!("GET /api/v1/tail?table=spans HTTP/1.1\r\nHost: {address}\r\n\r\n");
    idle.write_all(asked.as_bytes()).unwrap();
    until(&icecore, "icecore_query_tails", 1).await;
    let mut send = Command::new(loadtest);
    send.args(["send", "--items", "100000", "--rate", "50000", "--endpoint", &icecore.grpc]);
    let sent = tokio::task::spawn_blocking(move || send.output().unwrap()).await.unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let shown = "icecore_query_tail_rows_total{rows=\"shown\"}";
    let mut before = figure(&icecore, shown).await;
    loop {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let now = figure(&icecore, shown).await;
        if now == std::mem::replace(&mut before, now) {
            break;
        }
    }
    assert!((1..100_000).contains(&before), "{before} were shown to somebody who reads nothing");
    let id = under_way(&icecore).await.swap_remove(0)["id"].as_str().unwrap().to_owned();
    let url = format!("{}/api/v1/queries/{id}", icecore.api);
    assert!(reqwest::Client::new().delete(url).send().await.unwrap().status().is_success());
    until(&icecore, "icecore_query_tails", 0).await;
    assert!(under_way(&icecore).await.is_empty());
    assert!(icecore.get("/api/v1/tail?table=spans").await.status().is_success());
    drop(idle);
    icecore.stop();
}
