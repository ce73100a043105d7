//! The line end to end: the real binary, real senders, real readers, real servers, the real kernel.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::panic, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod access;
mod agree;
mod cache;
mod cluster;
mod copies;
mod crash;
mod drill;
mod examples;
mod forward;
mod history;
mod hostile;
mod icecore;
mod kube;
mod links;
mod metrics;
mod openapi;
mod otlp;
mod peers;
mod postgres;
mod probes;
mod profiles;
mod readers;
mod recorded;
mod refused;
mod remote;
mod retention;
mod scripts;
mod sdk;
mod servers;
mod signals;
mod tail;
mod terminal;
