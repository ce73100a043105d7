//! Who a process is: executable, container, pod, service.
//!
//! Invariants: what is known of one process is never told of another that got its pid later; what
//! is held is bounded; no answer waits for the network.

mod cgroup;
mod kube;
mod process;
mod resource;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use kube::Pods;
use process::Process;
use resource::Host;

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
    /// The node whose pods are watched; the host's name when none.
    pub node_name: Option<String>,
    /// Pods that are held; more are left out.
    pub pods_max: usize,
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
            node_name: None,
            pods_max: 10_000,
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
    proc_dir: PathBuf,
    processes_max: usize,
    host: Host,
    pods: Arc<Pods>,
    known: HashMap<u32, Known>,
    /// Counts lookups, to tell which process was not asked for the longest.
    lookups: u64,
    /// What nobody is known to have done.
    nobody: Who,
    unknown: Counter,
}

/// A process that was looked up.
#[derive(Debug)]
struct Known {
    process: Process,
    who: Who,
    /// By what name the kernel called it when it was asked for. A new name may mean a new program.
    names: Vec<String>,
    pods_version: u64,
    asked: u64,
}

/// Threads have names of their own; a process that shows ever more of them is not read again.
const NAMES_MAX: usize = 16;

/// Who a process is.
#[derive(Debug, Clone)]
pub struct Who {
    /// The same as long as the process lives, and never that of another.
    pub key: Arc<[u8]>,
    /// What is known of it by now.
    pub resource: Arc<Resource>,
}

/// Keeps the pods of this node up to date.
#[derive(Debug)]
pub struct IdentityTask {
    watch: Option<Watch>,
    pods: Arc<Pods>,
}

struct Watch {
    client: ::kube::Client,
    node: String,
    pods_max: usize,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Checks the configuration. Does no network I/O.
pub async fn open(
    config: IdentityConfig,
    registry: &mut Registry,
) -> Result<(Identity, IdentityTask), IdentityError> {
    let IdentityConfig { proc_dir, processes_max, host_name, kubernetes, node_name, pods_max } =
        config;
    let unknown = Counter::default();
    registry.register(
        "icecore_probes_processes_unknown",
        "Exchanges, connections and readings whose process was gone before it could be looked up",
        unknown.clone(),
    );
    let host = host(&proc_dir, host_name);
    let resource = Arc::new(resource::resource(&host, 0, &Process::default(), None));
    let nobody = Who { key: key(0, 0), resource };
    let node = node_name.or_else(|| host.name.clone()).unwrap_or_default();
    let client = client(kubernetes).await?;
    let watch = client.map(|client| Watch { client, node, pods_max });
    let pods = Arc::new(Pods::default());
    let identity = Identity {
        proc_dir,
        processes_max: processes_max.max(1),
        host,
        pods: Arc::clone(&pods),
        known: HashMap::new(),
        lookups: 0,
        nobody,
        unknown,
    };
    Ok((identity, IdentityTask { watch, pods }))
}

impl Identity {
    /// Looks a process up while it lives, so that a short one is known when its exchange ends.
    pub fn process_seen(&mut self, pid: u32, process_started: u64) {
        if !self.is_known(pid, process_started) {
            self.look_up(pid, process_started);
        }
    }

    /// The OTLP resource of a process; `comm` must do where it is gone and was never seen.
    pub fn resource(&mut self, pid: u32, process_started: u64, comm: &str) -> Who {
        if pid == 0 {
            return self.nobody.clone();
        }
        if !self.is_known(pid, process_started) || self.is_renamed(pid, comm) {
            self.look_up(pid, process_started);
        }
        self.lookups += 1;
        let version = self.pods.version();
        let Some(known) = self.known.get_mut(&pid) else {
            return self.stranger(pid, process_started, comm);
        };
        known.asked = self.lookups;
        if known.pods_version != version {
            known.pods_version = version;
            // A pod that is deleted is still where the process ran.
            if let Some(placed) = self.pods.find(&known.process.cgroup) {
                let resource = resource::resource(&self.host, pid, &known.process, Some(&placed));
                known.who.resource = Arc::new(resource);
            }
        }
        known.who.clone()
    }

    /// The OTLP resource of the machine.
    pub(crate) fn host(&self) -> Resource {
        resource::host(&self.host)
    }

    /// What is held is of the process that is meant, and not of another that had the pid.
    fn is_known(&self, pid: u32, process_started: u64) -> bool {
        let Some(known) = self.known.get(&pid) else { return false };
        let ticks = match process_started {
            0 => process::started_ticks(&self.proc_dir, pid),
            nanos => Some(process::ticks(nanos)),
        };
        // One that is gone is still who it was.
        ticks.is_none_or(|ticks| ticks == known.process.started_ticks)
    }

    fn is_renamed(&mut self, pid: u32, comm: &str) -> bool {
        let Some(known) = self.known.get_mut(&pid) else { return false };
        if known.names.iter().any(|name| name == comm) || known.names.len() >= NAMES_MAX {
            return false;
        }
        known.names.push(comm.to_owned());
        true
    }

    fn look_up(&mut self, pid: u32, process_started: u64) {
        let meant = |process: &Process| {
            process_started == 0 || process.started_ticks == process::ticks(process_started)
        };
        let Some(process) = process::read(&self.proc_dir, pid).filter(meant) else {
            // Whoever is held under this pid is another, unless it only could not be read again.
            if !self.is_known(pid, process_started) {
                self.known.remove(&pid);
            }
            return;
        };
        let names = match self.known.remove(&pid) {
            Some(known) if known.process.started_ticks == process.started_ticks => known.names,
            _ => vec![process.comm.clone()],
        };
        self.make_room();
        let pods_version = self.pods.version();
        let placed = self.pods.find(&process.cgroup);
        let resource = resource::resource(&self.host, pid, &process, placed.as_ref());
        let key = key(pid, process.started_ticks);
        let who = Who { key, resource: Arc::new(resource) };
        let asked = self.lookups;
        self.known.insert(pid, Known { process, who, names, pods_version, asked });
    }

    fn make_room(&mut self) {
        if self.known.len() < self.processes_max {
            return;
        }
        let oldest = self.known.iter().min_by_key(|(_, known)| known.asked).map(|(pid, _)| *pid);
        if let Some(oldest) = oldest {
            self.known.remove(&oldest);
        }
    }

    /// A process that nobody looked up while it lived. Not held: it will not come back.
    fn stranger(&self, pid: u32, process_started: u64, comm: &str) -> Who {
        self.unknown.inc();
        let started_ticks = process::ticks(process_started);
        let process = Process { started_ticks, comm: comm.to_owned(), ..Process::default() };
        let resource = resource::resource(&self.host, pid, &process, None);
        Who { key: key(pid, started_ticks), resource: Arc::new(resource) }
    }
}

fn key(pid: u32, started_ticks: u64) -> Arc<[u8]> {
    Arc::from(format!("{pid}:{started_ticks}").into_bytes())
}

fn host(proc_dir: &Path, name: Option<String>) -> Host {
    let line = |path: &Path| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let name = name.or_else(|| line(&proc_dir.join("sys/kernel/hostname")));
    Host { name, id: line(Path::new("/etc/machine-id")) }
}

async fn client(kubernetes: Kubernetes) -> Result<Option<::kube::Client>, IdentityError> {
    let config = match kubernetes {
        Kubernetes::Off => return Ok(None),
        Kubernetes::InCluster if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() => {
            return Ok(None);
        }
        Kubernetes::InCluster => match ::kube::Config::incluster() {
            Ok(config) => config,
            Err(error) => {
                // A pod may run without a service account, on purpose.
                warn!(error = &error as &dyn std::error::Error, "pods stay unknown");
                return Ok(None);
            }
        },
        Kubernetes::Kubeconfig(path) => from_kubeconfig(&path).await?,
    };
    let wrong = |error: ::kube::Error| wrong("its configuration", error.to_string());
    ::kube::Client::try_from(config).map(Some).map_err(wrong)
}

async fn from_kubeconfig(path: &Path) -> Result<::kube::Config, IdentityError> {
    let origin = path.display().to_string();
    let kubeconfig = ::kube::config::Kubeconfig::read_from(path)
        .map_err(|error| wrong(&origin, error.to_string()))?;
    let options = ::kube::config::KubeConfigOptions::default();
    ::kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| wrong(&origin, error.to_string()))
}

fn wrong(origin: &str, reason: String) -> IdentityError {
    IdentityError::Kubernetes { origin: origin.to_owned(), reason }
}

impl IdentityTask {
    /// Watches until `stop`; returns at once when there is nothing to watch.
    pub async fn run(self, stop: CancellationToken) {
        if let Some(Watch { client, node, pods_max }) = self.watch {
            kube::watch(client, &node, pods_max, &self.pods, &stop).await;
        }
    }
}
