//! How a command ends when it does not end well.
//!
//! Invariant: every failure has one kind, and the kind alone decides the exit code.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// What went wrong, as far as the shell cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Exit code 1.
    Failed,
    /// Exit code 2.
    Usage,
    /// Exit code 3.
    NothingFound,
}

/// One sentence for the person at the terminal, with the chain of causes.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
}

/// What every command returns.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// The command ran and did not succeed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into() }
    }

    /// The command was not asked rightly.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, message: message.into() }
    }

    /// What was asked for is not there.
    pub(crate) fn nothing_found(message: impl Into<String>) -> Self {
        Self { kind: Kind::NothingFound, message: message.into() }
    }

    /// Whether what was asked for is not there.
    pub(crate) fn is_nothing_found(&self) -> bool {
        self.kind == Kind::NothingFound
    }

    /// Wraps an error of a part, its causes appended.
    pub(crate) fn from_error(context: &str, error: &(dyn Error + 'static)) -> Self {
        Self::failed(format!("{context}: {}", chain(error)))
    }

    /// The exit code of the contract.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::NothingFound => 3,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error and its causes in one line; a cause that its error already tells is not told twice.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
