//! What can go wrong, in words.

use std::path::PathBuf;

/// A failure of a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot print")]
    Print(#[source] std::io::Error),
    #[error("cannot {action} `{path}`", path = path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("`{path}` is not a record of acknowledged items", path = path.display())]
    NotARecord { path: PathBuf },
    #[error("cannot send to `{url}`: {reason}")]
    Endpoint { url: String, reason: String },
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("cannot ask `{url}`")]
    Ask { url: String, source: reqwest::Error },
    #[error("`{url}` answered {status}: {message}")]
    Answer { url: String, status: u16, message: String },
    #[error("the answer to `{query}` ended early: {got} of {wanted} rows")]
    Short { query: String, got: u64, wanted: u64 },
    #[error("cannot understand the answer `{line}`")]
    Row { line: String },
    #[error("cannot start `{path}`", path = path.display())]
    Spawn { path: PathBuf, source: std::io::Error },
    #[error("`{path}` did not become ready; it said:\n{said}", path = path.display())]
    NotReady { path: PathBuf, said: String },
    #[error("cannot kill the server")]
    Kill(#[source] std::io::Error),
    #[error("`{path}` does not say `{what}`")]
    Proc { path: PathBuf, what: &'static str },
    #[error("the server is not idle, and nothing changed for {seconds} s: {what}")]
    Busy { seconds: u64, what: String },
    #[error("not done within {seconds} s")]
    TooLong { seconds: u64 },
    #[error("{name} failed: {said}")]
    Peer { name: &'static str, said: String },
    #[error("interrupted")]
    Interrupted,
    #[error("cannot write the report as JSON")]
    Json(#[source] serde_json::Error),
    #[error("a task of the load died")]
    Task(#[source] tokio::task::JoinError),
}

impl Error {
    /// The error and its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
