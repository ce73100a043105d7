//! What all pods have in common: one unprivileged container of our image, with health checks.
//!
//! Invariant: a container made here drops every capability, cannot write to its image, and does
//! not run as root; the probe alone takes something back, in its own file.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::config;
use super::labels::Component;
use super::services::{HTTP, Port};
use crate::Options;

/// Where data is kept within a container.
pub(super) const DATA_DIR: &str = "/var/lib/icecore";

/// The volume mounted there.
pub(super) const DATA: &str = "data";

/// The user of the distroless images: not root, not a user of the host.
const USER: i64 = 65_532;

/// The container that runs `icecore <args>`.
pub(super) fn container(options: &Options, args: &[&str], ports: &[Port]) -> Container {
    let port = |port: &Port| ContainerPort {
        name: Some(port.name.to_owned()),
        container_port: port.number.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        name: "icecore".to_owned(),
        image: Some(options.image.clone()),
        image_pull_policy: options.image_pull_policy.clone(),
        args: Some(args.iter().map(|&arg| arg.to_owned()).collect()),
        env_from: Some(vec![config::from_map()]),
        env: Some(config::credentials(options)).filter(|env| !env.is_empty()),
        ports: Some(ports.iter().map(port).collect()),
        liveness_probe: Some(health("/healthz", 6)),
        readiness_probe: Some(health("/readyz", 3)),
        // A log of many gigabytes is replayed before the first answer: five minutes for that.
        startup_probe: Some(health("/healthz", 30)),
        security_context: Some(unprivileged()),
        volume_mounts: Some(vec![mount(DATA, DATA_DIR)]),
        ..Container::default()
    }
}

/// A pod of one container.
pub(super) fn pod(
    options: &Options,
    component: Component,
    container: Container,
    volumes: Vec<Volume>,
) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(component.labels(options)),
            annotations: Some(scraped()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(component.name().to_owned()),
            automount_service_account_token: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                seccomp_profile: Some(seccomp("RuntimeDefault")),
                ..PodSecurityContext::default()
            }),
            containers: vec![container],
            volumes: Some(volumes).filter(|volumes| !volumes.is_empty()),
            ..PodSpec::default()
        }),
    }
}

/// Where Prometheus installations commonly look for what to scrape.
fn scraped() -> BTreeMap<String, String> {
    let pairs = [("scrape", "true"), ("port", "7070"), ("path", "/metrics")];
    pairs.map(|(key, value)| (format!("prometheus.io/{key}"), value.to_owned())).into()
}

/// CPU and memory. No limit on CPU: a throttled process is slow at the worst moment.
pub(super) fn resources(cpu: &str, memory: &str, memory_max: &str) -> ResourceRequirements {
    let quantity = |key: &str, value: &str| (key.to_owned(), Quantity(value.to_owned()));
    ResourceRequirements {
        requests: Some(BTreeMap::from([quantity("cpu", cpu), quantity("memory", memory)])),
        limits: Some(BTreeMap::from([quantity("memory", memory_max)])),
        ..ResourceRequirements::default()
    }
}

pub(super) fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..Default::default() }
}

/// A volume that lives as long as its pod: for caches, which can be lost.
pub(super) fn scratch(name: &str) -> Volume {
    let empty_dir = Some(EmptyDirVolumeSource::default());
    Volume { name: name.to_owned(), empty_dir, ..Volume::default() }
}

pub(super) fn seccomp(kind: &str) -> SeccompProfile {
    SeccompProfile { type_: kind.to_owned(), localhost_profile: None }
}

fn unprivileged() -> SecurityContext {
    SecurityContext {
        privileged: Some(false),
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        ..SecurityContext::default()
    }
}

/// A check by HTTP every ten seconds, failed after `failures` in a row.
fn health(path: &str, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(HTTP.name.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(10),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
