//! The OTLP resource of a process.
//!
//! Invariants: pure; keys are those of the semantic conventions, absent rather than empty, and each
//! is there once; what an environment or an annotation says never takes the place of what was seen.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::kube::{Container, Placed};
use super::naming::{self, Naming};
use super::process::Process;
use crate::span::attribute::{integer, text, texts};

/// What is the same for every process of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: Option<String>,
    pub(crate) id: Option<String>,
}

/// The resource of a process, in a pod where it is in one.
pub(crate) fn resource(
    host: &Host,
    naming: &Naming,
    pid: u32,
    process: &Process,
    placed: Option<&Placed>,
    service_name: &str,
) -> Resource {
    let mut list = vec![text("service.name", service_name)];
    service(&mut list, host, (pid, process), placed);
    if pid != 0 {
        list.push(integer("process.pid", i64::from(pid)));
    }
    put(&mut list, "process.executable.name", Some(&naming::executable(process)));
    put(&mut list, "process.executable.path", process.executable.as_deref());
    put(&mut list, "process.command", process.arguments.first().map(String::as_str));
    put(&mut list, "host.name", host.name.as_deref());
    put(&mut list, "host.id", host.id.as_deref());
    put(&mut list, "os.type", Some("linux"));
    put(&mut list, "telemetry.distro.name", Some("icecore"));
    put(&mut list, "telemetry.distro.version", Some(env!("CARGO_PKG_VERSION")));
    if !process.arguments.is_empty() {
        list.push(texts("process.command_args", &process.arguments));
    }
    container(&mut list, process, placed);
    if let Some(placed) = placed {
        kubernetes(&mut list, naming, placed);
    } else {
        put(&mut list, "k8s.pod.uid", process.cgroup.pod_uid.as_deref());
    }
    let annotated = placed.map(|placed| placed.pod.given.as_slice()).unwrap_or_default();
    for (key, value) in process.given.iter().chain(annotated) {
        if !list.iter().any(|one| one.key == *key) {
            put(&mut list, key, Some(value));
        }
    }
    Resource { attributes: list, ..Resource::default() }
}

/// The resource of the machine itself.
pub(crate) fn host(host: &Host) -> Resource {
    let pairs = [
        ("service.name", Some("icecore.host")),
        ("host.name", host.name.as_deref()),
        ("host.id", host.id.as_deref()),
        ("os.type", Some("linux")),
        ("telemetry.distro.name", Some("icecore")),
        ("telemetry.distro.version", Some(env!("CARGO_PKG_VERSION"))),
    ];
    let known = pairs.into_iter().filter_map(|(key, value)| Some(text(key, value?)));
    Resource { attributes: known.collect(), ..Resource::default() }
}

fn put(list: &mut Vec<KeyValue>, key: &str, value: Option<&str>) {
    list.extend(value.filter(|value| !value.is_empty()).map(|value| text(key, value)));
}

fn service(
    list: &mut Vec<KeyValue>,
    host: &Host,
    (pid, process): (u32, &Process),
    placed: Option<&Placed>,
) {
    put(list, "service.namespace", naming::namespace(process, placed).as_deref());
    put(list, "service.version", naming::version(process, placed).as_deref());
    list.push(text("service.instance.id", &naming::instance(host, pid, process, placed)));
}

fn container(list: &mut Vec<KeyValue>, process: &Process, placed: Option<&Placed>) {
    put(list, "container.id", process.cgroup.container_id.as_deref());
    let docker = process.docker.as_ref();
    put(list, "container.name", docker.map(|docker| docker.name.as_str()));
    let of_pod = placed.and_then(Placed::container);
    let runtime = of_pod.map(|container| container.runtime.as_str());
    put(list, "container.runtime.name", runtime.or(docker.map(|_| "docker")));
    if let Some(image) = naming::image(process, placed) {
        put(list, "container.image.name", Some(&image.name));
        list.extend(image.tag.clone().map(|tag| texts("container.image.tags", &[tag])));
    }
    let image_id = of_pod.map(|container| &container.image_id);
    if let Some(id) = image_id.or(docker.map(|docker| &docker.image_id)) {
        put(list, "container.image.id", Some(id));
        // `docker.io/library/nginx@sha256:…`
        if id.contains('@') {
            list.push(texts("container.image.repo_digests", std::slice::from_ref(id)));
        }
    }
}

fn kubernetes(list: &mut Vec<KeyValue>, naming: &Naming, placed: &Placed) {
    let pod = &placed.pod;
    put(list, "k8s.pod.name", Some(&pod.name));
    put(list, "k8s.pod.uid", Some(&pod.uid));
    put(list, "k8s.namespace.name", Some(&pod.namespace));
    put(list, "k8s.node.name", pod.node.as_deref());
    if let Some(Container { name, restarts, .. }) = placed.container() {
        put(list, "k8s.container.name", Some(name));
        list.push(integer("k8s.container.restart_count", *restarts));
    }
    list.extend(pod.owners.iter().map(|(key, name)| text(key, name)));
    for (key, value) in pod.labels.iter().filter(|(key, _)| naming.labels.matches(key)) {
        list.push(text(&format!("k8s.pod.label.{key}"), value));
    }
    for (key, value) in &pod.annotations {
        list.push(text(&format!("k8s.pod.annotation.{key}"), value));
    }
}
