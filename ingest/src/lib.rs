//! OTLP receivers, the write-ahead log, live rows and the flush to the store.
#![deny(missing_docs)]

pub mod decode;
