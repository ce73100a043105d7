//! What is removed, and what is not: rules by age, erasure by condition, and holds that outrank
//! both.
//!
//! Every removal of rows is a record of the common sequence, published with a create-only put
//! under the number that follows all records its maker has seen. A hold is a record of the same
//! sequence. So a hold that was acknowledged is before every later removal, and whoever makes one
//! has read it: there is no moment at which the two can miss each other.
//!
//! Invariants: a row that a standing hold keeps is in every later snapshot; a removal never takes
//! a row that its rules do not name; what cannot be understood stays.

mod erase;
mod execute;
mod holds;
mod leftovers;
mod look;
mod report;
mod rules;
mod run;
mod select;

pub use erase::{EraseProgress, EraseRequest, Tell};
pub use holds::{HeldFiles, HoldOutcome, HoldRequest};
pub use leftovers::Leftover;
pub use report::{DeletionReport, EraseReport, TableDeletion};
pub use rules::RetentionRule;
pub(crate) use run::Examined;

#[cfg(test)]
pub(crate) mod tests;
