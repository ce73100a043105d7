//! Ends as the kernel tells them, and the bound on what is told.

use icecore_probe_events::{PROCESS_OUT_OF_MEMORY, PROCESS_RUNS};
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::*;
use crate::emit::{Emitter, Item};
use crate::identity::{self, IdentityConfig, Kubernetes};
use crate::pipeline::PipelineConfig;

const SECOND: u64 = 1_000_000_000;

fn event(kind: u32, pid: u32, status: u32, flags: u32) -> ProcessEvent {
    let mut event = ProcessEvent {
        time: 5 * SECOND,
        started: 3 * SECOND,
        lived: 2 * SECOND,
        pid,
        parent: 1,
        kind,
        status,
        flags,
        reserved: 0,
        comm: [0; 16],
        program: [0; 128],
    };
    event.comm[..3].copy_from_slice(b"app");
    event.program[..8].copy_from_slice(b"/bin/app");
    event
}

fn shown(record: &LogRecord) -> String {
    let attributes = record.attributes.iter().map(|one| {
        let value = one.value.as_ref().and_then(|value| value.value.as_ref());
        format!("{}={value:?}", one.key).replace("Some(", "").replace([')', '"'], "")
    });
    let attributes: Vec<String> = attributes.collect();
    format!("{} {} {}", record.event_name, record.severity_text, attributes.join(" "))
}

fn check_exit(status: u32, flags: u32, severity: &str, wanted: &str) {
    let record = record::record(&event(PROCESS_ENDED, 7, status, flags), 10 * SECOND);
    let head = format!(
        "icecore.process.exit {severity} process.parent_pid=IntValue(1 \
         icecore.process.start=IntValue(8000000000 icecore.process.duration=IntValue(2000000000 "
    );
    assert_eq!(shown(&record), head + wanted);
}

/// Scenario: processes that end by themselves, by signals, and for want of memory.
/// Guarantees: a code or a signal, and what is wrong in a word.
#[test]
fn ends() {
    check_exit(0, 0, "INFO", "process.exit.code=IntValue(0");
    check_exit(3 << 8, 0, "WARN", "process.exit.code=IntValue(3 error.type=StringValue(exit_code");
    let by = |signal: &str, out_of_memory: bool, rest: &str| {
        format!(
            "icecore.process.exit.signal=StringValue({signal} \
             icecore.process.exit.out_of_memory=BoolValue({out_of_memory} {rest}"
        )
    };
    check_exit(15, 0, "INFO", &by("SIGTERM", false, "error.type=StringValue(SIGTERM"));
    check_exit(9, 0, "WARN", &by("SIGKILL", false, "error.type=StringValue(SIGKILL"));
    let dumped = "icecore.process.exit.core_dumped=BoolValue(true error.type=StringValue(SIGSEGV";
    check_exit(11 | 0x80, 0, "ERROR", &by("SIGSEGV", false, dumped));
    check_exit(34, 0, "WARN", &by("SIG34", false, "error.type=StringValue(SIG34"));
    let out_of_memory = by("SIGKILL", true, "error.type=StringValue(out_of_memory");
    check_exit(9, PROCESS_OUT_OF_MEMORY, "ERROR", &out_of_memory);
}

/// Scenario: a process begins a program.
/// Guarantees: the record says which.
#[test]
fn starts() {
    let record = record::record(&event(PROCESS_RUNS, 7, 0, 0), 10 * SECOND);
    let wanted = "icecore.process.start INFO process.parent_pid=IntValue(1 \
                  icecore.process.start=IntValue(8000000000 process.command=StringValue(/bin/app";
    assert_eq!(shown(&record), wanted);
}

/// Scenario: one process ends twice over, as when two threads each take themselves for the last;
/// and more begin and end in a second than may be told.
/// Guarantees: what is told is bounded, and every event is counted once.
#[tokio::test]
async fn what_is_told_is_bounded() {
    let mut registry = Registry::default();
    let (emitter, mut items) = Emitter::to_queue(100);
    let config = IdentityConfig { kubernetes: Kubernetes::Off, ..IdentityConfig::default() };
    let (identity, _task) = identity::open(config, &mut registry).await.unwrap();
    let mut pipeline = Pipeline::new(PipelineConfig::default(), identity, emitter, &mut registry);
    let mut lives = Lives::new(3, &mut registry);
    let clock = WallClock::new();
    // Nobody has these.
    let first = u32::MAX - 100;
    lives.take(&event(PROCESS_ENDED, first, 0, 0), &clock, &mut pipeline);
    lives.take(&event(PROCESS_ENDED, first, 0, 0), &clock, &mut pipeline);
    for pid in first + 1..first + 6 {
        lives.take(&event(PROCESS_RUNS, pid, 0, 0), &clock, &mut pipeline);
    }
    let mut told = 0;
    while let Ok(Item::Log { .. }) = items.try_recv() {
        told += 1;
    }
    assert_eq!(told, 3);
    let counted = |outcome| lives.events.get_or_create(&FateLabel { outcome }).get();
    assert_eq!([Fate::Recorded, Fate::Repeated, Fate::Shed].map(counted), [3, 1, 3]);
}
