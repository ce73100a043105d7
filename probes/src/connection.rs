//! Connections as user space sees them: who talks to whom, and how far each direction has come.

mod datagrams;
mod handshake;
mod newest;
mod numbers;
mod stream;
mod table;

pub(crate) use datagrams::Datagrams;
pub use handshake::Tls;
pub(crate) use newest::Newest;
#[cfg(test)]
pub(crate) use table::tests::piece as piece_of;
pub(crate) use table::{Figures, Table, TableConfig, Verdict, address, comm, text};
