//! Who a process is: executable, container, pod, service.
//!
//! Invariants: what is known of one process is never told of another that got its pid later; what
//! is held is bounded; no answer waits for the network.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

/// Where identity comes from.
#[derive(Debug, Clone)]
pub struct IdentityConfig {
    /// Where procfs of the host is mounted.
    pub proc_dir: PathBuf,
    /// Processes that are remembered; the one not asked for the longest makes room.
    pub processes_max: usize,
    /// `host.name`; the machine's own when none.
    pub host_name: Option<String>,
    /// Pods of this node, from the Kubernetes API.
    pub kubernetes: Kubernetes,
    /// What is known of a process is read again after this (its pod may become known later).
    pub refresh_after: Duration,
}

/// Whether to ask the Kubernetes API, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Kubernetes {
    /// Use the service account of the pod that this runs in, if it runs in one.
    #[default]
    InCluster,
    /// Use this kubeconfig.
    Kubeconfig(PathBuf),
    /// Never ask.
    Off,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            proc_dir: PathBuf::from("/proc"),
            processes_max: 16_384,
            host_name: None,
            kubernetes: Kubernetes::default(),
            refresh_after: Duration::from_secs(30),
        }
    }
}

/// Why identity could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The Kubernetes API was asked for and cannot be configured.
    #[error("cannot set up the Kubernetes API client from {origin}: {reason}")]
    Kubernetes {
        /// Where the configuration comes from.
        origin: String,
        /// In words.
        reason: String,
    },
}

/// Answers who a process is. One for each thread that parses.
#[derive(Debug)]
pub struct Identity {
    config: IdentityConfig,
}

/// Keeps the pods of this node up to date.
#[derive(Debug)]
pub struct IdentityTask {}

/// Checks the configuration. Does no network I/O.
pub async fn open(
    config: IdentityConfig,
    registry: &mut Registry,
) -> Result<(Identity, IdentityTask), IdentityError> {
    let _ = registry;
    Ok((Identity { config }, IdentityTask {}))
}

impl Identity {
    /// Looks a process up while it lives, so that a short one is known when its exchange ends.
    pub fn process_seen(&mut self, pid: u32, process_started: u64) {
        let _ = (pid, process_started, &self.config);
    }

    /// The OTLP resource of a process; `comm` must do where it is gone and was never seen.
    pub fn resource(&mut self, pid: u32, process_started: u64, comm: &str) -> Arc<Resource> {
        let _ = (pid, process_started, comm);
        Arc::new(Resource::default())
    }
}

impl IdentityTask {
    /// Watches until `stop`; returns at once when there is nothing to watch.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
