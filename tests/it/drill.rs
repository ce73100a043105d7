//! From a slow service to a slow request, and from there to the function that took its time.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::icecore::Start;
use crate::peers::{self, Running};

const WORKS: [&str; 5] = ["alpha", "beta", "gamma_", "delta", "nobody"];

fn peer(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes/tests/peers");
    folder.join(name).display().to_string()
}

/// A C server with a thread for each connection, and its port; none where there is no compiler.
fn server(folder: &Path) -> Option<(Running, BufReader<impl std::io::Read>, String)> {
    let program = folder.join("served");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-pthread", "-o"]).arg(&program).arg(peer("served.c"));
    let Ok(made) = compiler.output() else {
        eprintln!("skipped: there is no `cc` here");
        return None;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut child = Command::new(program).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut port = String::new();
    lines.read_line(&mut port).unwrap();
    Some((Running(child), lines, port.trim().to_owned()))
}

/// Scenario: a server in C, nothing changed in it, works in four functions for 120 requests; one of them takes five
/// seconds. Somebody asks for its slowest request, and for the flame graph of that trace.
/// Guarantees: the flame graph names the function of that request and none of the others; no row of a profile has a
/// request that it is not of.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_leads_to_its_function() {
    let _held = peers::quiet().await;
    let (Some(python), true) = (peers::python(), peers::root()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some((_server, lines, port)) = server(folder.path()) else { return };
    let start = Start::new(&folder.path().join("data"))
        .arg("probes", "true")
        .arg("probe-profile-hertz", "99")
        .arg("probe-profile-interval", "1s")
        .arg("probe-profile-cpu-percent-max", "50")
        .arg("probe-cpu-percent-max", "0");
    let icecore = start.run();
    let mut client = Command::new(python);
    client.arg(peer("served_client.py")).args([&port, "4", "30", "20"]);
    assert!(client.status().unwrap().success());
    let spans = format!("FROM spans WHERE kind = 'SERVER' AND attributes['server.port'] = {port}");
    assert_eq!(icecore.wait_for(&format!("SELECT count(*) {spans}"), 120).await, 120);
    let slowest = "SELECT trace_id, attributes['url.path'], duration_ns";
    let slowest =
        icecore.sql(&format!("{slowest} {spans} ORDER BY duration_ns DESC LIMIT 1")).await;
    let (trace, path) = (slowest[0][0].as_str().unwrap(), slowest[0][1].as_str().unwrap());
    assert!(slowest[0][2].as_i64().unwrap() >= 5_000_000_000, "{slowest:?}");
    let samples = "SELECT CAST(coalesce(sum(value), 0) AS BIGINT) FROM profiles";
    assert!(icecore.wait_for(&format!("{samples} WHERE trace_id = '{trace}'"), 50).await >= 50);
    let frames = "SELECT DISTINCT frame FROM flamegraph";
    let frames = icecore.sql(&format!("{frames}('10m', trace_id => '{trace}')")).await;
    let named = |name: &&str| frames.iter().any(|row| row[0] == *name);
    let function = path.split('/').nth(1).unwrap();
    assert_eq!(WORKS.into_iter().filter(named).collect::<Vec<_>>(), [function], "{frames:?}");
    let tied = "SELECT p.stack, s.attributes['url.path'] FROM profiles p JOIN spans s
                ON p.trace_id = s.trace_id AND p.span_id = s.span_id";
    let tied = icecore
        .sql(&format!("{tied} WHERE s.kind = 'SERVER' AND s.attributes['server.port'] = {port}"))
        .await;
    for row in &tied {
        let stack = row[0].as_array().unwrap();
        let own = row[1].as_str().unwrap().split('/').nth(1).unwrap();
        let works = |name: &&str| stack.iter().any(|frame| frame == name);
        assert!(WORKS.into_iter().filter(works).all(|name| name == own), "{row:?}");
    }
    println!("{} rows of requests, {} frames of the slowest", tied.len(), frames.len());
    icecore.stop();
    drop(lines);
}
