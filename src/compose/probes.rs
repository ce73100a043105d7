//! Settings to the configuration of the probes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use futures::TryFutureExt as _;
use icecore_probes::identity::{IdentityConfig, Kubernetes as Cluster};
use icecore_probes::rules::{self, RulesConfig};
use icecore_probes::secret::Secret;
use icecore_probes::{
    BudgetConfig, CaptureConfig, Config, ErrorKind, MachineConfig, NetworkConfig, Probes,
    ProfileConfig, RungChoice, TieConfig, TlsConfig,
};
use prometheus_client::registry::Registry;
use tracing::{info, warn};

use super::drain::{Order, Parts};
use crate::error::{Failure, Outcome, chain};
use crate::role::Roles;
use crate::settings::{Kubernetes, Rung, Settings, Statements};

/// Opens the probes and adds them to the parts. Where this machine or user does not allow them,
/// `icecore run` says so in one line and goes on; `icecore probe`, which does nothing else, fails.
pub(super) async fn open(
    roles: Roles,
    settings: &Settings,
    otlp_addr: Option<SocketAddr>,
    registry: &mut Registry,
    parts: &mut Parts,
) -> Outcome {
    let alone = !roles.ingest;
    let probes = match Probes::open(config(settings, otlp_addr)?, registry).await {
        Ok(probes) => probes,
        Err(error) => {
            let known = matches!(error.kind(), ErrorKind::Unprivileged | ErrorKind::Unsupported);
            if alone || !known {
                return Err(Failure::from_error("cannot start the probes", &error));
            }
            warn!(
                reason = chain(&error),
                "no probes here; all else runs (`icecore doctor` tells more)"
            );
            return Ok(());
        }
    };
    if alone {
        crate::process::keep_memory();
    }
    info!(rung = ?probes.rung(), "probes attached");
    // What the kernel is still at neither holds up the other parts nor outlives the process.
    parts.add("probes", Order::Probe, move |stop| probes.run(stop).map_ok(drop));
    Ok(())
}

/// Checks a file of rules, and says in a line what is in it.
pub(crate) fn check_rules(file: &Path) -> Result<String, Failure> {
    rules::check(file).map_err(|error| Failure::usage(chain(&error)))
}

/// The configuration of the probes; `otlp_addr` is where this very process receives OTLP/gRPC.
pub(crate) fn config(
    settings: &Settings,
    otlp_addr: Option<SocketAddr>,
) -> Result<Config, Failure> {
    let mut config = Config { capture: capture(settings)?, ..Config::default() };
    let file = Some(settings.probe_rules.clone()).filter(|file| !file.as_os_str().is_empty());
    config.rules = RulesConfig {
        file,
        every: settings.probe_rules_interval,
        body_bytes: settings.probe_body_bytes_max.as_usize(),
        sql: settings.probe_statements == Statements::Sanitised,
    };
    config.limits.statements = match settings.probe_statements {
        Statements::Sanitised => icecore_probes::protocol::Statements::Sanitised,
        Statements::Whole => icecore_probes::protocol::Statements::Whole,
    };
    config.limits.request_headers.extend(settings.probe_capture_headers.iter().cloned());
    config.limits.response_headers.extend(settings.probe_capture_headers.iter().cloned());
    config.pipeline.histogram_every = settings.probe_metrics_interval;
    config.pipeline.ties = TieConfig {
        wait: settings.probe_link_wait,
        requests_max: settings.probe_link_requests_max,
        bytes_max: settings.probe_link_bytes_max.as_usize(),
    };
    config.network = NetworkConfig {
        every: settings.probe_network_interval,
        peers_max: settings.probe_peers_max,
        pairs_max: settings.probe_pod_pairs_max,
        records_per_second_max: settings.probe_connection_records_max,
        sockets_max: settings.probe_sockets_max,
        names_max: settings.probe_names_max,
    };
    config.machine = MachineConfig {
        enabled: settings.probe_processes,
        every: settings.probe_process_interval,
        processes_max: settings.probe_processes_max,
        events_per_second_max: settings.probe_process_events_max,
    };
    config.profile = profile(settings)?;
    config.budget = BudgetConfig {
        cpu_percent_max: settings.probe_cpu_percent_max,
        cpu_window: settings.probe_cpu_window,
        spans_one_in_max: settings.probe_spans_one_in_max,
        memory_bytes_max: settings.probe_memory_bytes_max.as_usize(),
    };
    config.emit.queue_spans_max = settings.probe_queue_spans_max;
    config.emit.batch_after = settings.probe_send_interval;
    config.emit.endpoint = endpoint(settings, otlp_addr);
    let headers = settings.probe_headers.iter();
    config.emit.headers =
        headers.map(|header| (header.name.clone(), Secret::new(&*header.value))).collect();
    identity(settings, &mut config.identity);
    Ok(config)
}

fn identity(settings: &Settings, config: &mut IdentityConfig) {
    // What the manifests of `icecore deploy` give each pod.
    let of_pod = || std::env::var("NODE_NAME").ok();
    let named = |name: &String| !name.is_empty();
    config.host_name = Some(settings.node_name.clone()).filter(named).or_else(of_pod).filter(named);
    config.pods_max = settings.probe_pods_max;
    config.service_name_labels.clone_from(&settings.probe_service_name_labels);
    config.pod_labels.clone_from(&settings.probe_pod_labels);
    config.pod_annotations.clone_from(&settings.probe_pod_annotations);
    config.docker_dir.clone_from(&settings.docker_dir);
    config.kubernetes = match (settings.kubernetes, settings.kubeconfig.as_str()) {
        (Kubernetes::Off, _) => Cluster::Off,
        (Kubernetes::Auto, "") => Cluster::InCluster,
        (Kubernetes::Auto, path) => Cluster::Kubeconfig(PathBuf::from(path)),
    };
}

fn small(name: &str, value: u64) -> Result<u32, Failure> {
    u32::try_from(value).map_err(|error| Failure::usage(format!("`{name}`: {value}: {error}")))
}

fn profile(settings: &Settings) -> Result<ProfileConfig, Failure> {
    let stack_bytes = settings.probe_profile_stack_bytes.0;
    let defaults = ProfileConfig::default();
    let ring = small("probe_profile_ring_bytes", settings.probe_profile_ring_bytes.0)?;
    Ok(ProfileConfig {
        enabled: settings.probe_profiles,
        hertz: settings.probe_profile_hertz,
        every: settings.probe_profile_interval,
        stack_bytes_max: small("probe_profile_stack_bytes", stack_bytes)?,
        ring_bytes: if ring == 0 { defaults.ring_bytes } else { ring },
        stacks_max: settings.probe_profile_stacks_max,
        tables_bytes_max: settings.probe_profile_tables_bytes_max.as_usize(),
        cpu_percent_max: settings.probe_profile_cpu_percent_max,
        link_wait: settings.probe_profile_link_wait,
        held_max: settings.probe_profile_held_max,
        ..defaults
    })
}

fn capture(settings: &Settings) -> Result<CaptureConfig, Failure> {
    let defaults = CaptureConfig::default();
    let data_ring_bytes = match small("probe_ring_bytes", settings.probe_ring_bytes.0)? {
        0 => defaults.data_ring_bytes,
        set => set,
    };
    Ok(CaptureConfig {
        rung: match settings.probe_rung {
            Rung::Auto => RungChoice::Auto,
            Rung::BtfTracepoints => RungChoice::BtfTracepoints,
            Rung::Functions => RungChoice::Functions,
            Rung::SyscallTracepoints => RungChoice::SyscallTracepoints,
        },
        tls: TlsConfig {
            enabled: settings.probe_tls,
            libraries_max: settings.probe_tls_libraries_max,
            scan_every: settings.probe_tls_scan_interval,
            ..TlsConfig::default()
        },
        data_ring_bytes,
        events_ring_bytes: small("probe_events_ring_bytes", settings.probe_events_ring_bytes.0)?,
        accounts: settings.probe_network,
        drops_max: settings.probe_drops_max,
        datagrams_max: settings.probe_datagram_peers_max,
        processes: settings.probe_process_events,
        wake_bytes: defaults.wake_bytes.min(data_ring_bytes / 4),
        connections_max: small(
            "probe_connections_max",
            settings.probe_connections_max.try_into().unwrap_or(u64::MAX),
        )?,
        ..defaults
    })
}

fn endpoint(settings: &Settings, otlp_addr: Option<SocketAddr>) -> String {
    if !settings.probe_endpoint.is_empty() {
        return settings.probe_endpoint.clone();
    }
    let Some(mut addr) = otlp_addr else { return "http://127.0.0.1:4317".to_owned() };
    // A server that listens everywhere is reached by loopback.
    if addr.ip().is_unspecified() {
        addr.set_ip(if addr.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    format!("http://{addr}")
}
