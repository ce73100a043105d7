//! Acknowledged rows that no file of the store has yet.

mod block;
mod blocks;

pub(crate) use blocks::{Blocks, BlocksSettings, Live, Prefix};
