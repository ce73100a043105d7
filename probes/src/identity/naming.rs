//! What a service is called: name, namespace, version and instance.
//!
//! Invariant: pure; of all that says a name the most deliberate wins, in the order of the conventions
//! for Kubernetes, and the name is never empty.

use super::image::Image;
use super::kube::{Placed, Pod};
use super::process::Process;
use super::resource::Host;
use crate::pattern::Pattern;
use crate::rules::Subject;

/// What of labels and annotations counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Naming {
    /// Labels whose value is the name of the service; the first that a pod has.
    pub(crate) service_labels: Vec<String>,
    /// Labels that are told as attributes.
    pub(crate) labels: Patterns,
    /// Annotations that are told as attributes.
    pub(crate) annotations: Patterns,
}

/// Names, each with or without stars.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patterns(Vec<Pattern>);

impl Patterns {
    pub(crate) fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|one| Pattern::new(one)).collect())
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }
}

/// The longest name that the kernel keeps of a thread.
const COMM_BYTES_MAX: usize = 15;

/// A label that the conventions know, and whose value is the version of what runs.
const VERSION_LABEL: &str = "app.kubernetes.io/version";

/// `service.name`: by the process's environment, its pod, its container, its systemd unit, its program.
pub(crate) fn name(naming: &Naming, process: &Process, placed: Option<&Placed>) -> String {
    let docker = || process.docker.as_ref();
    let composed = || docker()?.service.as_deref();
    let container = || docker().map(|docker| docker.name.as_str());
    let unit = || process.cgroup.unit.as_deref().filter(|_| process.started_by_init);
    let named = process
        .given("service.name")
        .or_else(|| of_pod(naming, &placed?.pod))
        .or_else(composed)
        .or_else(container)
        .or_else(unit)
        .filter(|name| !name.is_empty());
    named.map_or_else(|| executable(process), str::to_owned)
}

/// The name of the service that a pod is of.
pub(crate) fn of_pod<'a>(naming: &'a Naming, pod: &'a Pod) -> Option<&'a str> {
    let by_label = || naming.service_labels.iter().find_map(|key| pod.label(key));
    // The outermost owner, as far as one is known.
    let owner = || pod.owners.last().map(|(_, name)| name.as_str());
    pod.given("service.name").or_else(by_label).or_else(owner).or(Some(&pod.name))
}

/// A process as rules know it.
pub(crate) fn subject(naming: &Naming, process: &Process, placed: Option<&Placed>) -> Subject {
    let mut subject = Subject {
        process: executable(process),
        executable: process.executable.clone().unwrap_or_default(),
        service: name(naming, process, placed),
        ..Subject::default()
    };
    if let Some(docker) = &process.docker {
        subject.container.clone_from(&docker.name);
    }
    if let Some(placed) = placed {
        let Pod { namespace, name, labels, .. } = &*placed.pod;
        subject.namespace.clone_from(namespace);
        subject.pod.clone_from(name);
        subject.labels.clone_from(labels);
        let container = placed.container();
        subject.container = container.map(|one| one.name.clone()).unwrap_or_default();
    }
    subject
}

/// `service.namespace`.
pub(crate) fn namespace(process: &Process, placed: Option<&Placed>) -> Option<String> {
    let of_pod = || {
        let pod = &placed?.pod;
        pod.given("service.namespace").or(Some(&pod.namespace))
    };
    let project = || process.docker.as_ref()?.project.as_deref();
    process.given("service.namespace").or_else(of_pod).or_else(project).map(str::to_owned)
}

/// `service.version`.
pub(crate) fn version(process: &Process, placed: Option<&Placed>) -> Option<String> {
    let of_pod = || {
        let pod = &placed?.pod;
        pod.given("service.version").or_else(|| pod.label(VERSION_LABEL)).map(str::to_owned)
    };
    let given = process.given("service.version").map(str::to_owned);
    given.or_else(of_pod).or_else(|| image(process, placed)?.version())
}

/// The image of the container.
pub(crate) fn image<'a>(process: &'a Process, placed: Option<&'a Placed>) -> Option<&'a Image> {
    let of_pod = placed.and_then(Placed::container).map(|container| &container.image);
    let image = of_pod.or_else(|| process.docker.as_ref().map(|docker| &docker.image))?;
    Some(image).filter(|image| !image.name.is_empty())
}

/// `service.instance.id`: of a pod the same after a restart, so that a crash loop is one instance.
pub(crate) fn instance(
    host: &Host,
    pid: u32,
    process: &Process,
    placed: Option<&Placed>,
) -> String {
    let given = process.given("service.instance.id");
    if let Some(given) = given.or_else(|| placed?.pod.given("service.instance.id")) {
        return given.to_owned();
    }
    match placed {
        Some(placed) => {
            let Pod { namespace, name, .. } = &*placed.pod;
            let container = placed.container().map_or("", |container| &container.name);
            format!("{namespace}.{name}.{container}")
        }
        None => {
            let host = host.name.as_deref().unwrap_or_default();
            format!("{host}:{pid}:{}", process.started_ticks)
        }
    }
}

/// The program as one calls it: `python3`, not `python3.11`, where it was called so, and by the name of a link
/// that leads to a file for several programs: `redis-server`, not `redis-check-rdb`.
pub(crate) fn executable(process: &Process) -> String {
    let file_name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let called = process.arguments.first().map(|argument| file_name(argument));
    match (process.executable.as_deref().map(file_name), called) {
        (Some(program), Some(called)) if !called.is_empty() && program.starts_with(&called) => {
            called
        }
        (Some(program), _) => by_link(process).unwrap_or(program),
        (None, _) if process.comm.is_empty() => "unknown_service".to_owned(),
        (None, _) => process.comm.clone(),
    }
}

/// The name by which a program was started: what the kernel took down as it began, where the program goes by it
/// still. A script is named by the kernel and its interpreter by the first argument: then neither is it.
fn by_link(process: &Process) -> Option<String> {
    let word = process.arguments.first()?.split(' ').next()?;
    let word = word.rsplit('/').next()?;
    let comm = process.comm.as_str();
    let same = word == comm || comm.len() == COMM_BYTES_MAX && word.starts_with(comm);
    (same && !word.is_empty()).then(|| word.to_owned())
}

#[cfg(test)]
mod tests;
