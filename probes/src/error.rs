//! Why a probe could not be opened or had to stop.
//!
//! Invariant: whatever this machine or this user does not allow is `Unsupported` or
//! `Unprivileged`, so that the rest of the process can go on without a probe.

use crate::emit::EmitError;
use crate::identity::IdentityError;
use crate::rules::RulesError;

/// What the caller may want to do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Run with more privileges, or go on without.
    Unprivileged,
    /// This kernel or this build cannot; go on without.
    Unsupported,
    /// Mend the configuration.
    Config,
    /// Anything else; a person is needed.
    Failed,
}

/// Everything that can go wrong with the agent as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Loading programs into the kernel is not permitted.
    #[error(
        "not allowed to load kernel programs: run as root, or with CAP_BPF, CAP_PERFMON and \
         CAP_SYS_PTRACE"
    )]
    Unprivileged,
    /// The kernel lacks something that no rung can do without.
    #[error("this machine cannot be probed: {reason}")]
    Unsupported {
        /// What is missing, with figures.
        reason: String,
    },
    /// The binary was built without kernel programs.
    #[error("this build carries no kernel programs: build without ICECORE_SKIP_EBPF")]
    NotBuilt,
    /// A setting that cannot be used.
    #[error("cannot use {name} = {value}: {reason}")]
    Config {
        /// The setting.
        name: &'static str,
        /// As configured.
        value: u64,
        /// In words.
        reason: String,
    },
    /// The kernel refused a program that it should have taken.
    #[error("cannot load the kernel program `{program}`")]
    Program {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object with the kernel programs could not be loaded.
    #[error("cannot load the kernel programs")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A map of the kernel programs is missing or of another kind.
    #[error("cannot use the kernel map `{map}`")]
    Map {
        /// Its name.
        map: &'static str,
        /// What was wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The rings could not be waited for.
    #[error("cannot wait for the ring of kernel records")]
    Ring(#[source] std::io::Error),
    /// The open sockets could not be walked over.
    #[error("cannot walk over the open sockets")]
    Walk(#[source] std::io::Error),
    /// Processes could not be listed.
    #[error("cannot list the processes of the machine")]
    Proc(#[source] std::io::Error),
    /// The sending side could not be set up.
    #[error("cannot set up the OTLP exporter of the probe")]
    Emit(#[source] EmitError),
    /// Identity could not be set up.
    #[error("cannot set up process identity")]
    Identity(#[source] IdentityError),
    /// The file of rules cannot be used.
    #[error("cannot use the rules of the probe")]
    Rules(#[source] RulesError),
    /// A task of the agent panicked.
    #[error("a task of the probe failed")]
    Task(#[source] tokio::task::JoinError),
    /// There is no thread for who reads the rings, or for the profiler.
    #[error("cannot start a thread of the probe")]
    Thread(#[source] std::io::Error),
    /// The thread that reads the rings panicked.
    #[error("the thread that reads the rings failed")]
    Reader,
    /// The profiler did not end as it should; what it had of its last interval is lost.
    #[error("the profiler did not end well: {0}")]
    Profiler(&'static str),
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unprivileged => ErrorKind::Unprivileged,
            Self::Unsupported { .. } | Self::NotBuilt => ErrorKind::Unsupported,
            Self::Config { .. } | Self::Emit(_) | Self::Identity(_) | Self::Rules(_) => {
                ErrorKind::Config
            }
            Self::Program { .. }
            | Self::Load(_)
            | Self::Map { .. }
            | Self::Ring(_)
            | Self::Walk(_)
            | Self::Proc(_)
            | Self::Task(_)
            | Self::Thread(_)
            | Self::Reader
            | Self::Profiler(_) => ErrorKind::Failed,
        }
    }
}
