//! Acknowledged rows in memory.

mod rows;

pub(crate) use rows::{Prefix, Reservation, Rows};
