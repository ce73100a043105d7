//! Icecore on Kubernetes: manifests from typed objects, and the few calls that install them.
//!
//! Invariants: the same options give the same text; no container is privileged, and only the
//! probe has capabilities, each named; no secret value passes through here, only names of
//! Secrets; nothing is deleted that does not carry our label.
#![deny(missing_docs)]

mod apply;
mod cluster;
mod delete;
mod error;
mod manifest;
mod objects;
mod options;
mod render;
mod status;

pub use apply::{Applied, ApplyOptions, Change, apply};
pub use cluster::Cluster;
pub use delete::{Deletion, delete};
pub use error::{Error, ErrorKind};
pub use manifest::ObjectName;
pub use options::{Options, Resources};
pub use render::render;
pub use status::{Rollout, status};
