//! The query service over a real store on a temporary folder, asked over HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, and says what it skips"
)]

mod bench;
mod conditions;
mod field;
mod flight;
mod formats;
mod holds;
mod http;
mod kin;
mod limits;
mod page;
mod places;
mod rows;
mod same;
mod service;
mod traces;
