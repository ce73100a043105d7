//! Why ingest could not start or had to stop. What a sender is answered is in
//! [`crate::receive`]: an error here is for the operator.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why ingest could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting, or two that cannot work together.
    #[error("ingest setting `{setting}` {why}")]
    Config {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The log's folder or one of its files.
    #[error("cannot {doing} `{path}` of the write-ahead log")]
    Log {
        /// In words.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process has the log's folder.
    #[error("the log folder `{path}` is in use by another process")]
    LogInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The `writer` file does not hold an id.
    #[error("`{path}` holds `{text}`, which is not a writer id")]
    WriterFile {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        text: String,
    },
    /// A port could not be had.
    #[error("cannot listen on {addr} for {protocol}")]
    Bind {
        /// Which of the two.
        protocol: &'static str,
        /// The address that was asked for.
        addr: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The store refused what ingest needs from it.
    #[error("cannot {doing} in the store")]
    Store {
        /// In words.
        doing: &'static str,
        /// The store's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A thread or task of ingest ended by a fault of its own.
    #[error("the {part} of ingest stopped")]
    Stopped {
        /// Which one.
        part: &'static str,
    },
}
