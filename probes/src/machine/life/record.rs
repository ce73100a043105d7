//! The record of a start or an end.
//!
//! Invariant: pure; a process has an exit code or a signal that ended it, never both.

use icecore_probe_events::{PROCESS_ENDED, PROCESS_OUT_OF_MEMORY, ProcessEvent};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use super::signal;
use crate::connection::text;
use crate::span::attribute::Attribute;

/// The part of a status that names a signal.
const SIGNAL: u32 = 0x7f;
/// The memory of the process was written to a file.
const CORE_DUMPED: u32 = 0x80;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exit {
    Code(i64),
    Signal(i32),
    /// The kernel chose it when memory ran out.
    OutOfMemory,
}

impl Exit {
    fn of(event: &ProcessEvent) -> Self {
        let signal = i32::try_from(event.status & SIGNAL).unwrap_or(0);
        match signal {
            0 => Self::Code(i64::from(event.status >> 8 & 0xff)),
            _ if event.flags & PROCESS_OUT_OF_MEMORY != 0 => Self::OutOfMemory,
            _ => Self::Signal(signal),
        }
    }

    /// `error.type`; none where nothing is wrong.
    fn error(&self) -> Option<String> {
        match self {
            Self::Code(0) => None,
            Self::Code(_) => Some("exit_code".to_owned()),
            Self::Signal(signal) => Some(signal::name(*signal)),
            Self::OutOfMemory => Some("out_of_memory".to_owned()),
        }
    }

    fn severity(&self) -> SeverityNumber {
        match self {
            // What is asked to end ends so.
            Self::Code(0) | Self::Signal(libc::SIGTERM | libc::SIGINT | libc::SIGHUP) => {
                SeverityNumber::Info
            }
            Self::Signal(signal) if signal::is_fault(*signal) => SeverityNumber::Error,
            Self::OutOfMemory => SeverityNumber::Error,
            Self::Code(_) | Self::Signal(_) => SeverityNumber::Warn,
        }
    }

    fn attributes(&self, list: &mut Vec<Attribute>) {
        let signal = match self {
            Self::Code(code) => return list.push(Attribute::integer("process.exit.code", *code)),
            Self::Signal(signal) => *signal,
            Self::OutOfMemory => libc::SIGKILL,
        };
        list.push(Attribute::text("icecore.process.exit.signal", signal::name(signal)));
        let out_of_memory = *self == Self::OutOfMemory;
        list.push(Attribute::boolean("icecore.process.exit.out_of_memory", out_of_memory));
    }

    fn shown(&self) -> String {
        match self {
            Self::Code(code) => format!("exited with {code}"),
            Self::Signal(signal) => format!("was ended by {}", signal::name(*signal)),
            Self::OutOfMemory => "was killed by the kernel, out of memory".to_owned(),
        }
    }
}

/// The record of an event that was seen at `time`.
pub(super) fn record(event: &ProcessEvent, time: u64) -> LogRecord {
    let comm = text(&event.comm);
    let start = time.saturating_sub(event.lived);
    let mut list = vec![
        Attribute::integer("process.parent_pid", i64::from(event.parent)),
        Attribute::count("icecore.process.start", start),
    ];
    let (name, severity, body) = if event.kind == PROCESS_ENDED {
        let exit = Exit::of(event);
        list.push(Attribute::count("icecore.process.duration", event.lived));
        exit.attributes(&mut list);
        if event.status & CORE_DUMPED != 0 {
            list.push(Attribute::boolean("icecore.process.exit.core_dumped", true));
        }
        list.extend(exit.error().map(|error| Attribute::text("error.type", error)));
        let body = format!("{comm} {}", exit.shown());
        ("icecore.process.exit", exit.severity(), body)
    } else {
        let program = text(&event.program);
        let body = format!("{comm} runs {program}");
        list.push(Attribute::text("process.command", program));
        ("icecore.process.start", SeverityNumber::Info, body)
    };
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number: severity.into(),
        severity_text: severity.as_str_name().trim_start_matches("SEVERITY_NUMBER_").to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
        attributes: list.into_iter().map(KeyValue::from).collect(),
        event_name: name.to_owned(),
        ..LogRecord::default()
    }
}
