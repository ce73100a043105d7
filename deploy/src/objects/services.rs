//! Names and ports within the cluster.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::Component;
use crate::Options;

/// A port of a pod, by the name that services and probes use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Port {
    pub(super) name: &'static str,
    pub(super) number: u16,
    /// Tells meshes and ingresses what is spoken.
    app_protocol: Option<&'static str>,
}

pub(super) const OTLP_GRPC: Port =
    Port { name: "otlp-grpc", number: 4317, app_protocol: Some("grpc") };
pub(super) const OTLP_HTTP: Port =
    Port { name: "otlp-http", number: 4318, app_protocol: Some("http") };
pub(super) const HTTP: Port = Port { name: "http", number: 7070, app_protocol: Some("http") };
pub(super) const FLIGHT_SQL: Port =
    Port { name: "flight-sql", number: 7071, app_protocol: Some("grpc") };
/// PostgreSQL has no name among the protocols that Kubernetes knows.
pub(super) const POSTGRES: Port = Port { name: "postgres", number: 5432, app_protocol: None };

/// The name that gives each ingester an address of its own.
pub(super) const INGEST_PODS: &str = "icecore-ingest-pods";

pub(super) fn all(options: &Options) -> Vec<Service> {
    let ingest_ports = [OTLP_GRPC, OTLP_HTTP, HTTP];
    let mut headless = service(options, Component::Ingest, INGEST_PODS, &ingest_ports);
    if let Some(spec) = &mut headless.spec {
        spec.cluster_ip = Some("None".to_owned());
        // A restarting ingester must be found by the queries that wait for it.
        spec.publish_not_ready_addresses = Some(true);
    }
    let ingest = service(options, Component::Ingest, Component::Ingest.name(), &ingest_ports);
    let query_ports = [HTTP, FLIGHT_SQL, POSTGRES];
    let query = service(options, Component::Query, Component::Query.name(), &query_ports);
    vec![ingest, headless, query]
}

fn service(options: &Options, component: Component, name: &str, ports: &[Port]) -> Service {
    let port = |port: &Port| ServicePort {
        name: Some(port.name.to_owned()),
        port: port.number.into(),
        // Part of the key by which server-side apply merges ports; older servers want it said.
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(port.name.to_owned())),
        app_protocol: port.app_protocol.map(str::to_owned),
        ..ServicePort::default()
    };
    Service {
        metadata: component.meta_named(options, name),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(component.selected(options)),
            ports: Some(ports.iter().map(port).collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
