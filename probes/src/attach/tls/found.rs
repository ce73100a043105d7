//! The functions of a library or a program, found in a file.

use super::families::Family;
use super::hooks::Programs;

/// What there is to hook in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) family: &'static Family,
    pub(super) functions: Vec<Function>,
    /// A program whose goroutines wait for what they read: none of them asks for what many connections have.
    pub(super) goroutines_wait: bool,
}

/// A function.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Where in the file it begins.
    pub(super) place: u64,
    /// How it is called, see `icecore_probe_events::shape`.
    pub(super) shape: u64,
    pub(super) exits: Exits,
    pub(super) programs: Programs,
}

/// How a function is seen to return.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Exits {
    /// The kernel catches it by the address that it returns to.
    Caught,
    /// At each of these places in the file.
    At(Vec<u64>),
}
