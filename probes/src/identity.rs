//! Who a process is: executable, container, pod, service.
//!
//! Invariants: what is known of one process is never told of another that got its pid later; what
//! is held is bounded; no answer waits for the network.

mod cgroup;
mod docker;
mod image;
mod kube;
mod metrics;
mod naming;
mod process;
mod resource;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::rules::{InForce, Subject};
use crate::span::attribute::Attribute;
use docker::Docker;
pub(crate) use kube::Pod;
use kube::{Placed, Pods, Watch};
use metrics::IdentityMetrics;
use naming::{Naming, Patterns};
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
    /// Pods that are held; more are left out, and counted.
    pub pods_max: usize,
    /// Labels of a pod whose value is the name of its service; the first that it has.
    pub service_name_labels: Vec<String>,
    /// Labels of pods that are told as `k8s.pod.label.*`; `*` stands for any text.
    pub pod_labels: Vec<String>,
    /// Annotations of pods that are told as `k8s.pod.annotation.*`.
    pub pod_annotations: Vec<String>,
    /// Where Docker keeps what it knows of containers, as the machine's first process sees it.
    pub docker_dir: PathBuf,
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
            service_name_labels: vec!["app.kubernetes.io/name".to_owned()],
            pod_labels: Vec::new(),
            pod_annotations: Vec::new(),
            docker_dir: PathBuf::from("/var/lib/docker"),
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
    docker_dir: PathBuf,
    processes_max: usize,
    host: Host,
    naming: Arc<Naming>,
    pods: Arc<Pods>,
    known: HashMap<u32, Known>,
    /// Counts lookups, to tell which process was not asked for the longest.
    lookups: u64,
    /// Counts changes to what is known of processes.
    changes: u64,
    /// What nobody is known to have done.
    nobody: Who,
    rules: InForce,
    metrics: IdentityMetrics,
}

/// A process that was looked up.
#[derive(Debug)]
struct Known {
    process: Process,
    /// A pod that is deleted is still where the process ran.
    placed: Option<Placed>,
    who: Who,
    /// By what name the kernel called it when it was asked for. A new name may mean a new program.
    names: Vec<String>,
    /// Of the pods and the rules, when they were last asked.
    versions: [u64; 2],
    asked: u64,
}

/// Threads have names of their own; a process that shows ever more of them is not read again.
const NAMES_MAX: usize = 16;

/// Who a process is.
#[derive(Debug, Clone, Default)]
pub struct Who {
    /// The same as long as the process lives, and never that of another.
    pub key: Arc<[u8]>,
    /// What is known of it by now.
    pub resource: Arc<Resource>,
    /// The same for rules.
    pub(crate) subject: Arc<Subject>,
    /// Where it runs.
    pub(crate) pod: Option<Arc<Pod>>,
}

/// Keeps the pods of this node up to date.
#[derive(Debug)]
pub struct IdentityTask {
    watch: Option<Watch>,
    pods: Arc<Pods>,
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
    let IdentityConfig { proc_dir, processes_max, host_name, kubernetes, node_name, .. } = config;
    let naming = Arc::new(Naming {
        service_labels: config.service_name_labels,
        labels: Patterns::new(&config.pod_labels),
        annotations: Patterns::new(&config.pod_annotations),
    });
    let metrics = IdentityMetrics::new(registry);
    let host = host(&proc_dir, host_name);
    let node = node_name.or_else(|| host.name.clone()).unwrap_or_default();
    let watch = client(kubernetes).await?.map(|client| Watch {
        client,
        node,
        pods_max: config.pods_max,
        naming: Arc::clone(&naming),
        metrics: metrics.clone(),
    });
    let pods = Arc::new(Pods::default());
    let mut identity = Identity {
        proc_dir,
        docker_dir: config.docker_dir,
        processes_max: processes_max.max(1),
        host,
        naming,
        pods: Arc::clone(&pods),
        known: HashMap::new(),
        lookups: 0,
        changes: 0,
        nobody: Who::default(),
        rules: InForce::default(),
        metrics,
    };
    identity.nobody = identity.who(0, &Process::default(), None);
    Ok((identity, IdentityTask { watch, pods }))
}

impl Identity {
    /// Looks a process up while it lives, so that a short one is known when its exchange ends.
    pub fn process_seen(&mut self, pid: u32, process_started: u64) {
        if !self.is_known(pid, process_started) {
            self.look_up(pid, process_started);
        }
    }

    /// A process has begun a program. What was read of it between its fork and this is its parent's: name, arguments, often
    /// the container.
    pub(crate) fn begins(&mut self, pid: u32, process_started: u64) {
        if self.holds(pid) {
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
        let versions = self.versions();
        let asked = self.lookups;
        let Some(known) = self.known.get_mut(&pid) else {
            return self.stranger(pid, process_started, comm);
        };
        known.asked = asked;
        if known.versions == versions {
            return known.who.clone();
        }
        self.refresh(pid, versions).unwrap_or_else(|| self.nobody.clone())
    }

    /// What the pods and the rules say by now of a process that is held.
    fn refresh(&mut self, pid: u32, versions: [u64; 2]) -> Option<Who> {
        let mut known = self.known.remove(&pid)?;
        known.versions = versions;
        known.placed = self.pods.find(&known.process.cgroup).or(known.placed);
        known.who = self.who(pid, &known.process, known.placed.as_ref());
        let who = known.who.clone();
        self.known.insert(pid, known);
        Some(who)
    }

    fn versions(&self) -> [u64; 2] {
        [self.pods.version(), self.rules.version()]
    }

    /// As long as this is the same, a process that is held is who it was: what is known of pods, of the rules, and of
    /// processes.
    pub(crate) fn as_of(&self) -> [u64; 3] {
        let [pods, rules] = self.versions();
        [pods, rules, self.changes]
    }

    /// Something is known of the process with this number, and need not be looked for each time.
    pub(crate) fn holds(&self, pid: u32) -> bool {
        self.known.contains_key(&pid)
    }

    /// Asks these rules what services are called.
    pub(crate) fn rule(&mut self, rules: InForce) {
        self.rules = rules;
    }

    fn who(&self, pid: u32, process: &Process, placed: Option<&Placed>) -> Who {
        let Self { host, naming, rules, .. } = self;
        let mut subject = naming::subject(naming, process, placed);
        if let Some(name) = rules.rules().service_name(&subject) {
            name.clone_into(&mut subject.service);
        }
        let resource = resource::resource(host, naming, pid, process, placed, &subject.service);
        let key = key(pid, process.started_ticks);
        let pod = placed.map(|placed| Arc::clone(&placed.pod));
        Who { key, resource: Arc::new(resource), subject: Arc::new(subject), pod }
    }

    /// The service and pod that have an address of their own, as far as it is one of this node.
    pub(crate) fn peer(&self, address: IpAddr) -> Vec<Attribute> {
        let Some(pod) = self.pods.at(address) else { return Vec::new() };
        let name = naming::of_pod(&self.naming, &pod).unwrap_or_default();
        let namespace = pod.given("service.namespace").unwrap_or(&pod.namespace);
        vec![
            Attribute::text("service.peer.name", name.to_owned()),
            Attribute::text("service.peer.namespace", namespace.to_owned()),
            Attribute::text("icecore.peer.k8s.namespace.name", pod.namespace.clone()),
            Attribute::text("icecore.peer.k8s.pod.name", pod.name.clone()),
        ]
    }

    /// The pod at an address of its own, as far as it is one of this node.
    pub(crate) fn pod_at(&self, address: IpAddr) -> Option<Arc<Pod>> {
        self.pods.at(address)
    }

    /// Every container of this node's pods, and how often it was started again.
    pub(crate) fn restarts(&self) -> Vec<(Arc<Resource>, i64)> {
        let all = self.pods.containers().into_iter();
        let restarts = all.filter_map(|placed| {
            let container = placed.container()?;
            let cgroup = cgroup::Cgroup {
                container_id: Some(container.id.clone()),
                ..cgroup::Cgroup::default()
            };
            let process = Process { cgroup, ..Process::default() };
            Some((self.who(0, &process, Some(&placed)).resource, container.restarts))
        });
        restarts.collect()
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
        let Some(mut process) = process::read(&self.proc_dir, pid).filter(meant) else {
            // Whoever is held under this pid is another, unless it only could not be read again.
            if !self.is_known(pid, process_started) && self.known.remove(&pid).is_some() {
                self.changes += 1;
            }
            return;
        };
        let names = match self.known.remove(&pid) {
            Some(known) if known.process.started_ticks == process.started_ticks => known.names,
            _ => vec![process.comm.clone()],
        };
        self.make_room();
        let versions = self.versions();
        let placed = self.pods.find(&process.cgroup);
        process.docker = self.docker(&process, placed.as_ref());
        let who = self.who(pid, &process, placed.as_ref());
        let asked = self.lookups;
        self.changes += 1;
        self.known.insert(pid, Known { process, placed, who, names, versions, asked });
    }

    /// What Docker says of the process's container, where it is of no pod.
    fn docker(&self, process: &Process, placed: Option<&Placed>) -> Option<Docker> {
        let id = process.cgroup.container_id.as_ref()?;
        let of_pod = placed.is_some() || process.cgroup.pod_uid.is_some();
        if of_pod { None } else { docker::read(&self.proc_dir, &self.docker_dir, id) }
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
        self.metrics.unknown();
        let started_ticks = process::ticks(process_started);
        let process = Process { started_ticks, comm: comm.to_owned(), ..Process::default() };
        self.who(pid, &process, None)
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
        if let Some(watch) = self.watch {
            kube::watch(watch, &self.pods, &stop).await;
        }
    }
}
