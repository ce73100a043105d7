//! DNS: questions and their answers, over TCP and in datagrams.
//!
//! Invariants: an answer is given to the question with its number and its text on the same socket,
//! and to no other; what waits is bounded by number and by time.

mod message;
mod questions;
mod tcp;
#[cfg(test)]
mod tests;

pub(crate) use message::Message;
pub(crate) use questions::{Asked, Passed, Questions, Socket};
pub(super) use tcp::{look, parser};
