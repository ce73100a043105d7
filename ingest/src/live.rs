//! Acknowledged rows that no file of the store has yet.

mod block;
mod blocks;
mod read;
mod traces;

pub(crate) use block::LiveRequest;
pub(crate) use blocks::{Blocks, BlocksSettings, Prefix};
pub(crate) use read::Live;
