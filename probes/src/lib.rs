//! icecore-probes: sees the requests that a machine serves and sends, with no change to any
//! application, and emits them as OpenTelemetry spans and histograms.
#![deny(missing_docs)]

pub mod emit;
pub mod identity;
pub mod pipeline;
pub mod protocol;
pub mod secret;
