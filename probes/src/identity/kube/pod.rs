//! What is kept of a pod: what names it, and what of its labels and annotations tells.
//!
//! Invariant: pure; what is kept of one pod is bounded.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;

use super::owner::{Maker, Named};
use crate::identity::Naming;
use crate::identity::image::Image;

/// Labels and annotations that are kept of one pod, and bytes of each value.
const LABELS_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 1_024;
/// Annotations with it are attributes, by the conventions for Kubernetes.
const ATTRIBUTE_PREFIX: &str = "resource.opentelemetry.io/";

/// What is known of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    /// By what its control group calls it.
    pub(crate) group: String,
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) node: Option<String>,
    /// What made it, with the uid by which that can be asked for.
    pub(crate) maker: Option<Maker>,
    /// What made it, and what made that, as far as it is known; the outermost is last.
    pub(crate) owners: Vec<Named>,
    /// Its own addresses; none where it has those of its node.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) labels: Vec<(String, String)>,
    /// Of [`Naming::annotations`].
    pub(crate) annotations: Vec<(String, String)>,
    /// Attributes that its annotations give it.
    pub(crate) given: Vec<(String, String)>,
    pub(crate) containers: Vec<Container>,
}

/// A container that runs or ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Container {
    /// That of the runtime, without the name of the runtime.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) runtime: String,
    pub(crate) image: Image,
    pub(crate) image_id: String,
    pub(crate) restarts: i64,
}

impl Pod {
    /// Reads what the API says.
    pub(super) fn of(pod: &core::Pod, naming: &Naming) -> Self {
        let metadata = &pod.metadata;
        let uid = metadata.uid.clone().unwrap_or_default();
        let labels = metadata.labels.iter().flatten();
        let annotations = metadata.annotations.iter().flatten();
        let attribute = |(key, value): (&String, &String)| {
            let key = key.strip_prefix(ATTRIBUTE_PREFIX).filter(|key| !key.is_empty())?;
            Some((key.to_owned(), cut(value)))
        };
        let given = annotations.clone().filter_map(attribute).take(LABELS_MAX);
        let wanted = annotations.filter(|(key, _)| naming.annotations.matches(key));
        Self {
            group: group(pod).unwrap_or_else(|| uid.clone()),
            uid,
            name: metadata.name.clone().unwrap_or_default(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            maker: Maker::of(metadata),
            owners: Vec::new(),
            addresses: addresses(pod),
            given: given.collect(),
            labels: pairs(labels),
            annotations: pairs(wanted),
            containers: containers(pod),
        }
    }

    /// The value of a label.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(one, _)| one == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The outermost of what made it: its kind, and its name.
    pub(crate) fn workload(&self) -> Option<(&'static str, &str)> {
        let (key, name) = self.owners.last()?;
        let kind = key.strip_prefix("k8s.")?.strip_suffix(".name")?;
        Some((kind, name))
    }

    /// The value of an attribute that an annotation gives it.
    pub(crate) fn given(&self, key: &str) -> Option<&str> {
        let found = self.given.iter().find(|(one, _)| one == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

fn pairs<'a>(all: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<(String, String)> {
    all.take(LABELS_MAX).map(|(key, value)| (key.clone(), cut(value))).collect()
}

fn cut(value: &str) -> String {
    let end = value.floor_char_boundary(VALUE_BYTES_MAX);
    value.get(..end).unwrap_or_default().to_owned()
}

/// The kubelet names a static pod's control group by the hash of its manifest, which the mirror pod
/// in the API carries as an annotation.
fn group(pod: &core::Pod) -> Option<String> {
    pod.metadata.annotations.as_ref()?.get("kubernetes.io/config.hash").cloned()
}

fn addresses(pod: &core::Pod) -> Vec<IpAddr> {
    let on_host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let Some(status) = pod.status.as_ref().filter(|_| !on_host) else { return Vec::new() };
    // One that has ended has given its address back.
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Vec::new();
    }
    let several = status.pod_ips.iter().flatten().map(|one| one.ip.as_str());
    let all = status.pod_ip.as_deref().into_iter().chain(several);
    let mut found: Vec<IpAddr> = all.filter_map(|one| one.parse().ok()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn containers(pod: &core::Pod) -> Vec<Container> {
    let Some(status) = &pod.status else { return Vec::new() };
    let lists = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let all = lists.into_iter().flatten().flatten();
    all.filter_map(|status| container(pod, status)).collect()
}

fn container(pod: &core::Pod, status: &core::ContainerStatus) -> Option<Container> {
    // `containerd://<id>`
    let (runtime, id) = status.container_id.as_ref()?.split_once("://")?;
    // Some runtimes tell the image by its hash alone.
    let hash = status.image.is_empty() || status.image.starts_with("sha256:");
    let image = if hash { asked_for(pod, &status.name) } else { Some(status.image.as_str()) };
    let image_id = status.image_id.split_once("://").map_or(&*status.image_id, |(_, id)| id);
    Some(Container {
        id: id.to_owned(),
        name: status.name.clone(),
        runtime: runtime.to_owned(),
        image: Image::parse(image.unwrap_or_default()),
        image_id: image_id.to_owned(),
        restarts: status.restart_count.into(),
    })
}

/// The image that the pod's own description names.
fn asked_for<'a>(pod: &'a core::Pod, name: &str) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.filter(|one| one.name == name).find_map(|one| one.image.as_deref())
}
