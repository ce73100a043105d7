//! Sends what Icecore acknowledged on to other OpenTelemetry endpoints.
//!
//! Invariant: a destination's cursor moves only over requests that were delivered, refused for
//! good, or reported as lost; so each request is sent at least once, in log order of the cursor,
//! whatever happens to either side. Nothing here can make ingest wait.
#![deny(missing_docs)]

mod bridge;
mod config;
mod cursor;
mod dead_letter;
mod delivery;
mod destination;
mod error;
mod lag;
mod metrics;
mod own;
mod retry;
mod send;
mod verdict;
mod worker;

pub use bridge::Bridge;
pub use config::{Config, RetryConfig};
pub use destination::{Compression, Destination, Protocol};
pub use error::{Error, ErrorKind};
