//! OTLP in, durable, visible, and on to the bucket.
//!
//! A request is checked, its bytes are packed and appended to the write-ahead log, a group commit
//! makes them durable, its rows become live, and only then is it acknowledged. A flush commits a
//! contiguous prefix of the log to the store, then drops the live rows and the log before it.
//!
//! Invariants: what was acknowledged is in the log until a catalog record covers it; rows are
//! visible before their sender hears of success; live rows are handed over in log order.
#![deny(missing_docs)]

mod config;
pub mod decode;
mod error;
#[cfg(test)]
mod fixtures;
mod flush;
mod live;
mod log;
mod metrics;
mod pace;
mod receive;
mod replay;
mod service;

pub use config::{Config, Durability};
pub use error::Error;
pub use service::Ingest;

#[cfg(feature = "fuzz")]
pub use log::untrusted;
