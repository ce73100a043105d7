//! The write-ahead log: what was acknowledged survives the process.
//!
//! A log is a folder of segment files, named by the position of their first byte, and a `writer`
//! file with the id that all positions belong to. Positions count bytes since the log began and
//! are never reused, not even after a failed write.
//!
//! Invariants: a frame is acknowledged only after it is as durable as the settings ask; frames are
//! handed on in the order of their positions; a segment that failed once is never written again.

mod aside;
mod commit;
mod disk;
mod folder;
mod frame;
mod pack;
mod recover;
mod segment;
mod tail;
#[cfg(feature = "fuzz")]
pub mod untrusted;

pub(crate) use aside::Aside;
pub(crate) use commit::{Append, Appended, LogRefusal, Writer, WriterSettings};
#[cfg(test)]
pub(crate) use disk::Folder;
pub(crate) use folder::LogFolder;
pub(crate) use frame::Contents;
#[cfg(test)]
pub(crate) use frame::HEAD_BYTES;
pub(crate) use pack::{Packed, Packer};
pub(crate) use recover::Damage;
pub(crate) use segment::{Pin, Segments};
pub(crate) use tail::{Logged, Tail};

#[cfg(test)]
pub(crate) mod faults;
#[cfg(test)]
pub(crate) mod harness;
