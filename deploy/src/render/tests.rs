//! The rendered text, read back as the objects that a cluster would see.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Service};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;

fn options() -> Options {
    Options {
        storage: "s3://telemetry/prod".to_owned(),
        s3_endpoint: Some("http://minio.storage:9000".to_owned()),
        credentials_secret: Some("bucket-keys".to_owned()),
        forward: vec!["grpc://collector:4317".to_owned()],
        ..Options::default()
    }
}

fn documents(options: &Options) -> Vec<Value> {
    let text = render(options).unwrap();
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    documents.map(|document| Value::deserialize(document).unwrap()).collect()
}

/// All objects of one kind, strictly typed: an unknown or misspelt field would be dropped, so
/// what is read is written again and compared.
fn typed<K: DeserializeOwned + serde::Serialize>(documents: &[Value], kind: &str) -> Vec<K> {
    let of_kind = documents.iter().filter(|document| document["kind"] == kind);
    of_kind
        .map(|document| {
            let object: K = serde_json::from_value(document.clone()).unwrap();
            assert_eq!(&serde_json::to_value(&object).unwrap(), document, "{kind}");
            object
        })
        .collect()
}

/// Name, selector and pod of every workload.
fn workloads(documents: &[Value]) -> Vec<(String, LabelSelector, PodTemplateSpec)> {
    let mut found = Vec::new();
    for it in typed::<DaemonSet>(documents, "DaemonSet") {
        found.push((it.metadata.name.unwrap(), it.spec.selector, it.spec.template));
    }
    for it in typed::<StatefulSet>(documents, "StatefulSet") {
        found.push((it.metadata.name.unwrap(), it.spec.selector, it.spec.template));
    }
    for it in typed::<Deployment>(documents, "Deployment") {
        found.push((it.metadata.name.unwrap(), it.spec.selector, it.spec.template));
    }
    found
}

fn is_within(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| found.get(key) == Some(value))
}

fn labels(template: &PodTemplateSpec) -> &BTreeMap<String, String> {
    template.metadata.as_ref().unwrap().labels.as_ref().unwrap()
}

/// Scenario: the same options twice; then without probes.
/// Guarantees: the same text; the kinds and names that the commands promise.
#[test]
fn rendering_is_deterministic_and_complete() {
    assert_eq!(render(&options()).unwrap(), render(&options()).unwrap());
    let documents = documents(&options());
    let names: Vec<String> = documents
        .iter()
        .map(|it| format!("{} {}", it["kind"], it["metadata"]["name"]).replace('"', ""))
        .collect();
    for expected in [
        "Namespace icecore",
        "ServiceAccount icecore-probe",
        "ClusterRole icecore-probe-icecore",
        "ClusterRoleBinding icecore-probe-icecore",
        "ConfigMap icecore",
        "Service icecore-ingest",
        "Service icecore-query",
        "StatefulSet icecore-ingest",
        "Deployment icecore-query",
        "Deployment icecore-compaction",
        "DaemonSet icecore-probe",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
    }
    let distinct: BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    let bare = render(&Options { probe: false, ..options() }).unwrap();
    assert!(!bare.contains("DaemonSet") && !bare.contains("ClusterRole"));
}

/// Scenario: every workload and service.
/// Guarantees: selectors find exactly their own pods; every named port exists; every mount has a
/// volume.
#[test]
fn objects_fit_together() {
    let documents = documents(&options());
    let workloads = workloads(&documents);
    assert_eq!(workloads.len(), 4);
    for (name, selector, template) in &workloads {
        let wanted = selector.match_labels.as_ref().unwrap();
        let matching: Vec<&String> = workloads
            .iter()
            .filter(|(_, _, other)| is_within(wanted, labels(other)))
            .map(|(name, _, _)| name)
            .collect();
        assert_eq!(matching, [name]);
        let pod = template.spec.as_ref().unwrap();
        let mut volumes: BTreeSet<&str> =
            pod.volumes.iter().flatten().map(|volume| volume.name.as_str()).collect();
        if name == "icecore-ingest" {
            volumes.insert("data"); // made from the claim template
        }
        for mount in pod.containers[0].volume_mounts.iter().flatten() {
            assert!(volumes.contains(mount.name.as_str()), "{name}: {}", mount.name);
        }
    }
    for service in typed::<Service>(&documents, "Service") {
        let spec = service.spec.unwrap();
        let wanted = spec.selector.unwrap();
        let pods: Vec<_> =
            workloads.iter().filter(|(_, _, pod)| is_within(&wanted, labels(pod))).collect();
        assert_eq!(pods.len(), 1, "{:?}", service.metadata.name);
        let container = &pods[0].2.spec.as_ref().unwrap().containers[0];
        let ports: BTreeSet<_> =
            container.ports.iter().flatten().map(|port| port.container_port).collect();
        assert!(spec.ports.unwrap().iter().all(|port| ports.contains(&port.port)));
    }
}

/// Scenario: each way to ask, in the cluster.
/// Guarantees: the query service has a port for HTTP, Flight SQL and PostgreSQL's protocol, and its pods
/// are told to listen there for everybody, not for themselves alone.
#[test]
fn every_way_in_is_served() {
    let documents = documents(&options());
    let services: Vec<Service> = typed(&documents, "Service");
    let of_query = |service: &&Service| service.metadata.name.as_deref() == Some("icecore-query");
    let service = services.iter().find(of_query).unwrap().spec.as_ref().unwrap();
    let ports: Vec<i32> = service.ports.iter().flatten().map(|port| port.port).collect();
    assert_eq!(ports, [7070, 7071, 5432]);
    let workloads = workloads(&documents);
    let (_, _, pod) = workloads.iter().find(|(name, _, _)| name == "icecore-query").unwrap();
    let args = pod.spec.as_ref().unwrap().containers[0].args.as_ref().unwrap();
    for (flag, port) in [("--http-addr", 7070), ("--grpc-addr", 7071), ("--pg-addr", 5432)] {
        let given = args.windows(2).find(|pair| pair[0] == flag).map(|pair| &pair[1]);
        assert_eq!(given, Some(&format!("0.0.0.0:{port}")), "{flag}");
    }
}

/// Scenario: the security context of every pod.
/// Guarantees: nothing privileged, everything dropped; root, host and capabilities for the probe
/// alone, each capability named.
#[test]
fn privileges_are_minimal() {
    let documents = documents(&options());
    for (name, _, template) in workloads(&documents) {
        let pod = template.spec.unwrap();
        let container = &pod.containers[0];
        let context = container.security_context.as_ref().unwrap();
        assert_eq!(context.privileged, Some(false), "{name}");
        assert_eq!(context.allow_privilege_escalation, Some(false), "{name}");
        assert_eq!(context.read_only_root_filesystem, Some(true), "{name}");
        let capabilities = context.capabilities.as_ref().unwrap();
        assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]), "{name}");
        let of_pod = pod.security_context.as_ref().unwrap();
        if name == "icecore-probe" {
            let added = capabilities.add.as_ref().unwrap();
            let wanted = ["BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"];
            assert_eq!(added, &wanted);
            assert_eq!((pod.host_pid, pod.host_network), (Some(true), None));
            let tolerations = pod.tolerations.as_ref().unwrap();
            assert_eq!(tolerations[0].operator.as_deref(), Some("Exists"));
            let host = pod.volumes.iter().flatten().filter(|it| it.host_path.is_some());
            let mounts = container.volume_mounts.as_ref().unwrap();
            for volume in host {
                let mount = mounts.iter().find(|mount| mount.name == volume.name).unwrap();
                assert_eq!(mount.read_only, Some(true));
            }
        } else {
            assert_eq!((pod.host_pid, &capabilities.add), (None, &None), "{name}");
            assert_eq!(of_pod.run_as_non_root, Some(true), "{name}");
            assert_eq!(pod.automount_service_account_token, Some(false), "{name}");
            assert!(pod.volumes.iter().flatten().all(|it| it.host_path.is_none()), "{name}");
        }
    }
}

/// Scenario: the roles.
/// Guarantees: one, for the probe's account, which may list and watch pods, read one of what made
/// them, and nothing else.
#[test]
fn roles_are_minimal() {
    let documents = documents(&options());
    let roles: Vec<ClusterRole> = typed(&documents, "ClusterRole");
    let rules = roles[0].rules.as_ref().unwrap();
    assert_eq!(roles.len(), 1);
    let rights = rules.iter().map(|rule| {
        let [groups, resources] =
            [&rule.api_groups, &rule.resources].map(|one| one.as_ref().unwrap());
        assert_eq!((groups.len(), resources.len()), (1, 1));
        (groups[0].as_str(), resources[0].as_str(), rule.verbs.join(" "))
    });
    let wanted =
        [("", "pods", "list watch"), ("apps", "replicasets", "get"), ("batch", "jobs", "get")];
    assert_eq!(rights.collect::<Vec<_>>(), wanted.map(|(a, b, c)| (a, b, c.to_owned())));
    let bindings: Vec<ClusterRoleBinding> = typed(&documents, "ClusterRoleBinding");
    assert_eq!(bindings[0].role_ref.name, roles[0].metadata.name.clone().unwrap());
    let subject = &bindings[0].subjects.as_ref().unwrap()[0];
    assert_eq!(
        (subject.name.as_str(), subject.namespace.as_deref()),
        ("icecore-probe", Some("icecore"))
    );
}

/// Scenario: credentials, bucket and forwarding.
/// Guarantees: credentials by reference only, and not for the probe; the rest where it is read.
#[test]
fn settings_reach_the_pods() {
    let documents = documents(&options());
    let maps: Vec<ConfigMap> = typed(&documents, "ConfigMap");
    let data = maps[0].data.as_ref().unwrap();
    assert_eq!(data["ICECORE_STORAGE"], "s3://telemetry/prod");
    assert_eq!(data["ICECORE_S3_ENDPOINT"], "http://minio.storage:9000");
    for (name, _, template) in workloads(&documents) {
        let container = &template.spec.unwrap().containers[0];
        let secrets: Vec<&str> = container
            .env
            .iter()
            .flatten()
            .filter_map(|it| it.value_from.as_ref()?.secret_key_ref.as_ref())
            .map(|it| it.name.as_str())
            .collect();
        let expected: &[&str] =
            if name == "icecore-probe" { &[] } else { &["bucket-keys", "bucket-keys"] };
        assert_eq!(secrets, expected, "{name}");
        let forwards = container.args.as_ref().unwrap().iter().any(|arg| arg == "--forward");
        assert_eq!(forwards, name == "icecore-ingest");
    }
    let none = Options { credentials_secret: None, ..options() };
    assert!(!render(&none).unwrap().contains("secretKeyRef"));
}
