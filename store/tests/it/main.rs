//! The store against real buckets: a folder, an S3-compatible server that honours create-only
//! puts, and one that ignores them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, and says what it skips"
)]

mod ahead;
mod bench;
mod buckets;
mod gate;
mod index;
mod pages;
#[path = "sample.rs"]
mod sample;
mod servers;
mod traces;
