//! The OTLP resource of a process, and what its service is called.
//!
//! Invariant: pure; keys are those of the semantic conventions, absent rather than empty.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::kube::Placed;
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
    pid: u32,
    process: &Process,
    placed: Option<&Placed>,
) -> Resource {
    let mut list = vec![text("service.name", &service_name(process, placed))];
    let instance = match placed {
        Some(Placed { pod, container }) => {
            let container = container.as_deref().unwrap_or_default();
            format!("{}.{}.{container}", pod.namespace, pod.name)
        }
        None => {
            let host = host.name.as_deref().unwrap_or_default();
            format!("{host}:{pid}:{}", process.started_ticks)
        }
    };
    list.push(text("service.instance.id", &instance));
    if pid != 0 {
        list.push(integer("process.pid", i64::from(pid)));
    }
    let mut put = |key: &str, value: Option<&str>| {
        list.extend(value.filter(|value| !value.is_empty()).map(|value| text(key, value)));
    };
    put("process.executable.name", Some(&executable_name(process)));
    put("process.executable.path", process.executable.as_deref());
    put("process.command", process.arguments.first().map(String::as_str));
    put("host.name", host.name.as_deref());
    put("host.id", host.id.as_deref());
    put("os.type", Some("linux"));
    put("container.id", process.cgroup.container_id.as_deref());
    put("telemetry.distro.name", Some("icecore"));
    put("telemetry.distro.version", Some(env!("CARGO_PKG_VERSION")));
    if !process.arguments.is_empty() {
        list.push(texts("process.command_args", &process.arguments));
    }
    if let Some(placed) = placed {
        kubernetes(&mut list, placed);
    } else if let Some(uid) = &process.cgroup.pod_uid {
        list.push(text("k8s.pod.uid", uid));
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

fn kubernetes(list: &mut Vec<KeyValue>, placed: &Placed) {
    let Placed { pod, container } = placed;
    list.push(text("k8s.pod.name", &pod.name));
    list.push(text("k8s.pod.uid", &pod.uid));
    list.push(text("k8s.namespace.name", &pod.namespace));
    list.extend(pod.node.as_deref().map(|node| text("k8s.node.name", node)));
    list.extend(container.as_deref().map(|name| text("k8s.container.name", name)));
    list.extend(pod.owner.as_ref().map(|(key, name)| text(key, name)));
}

/// By strength: the process's own environment, its pod, its systemd unit, its program.
fn service_name(process: &Process, placed: Option<&Placed>) -> String {
    let unit = process.cgroup.unit.as_ref().filter(|_| process.started_by_init);
    let pod = placed.map(|placed| &placed.pod.service_name);
    let named = process.service_name.as_ref().or(pod).or(unit);
    named.cloned().unwrap_or_else(|| executable_name(process))
}

/// The program as one calls it: `python3`, not `python3.11`, where it was called so.
fn executable_name(process: &Process) -> String {
    let file_name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let called = process.arguments.first().map(|argument| file_name(argument));
    match (process.executable.as_deref().map(file_name), called) {
        (Some(program), Some(called)) if !called.is_empty() && program.starts_with(&called) => {
            called
        }
        (Some(program), _) => program,
        (None, _) if process.comm.is_empty() => "unknown_service".to_owned(),
        (None, _) => process.comm.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::cgroup::Cgroup;
    use super::super::kube::Pod;
    use super::*;

    fn called(executable: &str, arguments: &[&str]) -> Process {
        Process {
            executable: Some(executable.to_owned()),
            arguments: arguments.iter().map(|&one| one.to_owned()).collect(),
            comm: "comm".to_owned(),
            ..Process::default()
        }
    }

    /// Scenario: programs called in the usual ways, with more and more said of their service.
    /// Guarantees: the strongest word wins.
    #[test]
    fn service_names() {
        let python = called("/usr/bin/python3.11", &["python3", "-m", "http.server"]);
        assert_eq!(service_name(&python, None), "python3");
        let nginx = called("/usr/sbin/nginx", &["nginx: worker process"]);
        assert_eq!(service_name(&nginx, None), "nginx");
        let gone = Process { comm: "curl".to_owned(), ..Process::default() };
        assert_eq!(service_name(&gone, None), "curl");
        let cgroup = Cgroup { unit: Some("shop".to_owned()), ..Cgroup::default() };
        let mut unit = Process { cgroup, ..nginx };
        assert_eq!(service_name(&unit, None), "nginx", "started by hand from within a unit");
        unit.started_by_init = true;
        assert_eq!(service_name(&unit, None), "shop");
        let pod = Pod { service_name: "cart".to_owned(), ..Pod::default() };
        let placed = Placed { pod: Arc::new(pod), container: None };
        assert_eq!(service_name(&unit, Some(&placed)), "cart");
        unit.service_name = Some("named".to_owned());
        assert_eq!(service_name(&unit, Some(&placed)), "named");
    }
}
