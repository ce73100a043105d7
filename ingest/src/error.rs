//! Why ingest could not start or had to stop. What a sender is answered is in
//! [`crate::receive`]: an error here is for the operator.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use icecore_store::{LogPosition, PortError};

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
    #[error("`{path}` does not hold a writer id")]
    WriterFile {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        source: icecore_store::model::BadId,
    },
    /// The log could not be read at the start.
    #[error("cannot replay the log from {position:?} on")]
    Replay {
        /// How far it was read.
        position: LogPosition,
        /// What went wrong.
        source: PortError,
    },
    /// The system gave no thread.
    #[error("cannot start the thread of the log")]
    Thread {
        /// The system's answer.
        source: io::Error,
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
    /// A task of ingest ended by a fault of its own.
    #[error("the {part} of ingest stopped")]
    Stopped {
        /// Which one.
        part: &'static str,
        /// What the runtime says.
        source: tokio::task::JoinError,
    },
    /// The thread that writes the log ended by a fault of its own. What was acknowledged is safe.
    #[error("the log is not written any more; restart to recover")]
    LogStopped,
}
