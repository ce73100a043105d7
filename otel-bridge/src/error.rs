//! What can go wrong before the bridge runs, and what a worker reports while it does.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A failure of the bridge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A destination that cannot be sent to.
    #[error("cannot forward to `{destination}`: {reason}")]
    Destination {
        /// The URL, or the part of it that may be shown.
        destination: String,
        /// In words.
        reason: String,
    },
    /// Two destinations would share a cursor.
    #[error("two destinations are named `{name}`")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Forwarding there would send everything round for ever.
    #[error("cannot forward to `{name}`: {address} is our own OTLP address")]
    Loop {
        /// The destination.
        name: String,
        /// Where it leads.
        address: SocketAddr,
    },
    /// A header that HTTP does not allow. Its value is not shown.
    #[error("header `{header}` of destination `{name}` is not a header that can be sent")]
    Header {
        /// The destination.
        name: String,
        /// The header's name.
        header: String,
    },
    /// A bound that would stop everything.
    #[error("`{setting}` of the bridge must be above zero")]
    Zero {
        /// The setting.
        setting: &'static str,
    },
    /// The client for a destination could not be made.
    #[error("cannot make a client for destination `{name}`")]
    Client {
        /// The destination.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A cursor or its folder cannot be read or written.
    #[error("cannot {action} `{path}`", path = path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A cursor file that is not one.
    #[error("`{path}` is not a cursor; delete it to start at the end of the log", path = path.display())]
    Cursor {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A task of the bridge died.
    #[error("a worker of the bridge died")]
    Worker(#[source] tokio::task::JoinError),
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Change the settings.
    Config,
    /// Mend the disk or its permissions.
    Io,
    /// Report it.
    Internal,
}

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Destination { .. }
            | Self::Duplicate { .. }
            | Self::Loop { .. }
            | Self::Header { .. }
            | Self::Zero { .. }
            | Self::Client { .. } => ErrorKind::Config,
            Self::File { .. } | Self::Cursor { .. } => ErrorKind::Io,
            Self::Worker(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn destination(destination: &str, reason: &str) -> Self {
        Self::Destination { destination: destination.to_owned(), reason: reason.to_owned() }
    }
}
