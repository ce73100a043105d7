//! What speaks OTLP to senders.
//!
//! Both protocols do the same: read a body within bounds, hand it to [`Intake`], and answer. They
//! share one table of refusals ([`Reason`]), so that a fault is the same fault on either port.
//!
//! Invariant: nothing here holds more memory than it has asked for (`admit`).

mod admit;
mod answer;
mod body;
mod decompress;
mod grpc;
mod http;
mod intake;
mod serve;

#[cfg(test)]
mod harness;

pub(crate) use answer::{Reason, Refusal};
pub(crate) use grpc::router as grpc_router;
pub(crate) use http::router as http_router;
pub(crate) use intake::Intake;
pub(crate) use serve::{ServeSettings, serve};

/// The way that a request came in; a label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP, protobuf or JSON.
    Http,
}

impl Protocol {
    /// The label in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}
