//! icecore-probes: sees the requests that a machine serves and sends, with no change to any
//! application, and emits them as OpenTelemetry spans and histograms.
//!
//! Kernel programs copy the bytes of plain-text sockets into a ring; this crate orders them by
//! connection, parses them, and sends what it understood to any OTLP receiver. Invariant: every
//! record that the kernel programs saw is counted once, as filtered, refused or submitted, and
//! every submitted one as parsed, unparsed or shed.
#![deny(missing_docs)]

mod config;
pub mod emit;
mod error;
pub mod identity;
mod kernel;
pub mod pipeline;
pub mod protocol;
pub mod secret;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

pub use config::{CaptureConfig, Config, RungChoice};
pub use error::{Error, ErrorKind};
pub use kernel::{Finding, Level, findings};

/// The agent: hooked into the kernel, not yet reading.
#[derive(Debug)]
pub struct Probes {
    config: Config,
}

impl Probes {
    /// Checks the configuration, loads the kernel programs and attaches them. Traffic is captured
    /// from here on and waits in the rings. Where the machine or the user does not allow it, the
    /// error's [`Error::kind`] says so.
    pub async fn open(config: Config, registry: &mut Registry) -> Result<Self, Error> {
        let _ = registry;
        config.check()?;
        Err(Error::Unsupported { reason: "the kernel programs are not attached yet".to_owned() })
            .map(|()| Self { config })
    }

    /// In words, what was attached: for the log line at start.
    #[must_use]
    pub fn rung(&self) -> RungChoice {
        self.config.capture.rung
    }

    /// Reads until `stop`, then takes what is in the rings, sends what is held, and detaches.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        stop.cancelled().await;
        Ok(())
    }
}
