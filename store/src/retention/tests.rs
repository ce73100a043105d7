//! Retention, holds and erasure over a bucket in memory that fails where a test says.

pub(crate) mod bench;
mod crashes;
mod erasure;
mod holding;
mod model;
mod rules;
