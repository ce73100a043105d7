//! What the bridge is told: where to send, where to keep cursors, and every bound.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Destination, Error};

/// Settings of the bridge. `Default` has no destination; such a bridge does nothing.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to send; names must differ.
    pub destinations: Vec<Destination>,
    /// Folder of cursors and refused requests; made when missing.
    pub cursor_dir: PathBuf,
    /// Our own OTLP addresses: a destination that leads back to one of them is refused at start.
    pub own_addresses: Vec<SocketAddr>,
    /// Payload bytes read from the log at once, for each destination.
    pub read_bytes_max: usize,
    /// Requests on their way to one destination at a time. One makes delivery strictly ordered.
    pub in_flight_max: usize,
    /// Uncompressed payload bytes on their way to one destination; a single larger request goes
    /// alone.
    pub in_flight_bytes_max: usize,
    /// How failed requests are tried again.
    pub retry: RetryConfig,
    /// How often a moved cursor is written. A crash sends again what was delivered since.
    pub cursor_interval: Duration,
    /// Requests that a destination refused for good are kept in a file up to this size, for each
    /// destination; beyond it they are counted only.
    pub dead_letter_bytes_max: u64,
    /// How long requests on their way may still finish after a stop.
    pub drain_wait: Duration,
    /// Seed of the retry jitter.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            destinations: Vec::new(),
            cursor_dir: PathBuf::from("./icecore-data/bridge"),
            own_addresses: Vec::new(),
            read_bytes_max: 8 << 20,
            in_flight_max: 4,
            in_flight_bytes_max: 16 << 20,
            retry: RetryConfig::default(),
            cursor_interval: Duration::from_millis(200),
            dead_letter_bytes_max: 64 << 20,
            drain_wait: Duration::from_secs(5),
            seed: 0,
        }
    }
}

impl Config {
    /// Finds the first fault that the settings alone tell.
    ///
    /// # Errors
    /// Where a bound is zero, or a destination cannot be sent to or has the name of another.
    pub fn check(&self) -> Result<(), Error> {
        let bounds = [
            ("read_bytes_max", self.read_bytes_max),
            ("in_flight_max", self.in_flight_max),
            ("in_flight_bytes_max", self.in_flight_bytes_max),
        ];
        if let Some((setting, _)) = bounds.into_iter().find(|(_, bound)| *bound == 0) {
            return Err(Error::Zero { setting });
        }
        if self.cursor_interval.is_zero() {
            return Err(Error::Zero { setting: "cursor_interval" });
        }
        let mut names = HashSet::new();
        for destination in &self.destinations {
            destination.check()?;
            if !names.insert(destination.name.as_str()) {
                return Err(Error::Duplicate { name: destination.name.clone() });
            }
        }
        Ok(())
    }
}

/// Exponential backoff with jitter. There is no last attempt: the log keeps its bounded stretch
/// for a destination that is away, and what falls off its end is counted as lost.
#[derive(Debug, Clone)]
pub struct RetryConfig {
    /// The first wait; each next one is twice as long.
    pub first_wait: Duration,
    /// The longest wait, and so about the longest idle time after a destination has come back.
    pub wait_max: Duration,
    /// The longest wait that a `Retry-After` or `RetryInfo` can ask for.
    pub asked_wait_max: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_millis(250),
            wait_max: Duration::from_secs(10),
            asked_wait_max: Duration::from_mins(5),
        }
    }
}
