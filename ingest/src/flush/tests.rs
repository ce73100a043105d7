//! Tests of `flush`.
