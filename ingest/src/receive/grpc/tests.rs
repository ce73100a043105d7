//! Tests of `grpc`.
