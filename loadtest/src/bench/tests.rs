//! The bench on a small load, and what it says where it cannot run.

use std::time::Duration;

use clap::Parser;
use serde_json::Value;

use super::baselines::BASELINES;
use super::load::LoadFigures;
use super::queries::{Asked, Queried};
use super::report::Killed;
use super::*;
use crate::cli::{Cli, Command};

fn arguments(icecore: &Path, out: &Path) -> BenchArgs {
    let line = ["icecore-loadtest", "bench", "--spans", "2000", "--give-up-after", "300"];
    let Command::Bench(arguments) = Cli::parse_from(line).command else {
        panic!("`bench` was parsed as something else");
    };
    BenchArgs { icecore: Some(icecore.to_owned()), out: out.to_owned(), ..arguments }
}

/// The binary that `cargo test` of the workspace builds: two folders above the test's own.
fn icecore() -> Option<PathBuf> {
    let own = std::env::current_exe().unwrap();
    let path = own.parent()?.parent()?.join("icecore");
    path.exists().then_some(path)
}

/// Scenario: two thousand spans through a real `icecore`, whatever its profile.
/// Guarantees: all acknowledged, all counted, all there after `kill -9`, every answer right; both
/// reports are written, and the data is gone.
#[tokio::test]
async fn a_small_load_is_measured() {
    let Some(icecore) = icecore() else {
        eprintln!("skipped: there is no `icecore` beside the tests; build the workspace first");
        return;
    };
    let out = tempfile::tempdir().unwrap();
    let report = run(arguments(&icecore, out.path())).await.unwrap();
    assert!(report.whole(), "{report}");
    assert_eq!(report.load.spans, 2_000);
    assert!(report.prost_seconds > 0.0 && report.ingested.all_cpu_seconds > 0.0);
    assert!(report.ingested.bucket_bytes > 2_000 && report.peak_bytes > 1 << 20);
    let read = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    let json: Value = serde_json::from_str(&read("bench.json")).unwrap();
    assert_eq!(json["table"].as_array().unwrap().len(), BASELINES.len());
    assert_eq!(json["killed"]["lost"], 0);
    assert_eq!(read("bench.md"), report.to_string());
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 2);
}

/// Scenario: no such binary, and one that ends at once.
/// Guarantees: an error that names it, soon, and no data left.
#[tokio::test]
async fn a_server_that_does_not_start_is_named() {
    let out = tempfile::tempdir().unwrap();
    for (path, wanted) in [("/no/such/icecore", "cannot start"), ("/bin/false", "not become ready")]
    {
        let error = run(arguments(Path::new(path), out.path())).await.unwrap_err().chain();
        assert!(error.contains(wanted) && error.contains(path), "{error}");
    }
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}

fn report(killed: Killed, ack_cpu_seconds: f64) -> Report {
    let load = LoadFigures { spans: 100, requests: 1, wire_bytes: 58_900, traces: 6, seed: 1 };
    let asked = Asked { times: 2, right: 2, p50_ms: 1.0, p99_ms: 2.0, cpu_ms: 1.0 };
    let queried =
        Queried { counted: 100, trace: asked.clone(), search: asked.clone(), percentile: asked };
    let ingested = Ingested { acked: 100, ack_cpu_seconds, ..Ingested::default() };
    let machine = machine::describe();
    Report::new(machine, load, &[1.0, 3.0], ingested, queried, 100_000_000, killed)
}

/// Scenario: figures within bounds; one above; one span lost.
/// Guarantees: units are those of the mean decode; too slow is not met but whole; a loss is neither.
#[test]
fn a_report_tells_slow_from_wrong() {
    let kept = Killed { acked: 100, ..Killed::default() };
    let good = report(kept.clone(), 1.5);
    assert!(good.whole() && good.table.iter().all(|row| row.met), "{good}");
    assert_eq!(good.table[0].icecore, "0.75");
    let slow = report(kept.clone(), 3.0);
    assert!(slow.whole() && !slow.table[0].met);
    assert!(slow.to_string().contains("| **1.50** | <= 1.0 | no | 12 | 9 | 7 |"), "{slow}");
    let torn = report(Killed { lost: 1, ..kept }, 1.5);
    assert!(!torn.whole());
    assert_eq!((torn.table[5].icecore.as_str(), torn.table[5].met), ("99.000 %", false));
}

/// Scenario: a load of two thousand spans.
/// Guarantees: what is asked for is in the load, and the search is for few but some.
#[tokio::test]
async fn the_load_knows_what_to_ask() {
    let out = tempfile::tempdir().unwrap();
    let load = Load::make(&arguments(Path::new("icecore"), out.path())).await.unwrap();
    assert_eq!(load.packed.iter().map(|one| one.items).sum::<u64>(), 2_000);
    assert!(
        load.asked.len() > 50 && load.asked.iter().all(|(id, spans)| id.len() == 32 && *spans > 0)
    );
    assert!(load.search.matches > 0 && load.search.matches < 100, "{:?}", load.search);
    let decodes = load.prost_seconds().await.unwrap();
    assert!(decodes.iter().all(|&seconds| seconds > 0.0 && seconds < 60.0));
    assert!(load.figures.wire_bytes > 2_000 * 400);
    assert_eq!(arguments(Path::new("x"), out.path()).give_up_after, Duration::from_secs(300));
}
