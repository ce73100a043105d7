//! Processes that begin and end, as whoever waits for them is told.

use icecore_probes::Config;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prometheus_client::registry::Registry;
use serde::Deserialize;

use crate::receiver::{Received, shown};
use crate::watch::watched;

/// A process as its parent knows it.
#[derive(Debug, Deserialize)]
struct Life {
    name: String,
    pid: u32,
    code: Option<i64>,
    signal: Option<String>,
    /// What it ran, if not the program of its parent.
    program: Option<String>,
    out_of_memory: bool,
}

/// Scenario: processes that end with codes, by signals from outside and from themselves, with many
/// threads at once, after their first thread, without a program of their own, after a change of
/// program, and, where the machine has a memory controller, killed for want of memory.
/// Guarantees: one record of each end with what the parent is told of it, one record of each program
/// that began, by the name of the process; nothing was refused.
#[tokio::test(flavor = "multi_thread")]
async fn processes_end_as_their_parents_are_told() {
    let mut config = Config::default();
    // Others on this machine start programs, too.
    config.machine.events_per_second_max = 100_000;
    let watched = watched::<Life>(config, "lives.py", &[], &[], 0);
    let Some((lives, received, registry)) = watched.await else { return };
    assert!(lives.len() >= 12, "{lives:?}");
    if lives.iter().all(|life| !life.out_of_memory) {
        println!("skipped: no process can be killed for want of memory here");
    }
    for life in &lives {
        check_end(life, &received);
        check_start(life, &received);
    }
    check_none_lost(&registry);
}

/// The records of one event that are of a process.
fn of(received: &Received, event: &str, pid: u32) -> Vec<(Vec<KeyValue>, LogRecord)> {
    let mut records = received.events(event);
    records.retain(|(resource, _)| {
        shown(resource, "process.pid").as_deref() == Some(&*pid.to_string())
    });
    records
}

fn check_end(life: &Life, received: &Received) {
    let ends = of(received, "icecore.process.exit", life.pid);
    let [(_, end)] = &ends[..] else { panic!("{}: {life:?}: {ends:?}", life.name) };
    let has = |key: &str| shown(&end.attributes, key);
    assert_eq!(has("process.exit.code"), life.code.map(|code| code.to_string()), "{life:?}");
    assert_eq!(has("icecore.process.exit.signal"), life.signal, "{life:?}");
    let out_of_memory = life.signal.is_some().then(|| life.out_of_memory.to_string());
    assert_eq!(has("icecore.process.exit.out_of_memory"), out_of_memory, "{life:?}");
    let parent = shown(&end.attributes, "process.parent_pid");
    assert!(parent.is_some_and(|parent| parent != "0"), "{end:?}");
    let number = |key: &str| has(key).and_then(|text| text.parse::<u64>().ok()).unwrap();
    let (start, lived) = (number("icecore.process.start"), number("icecore.process.duration"));
    assert_eq!(start + lived, end.time_unix_nano);
    assert!(lived < 60_000_000_000, "{life:?}: {end:?}");
}

fn check_start(life: &Life, received: &Received) {
    let mut starts = of(received, "icecore.process.start", life.pid);
    let Some(program) = &life.program else {
        return assert!(starts.is_empty(), "{life:?}: {starts:?}");
    };
    starts.sort_by_key(|(_, start)| start.time_unix_nano);
    let (_, last) = starts.last().unwrap_or_else(|| panic!("no start of {life:?}"));
    assert_eq!(shown(&last.attributes, "process.command").as_ref(), Some(program), "{life:?}");
}

fn check_none_lost(registry: &Registry) {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    for none in [
        "icecore_probes_kernel_process_events_total{outcome=\"refused\"} 0",
        "icecore_probes_process_events_missing 0",
    ] {
        assert!(text.lines().any(|line| line == none), "not {none}: {text}");
    }
    assert!(!text.contains("icecore_probes_process_events_total{outcome=\"shed\"}"), "{text}");
}
