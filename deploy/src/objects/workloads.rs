//! Ingest, query and compaction.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, StatefulSet, StatefulSetSpec,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::labels::Component;
use super::pods::{DATA, DATA_DIR, container, pod, resources, scratch};
use super::services::{FLIGHT_SQL, HTTP, INGEST_PODS, OTLP_GRPC, OTLP_HTTP, POSTGRES};
use crate::Options;
use crate::options::quantity;

/// Ingesters keep acknowledged requests in a log, so each has a volume that outlives its pod.
pub(super) fn ingest(options: &Options) -> StatefulSet {
    let log_bytes_max = format!("{}KiB", log_bytes_max(options) >> 10);
    let mut args = vec![
        "ingest",
        "--data-dir",
        DATA_DIR,
        "--otlp-grpc-addr",
        "0.0.0.0:4317",
        "--otlp-http-addr",
        "0.0.0.0:4318",
        "--http-addr",
        "0.0.0.0:7070",
        "--log-bytes-max",
        &log_bytes_max,
    ];
    for url in &options.forward {
        args.extend(["--forward", url]);
    }
    let mut container = container(options, &args, &[OTLP_GRPC, OTLP_HTTP, HTTP]);
    container.resources = Some(resources("500m", "512Mi", &options.resources.ingest_memory));
    let mut template = pod(options, Component::Ingest, container, Vec::new());
    if let Some(spec) = &mut template.spec {
        // The last flush goes to the bucket.
        spec.termination_grace_period_seconds = Some(120);
    }
    StatefulSet {
        metadata: Component::Ingest.meta(options),
        spec: StatefulSetSpec {
            service_name: Some(INGEST_PODS.to_owned()),
            replicas: Some(i32::try_from(options.ingest_replicas).unwrap_or(i32::MAX)),
            // No ingester waits for another.
            pod_management_policy: Some("Parallel".to_owned()),
            selector: Component::Ingest.selector(options),
            template,
            volume_claim_templates: Some(vec![log_volume(options)]),
            ..StatefulSetSpec::default()
        },
        status: None,
    }
}

/// Senders are told to wait before the volume is full: the rest is for the file system itself, a
/// segment that is being made, cursors and the index.
const fn log_bytes_max(options: &Options) -> u64 {
    options.log_bytes / 10 * 8
}

fn log_volume(options: &Options) -> PersistentVolumeClaim {
    let size = BTreeMap::from([("storage".to_owned(), Quantity(quantity(options.log_bytes)))]);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA.to_owned()),
            labels: Some(Component::Ingest.labels(options)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: options.storage_class.clone(),
            resources: Some(VolumeResourceRequirements { requests: Some(size), limits: None }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// Query servers keep nothing but caches. They are asked by HTTP, Arrow Flight SQL and PostgreSQL's
/// protocol.
pub(super) fn query(options: &Options) -> Deployment {
    let args = [
        "query",
        "--data-dir",
        DATA_DIR,
        "--http-addr",
        "0.0.0.0:7070",
        "--grpc-addr",
        "0.0.0.0:7071",
        "--pg-addr",
        "0.0.0.0:5432",
    ];
    let mut container = container(options, &args, &[HTTP, FLIGHT_SQL, POSTGRES]);
    container.resources = Some(resources("500m", "512Mi", &options.resources.query_memory));
    let replicas = i32::try_from(options.query_replicas).unwrap_or(i32::MAX);
    let template = pod(options, Component::Query, container, vec![scratch(DATA)]);
    deployment(options, Component::Query, replicas, template, None)
}

/// One compactor: two would be safe, and of no use.
pub(super) fn compaction(options: &Options) -> Deployment {
    let args = ["compact", "--data-dir", DATA_DIR, "--http-addr", "0.0.0.0:7070"];
    let mut container = container(options, &args, &[HTTP]);
    container.resources = Some(resources("100m", "256Mi", &options.resources.compaction_memory));
    let template = pod(options, Component::Compaction, container, vec![scratch(DATA)]);
    deployment(options, Component::Compaction, 1, template, Some("Recreate"))
}

fn deployment(
    options: &Options,
    component: Component,
    replicas: i32,
    template: k8s_openapi::api::core::v1::PodTemplateSpec,
    strategy: Option<&str>,
) -> Deployment {
    Deployment {
        metadata: component.meta(options),
        spec: DeploymentSpec {
            replicas: Some(replicas),
            selector: component.selector(options),
            template,
            strategy: strategy.map(|kind| DeploymentStrategy {
                type_: Some(kind.to_owned()),
                rolling_update: None,
            }),
            ..DeploymentSpec::default()
        },
        status: None,
    }
}
