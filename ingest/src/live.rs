//! Acknowledged rows that no file of the store has yet.

mod block;
mod blocks;
mod read;
mod serve;
mod traces;

pub(crate) use block::LiveRequest;
pub(crate) use blocks::{Blocks, BlocksSettings, Prefix};
pub(crate) use read::Live;
pub(crate) use serve::LiveService;
