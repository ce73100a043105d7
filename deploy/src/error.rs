//! What can go wrong between options and a cluster.

use crate::ObjectName;

/// A failure to render, apply, watch over or delete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Options that no cluster could run; every fault is named.
    #[error("cannot deploy: {}", problems.join("; "))]
    Options {
        /// One sentence each.
        problems: Vec<String>,
    },
    /// An object that cannot be written as YAML.
    #[error("cannot write {object} as YAML")]
    Yaml {
        /// Which.
        object: ObjectName,
        /// Why.
        source: serde_yaml_ng::Error,
    },
    /// An object that cannot be turned into the generic form. A fault of ours.
    #[error("cannot build {object}")]
    Object {
        /// Which.
        object: ObjectName,
        /// Why.
        source: serde_json::Error,
    },
    /// No usable kubeconfig, and not within a cluster.
    #[error("cannot find a Kubernetes cluster{}", context.as_ref().map(|name| format!(" named `{name}` in the kubeconfig")).unwrap_or_default())]
    Connect {
        /// The context that was asked for.
        context: Option<String>,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The Kubernetes API refused or did not answer.
    #[error("cannot {action} {object}")]
    Api {
        /// What was being done.
        action: &'static str,
        /// With what.
        object: ObjectName,
        /// Why not.
        source: Box<kube::Error>,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Change the options.
    Options,
    /// Check the kubeconfig and that the cluster answers.
    Unreachable,
    /// Ask for permission.
    Forbidden,
    /// Someone else owns fields of the object; apply by force to take them.
    Conflict,
    /// Report it.
    Internal,
}

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Options { .. } => ErrorKind::Options,
            Self::Yaml { .. } | Self::Object { .. } => ErrorKind::Internal,
            Self::Connect { .. } => ErrorKind::Unreachable,
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                    ErrorKind::Forbidden
                }
                kube::Error::Api(status) if status.code == 409 => ErrorKind::Conflict,
                kube::Error::Api(_) => ErrorKind::Options,
                _ => ErrorKind::Unreachable,
            },
        }
    }
}
