//! The bench on small loads, and what it says where it cannot run.

use clap::Parser;
use serde_json::Value;

use super::known::Known;
use super::load::{Load, standard};
use super::targets::{self, engine};
use super::*;
use crate::cli::{Cli, Command};
use crate::generate::Signal;

fn arguments(icecore: &Path, out: &Path, more: &[&str]) -> BenchArgs {
    let line = ["icecore-loadtest", "bench", "--spans=2000", "--give-up-after=300"];
    let line = line.iter().chain(more).copied();
    let Command::Bench(arguments) = Cli::parse_from(line).command else {
        panic!("`bench` was parsed as something else");
    };
    BenchArgs { icecore: Some(icecore.to_owned()), out: out.to_owned(), ..arguments }
}

/// The binary that `cargo test` of the workspace builds: two folders above the test's own.
fn icecore() -> Option<PathBuf> {
    let own = std::env::current_exe().unwrap();
    let path = own.parent()?.parent()?.join("icecore");
    if !path.exists() {
        eprintln!("skipped: there is no `icecore` beside the tests; build the workspace first");
        return None;
    }
    Some(path)
}

async fn check(more: &[&str]) -> Option<Report> {
    let icecore = icecore()?;
    let out = tempfile::tempdir().unwrap();
    let report = run(arguments(&icecore, out.path(), more)).await.unwrap();
    assert!(report.whole(), "{report}");
    let read = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    let json: Value = serde_json::from_str(&read("bench.json")).unwrap();
    assert_eq!(json["parts"].as_array().unwrap().len(), report.parts.len());
    assert_eq!(read("bench.md"), report.to_string());
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 2, "data is left");
    Some(report)
}

fn figures(report: &Report, target: &targets::Target) -> Vec<f64> {
    let lines = report.parts.iter().flat_map(|section| &section.table);
    lines.filter(|line| line.what == target.what).flat_map(|line| line.runs[0].clone()).collect()
}

/// Scenario: two thousand spans through a real `icecore`, whatever its profile, twice.
/// Guarantees: all acknowledged, all counted, all there after `kill -9`, every answer right; both
/// reports are written, and the data is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_load_is_measured() {
    let Some(report) = check(&["--only=engine", "--runs=2"]).await else { return };
    assert!(figures(&report, &engine::ALL_CPU)[0] > 0.0);
    assert!(figures(&report, &engine::STORED)[0] > 1.0);
    assert_eq!(figures(&report, &engine::KEPT), [100.0]);
    assert!(report.parts[0].table.iter().all(|line| line.runs.len() == 2), "{report}");
}

/// Scenario: some thousand data points and log records, and a merge of small files.
/// Guarantees: each item is there once, and none is lost by the merge.
#[tokio::test(flavor = "multi_thread")]
async fn small_parts_are_measured() {
    let small = ["--points=6000", "--series=600", "--compact-spans=4000"];
    let Some(report) = check(&[&small[..], &["--only=metrics,logs,compact"]].concat()).await else {
        return;
    };
    assert_eq!(figures(&report, &targets::signals::FOUND), [0.0, 0.0, 0.0, 0.0]);
    assert_eq!(figures(&report, &targets::compact::WHOLE), [0.0]);
    assert!(figures(&report, &targets::compact::MEMORY)[0] > 1.0);
}

/// Scenario: a few seconds of load at full rate and below it.
/// Guarantees: every request is acknowledged, and SQL sees every row that was sent alone.
#[tokio::test(flavor = "multi_thread")]
async fn load_for_a_while_is_measured() {
    let Some(report) = check(&["--only=sustained", "--sustained-for=3"]).await else { return };
    let seen = figures(&report, &targets::sustained::SEEN);
    assert!(seen.len() == 2 && seen[0] > 0.0 && seen[1] < 20.0, "{report}");
}

/// Scenario: a small store of a day, from its making to what DuckDB says of it.
/// Guarantees: every answer is right, cold, warm and over a slow bucket.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_store_of_a_day_is_measured() {
    let small = ["--only=large", "--large-spans=20000", "--latency-ms=2"];
    let Some(report) = check(&small).await else { return };
    let started = figures(&report, &targets::large::START);
    assert!(started.len() == 2 && started.iter().all(|&seconds| seconds > 0.0), "{report}");
}

/// Scenario: no such binary, and one that ends at once.
/// Guarantees: a fault that names it, soon, and no data left.
#[tokio::test]
async fn a_server_that_does_not_start_is_named() {
    let out = tempfile::tempdir().unwrap();
    for (path, wanted) in [("/no/such/icecore", "cannot start"), ("/bin/false", "not become ready")]
    {
        let arguments = arguments(Path::new(path), out.path(), &["--only=engine"]);
        let report = run(arguments).await.unwrap();
        assert!(!report.whole());
        let said = report.to_string();
        assert!(said.contains(wanted) && said.contains(path), "{said}");
    }
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 2);
}

/// Scenario: figures within bounds in one run of three; within them in two; a fault.
/// Guarantees: the median decides, the spread is shown, a fault is not whole.
#[test]
fn a_report_tells_slow_from_wrong() {
    let runs = |figures: [f64; 3]| {
        figures.map(|figure| Measured {
            rows: vec![engine::ACK_CPU.row(&[figure])],
            ..Measured::default()
        })
    };
    let slow = Section::new(Part::Engine, 1.0, runs([0.9, 1.2, 1.5]).into());
    assert_eq!(
        (slow.table[0].met, slow.table[0].icecore.as_str()),
        (Some(false), "1.20 (0.90 to 1.50)")
    );
    let fast = Section::new(Part::Engine, 1.0, runs([0.9, 0.5, 1.5]).into());
    assert_eq!(fast.table[0].met, Some(true));
    assert!(fast.to_string().contains("| <= 1.0 | yes | 12 | 9 | 7 |"), "{fast}");
    let faults = vec!["one span lost".to_owned()];
    let wrong = vec![Measured { faults, ..Measured::default() }];
    let parts = vec![fast, Section::new(Part::Flat, 1.0, wrong)];
    let report = Report { machine: machine::describe(), runs: 3, parts };
    assert!(!report.whole() && report.to_string().contains("WRONG: one span lost"), "{report}");
}

/// Scenario: a load of two thousand spans.
/// Guarantees: what is asked for is in the load, and the search is for few but some.
#[tokio::test]
async fn the_load_knows_what_to_ask() {
    let load = Load::make(standard(Signal::Traces, 2_000, 1)).await.unwrap();
    let known = Known::of(&load).await.unwrap();
    assert_eq!(load.packed.iter().map(|one| one.items).sum::<u64>(), 2_000);
    assert!(
        known.asked.len() > 50
            && known.asked.iter().all(|(id, spans)| id.len() == 32 && *spans > 0)
    );
    assert!(known.search.matches > 0 && known.search.matches < 100, "{:?}", known.search);
    let decodes = load.prost_seconds().await.unwrap();
    assert!(decodes.iter().all(|&seconds| seconds > 0.0 && seconds < 60.0));
    assert!(load.wire_bytes > 2_000 * 400);
}
