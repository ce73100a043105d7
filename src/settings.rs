//! What is in force: flags over environment over file over `defaults.toml`.
//!
//! Invariants: `defaults.toml` names every setting; a key that it does not name is refused by name
//! wherever it comes from; [`Settings`] has exactly its keys (tested); a secret is never printed.

mod layers;
mod retention;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub(crate) use layers::{Layers, args};
pub(crate) use retention::Retention;
pub(crate) use units::Bytes;

/// Every setting, typed and checked. The meaning of each is in `defaults.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(
    not(all(feature = "ingest", feature = "query", feature = "bridge", feature = "probe")),
    expect(dead_code, reason = "a binary of one role reads only its own settings")
)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) storage: String,
    pub(crate) s3_endpoint: String,
    pub(crate) s3_region: String,
    pub(crate) otlp_grpc_addr: SocketAddr,
    pub(crate) otlp_http_addr: SocketAddr,
    pub(crate) otlp_http_cors_origins: Vec<String>,
    pub(crate) http_addr: SocketAddr,
    pub(crate) grpc_addr: String,
    pub(crate) pg_addr: String,
    pub(crate) pg_connections_max: usize,
    pub(crate) tails_max: usize,
    pub(crate) tail_rows_per_second_max: u64,
    pub(crate) http_hosts: Vec<String>,
    pub(crate) http_erase: HttpErase,
    pub(crate) live_addr: String,
    pub(crate) ingesters: Vec<String>,
    pub(crate) durability: Durability,
    pub(crate) request_bytes_max: Bytes,
    pub(crate) request_decoded_bytes_max: Bytes,
    pub(crate) inflight_bytes_max: Bytes,
    pub(crate) live_cache_bytes_max: Bytes,
    pub(crate) paced_from_bytes: Bytes,
    pub(crate) log_segment_bytes_max: Bytes,
    pub(crate) log_bytes_max: Bytes,
    pub(crate) flush_bytes: Bytes,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) flush_after: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) refresh_interval: Duration,
    pub(crate) row_group_rows_max: usize,
    pub(crate) footer_cache_bytes_max: Bytes,
    pub(crate) dictionary_cache_bytes_max: Bytes,
    pub(crate) page_cache: PageCache,
    pub(crate) page_cache_bytes_max: Bytes,
    pub(crate) fetched_bytes_max: Bytes,
    pub(crate) fetch_ahead_bytes_max: Bytes,
    pub(crate) work_memory_bytes_max: Bytes,
    pub(crate) compaction: bool,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) compaction_interval: Duration,
    pub(crate) compaction_files_min: usize,
    pub(crate) compaction_target_bytes: Bytes,
    pub(crate) compaction_memory_bytes_max: Bytes,
    pub(crate) retention: Vec<Retention>,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) retention_interval: Duration,
    pub(crate) trace_filter_disk_bytes_max: Bytes,
    pub(crate) trace_filter_memory_bytes_max: Bytes,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) garbage_grace: Duration,
    pub(crate) query_memory_bytes_max: Bytes,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) query_timeout: Duration,
    pub(crate) queries_max: usize,
    pub(crate) queries_per_client_max: usize,
    pub(crate) query_spill_bytes_max: Bytes,
    pub(crate) spill_bytes_max: Bytes,
    pub(crate) query_fetched_bytes_max: Bytes,
    pub(crate) query_rows_max: usize,
    pub(crate) script_dir: String,
    pub(crate) forward: Vec<Forward>,
    pub(crate) forward_headers: Vec<Header>,
    pub(crate) probes: bool,
    pub(crate) probe_rung: Rung,
    pub(crate) probe_endpoint: String,
    pub(crate) probe_headers: Vec<Header>,
    pub(crate) probe_body_bytes_max: Bytes,
    pub(crate) probe_statements: Statements,
    pub(crate) probe_rules: PathBuf,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) probe_rules_interval: Duration,
    pub(crate) probe_capture_headers: Vec<String>,
    pub(crate) probe_tls: bool,
    pub(crate) probe_tls_libraries_max: usize,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) probe_tls_scan_interval: Duration,
    pub(crate) probe_ring_bytes: Bytes,
    pub(crate) probe_connections_max: usize,
    pub(crate) probe_network: bool,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) probe_network_interval: Duration,
    pub(crate) probe_peers_max: usize,
    pub(crate) probe_pod_pairs_max: usize,
    pub(crate) probe_connection_records_max: u64,
    pub(crate) probe_sockets_max: usize,
    pub(crate) probe_names_max: usize,
    pub(crate) probe_drops_max: u32,
    pub(crate) probe_datagram_peers_max: u32,
    pub(crate) probe_processes: bool,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) probe_process_interval: Duration,
    pub(crate) probe_processes_max: usize,
    pub(crate) probe_process_events: bool,
    pub(crate) probe_process_events_max: u64,
    pub(crate) probe_profiles: bool,
    pub(crate) probe_profile_hertz: u64,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) probe_profile_interval: Duration,
    pub(crate) probe_profile_stack_bytes: Bytes,
    pub(crate) probe_profile_ring_bytes: Bytes,
    pub(crate) probe_profile_stacks_max: usize,
    pub(crate) probe_profile_tables_bytes_max: Bytes,
    pub(crate) probe_profile_cpu_percent_max: u64,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) probe_profile_link_wait: Duration,
    pub(crate) probe_profile_held_max: usize,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) probe_link_wait: Duration,
    pub(crate) probe_link_requests_max: usize,
    pub(crate) probe_link_bytes_max: Bytes,
    pub(crate) probe_cpu_percent_max: u64,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) probe_cpu_window: Duration,
    pub(crate) probe_spans_one_in_max: u64,
    pub(crate) probe_nice: u8,
    pub(crate) probe_memory_bytes_max: Bytes,
    pub(crate) probe_events_ring_bytes: Bytes,
    pub(crate) probe_queue_spans_max: usize,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) probe_send_interval: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) probe_metrics_interval: Duration,
    pub(crate) kubernetes: Kubernetes,
    pub(crate) kubeconfig: String,
    pub(crate) node_name: String,
    pub(crate) probe_pods_max: usize,
    pub(crate) probe_service_name_labels: Vec<String>,
    pub(crate) probe_pod_labels: Vec<String>,
    pub(crate) probe_pod_annotations: Vec<String>,
    pub(crate) docker_dir: PathBuf,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) trace_endpoint: String,
    #[serde(deserialize_with = "units::duration")]
    pub(crate) drain_deadline: Duration,
}

/// When an export is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    Disk,
    Bucket,
    Memory,
}

/// Which hooks the probes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rung {
    Auto,
    BtfTracepoints,
    Functions,
    SyscallTracepoints,
}

/// Whether rows may be erased by HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HttpErase {
    Loopback,
    On,
    Off,
}

/// Of which buckets what was fetched is kept on local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PageCache {
    Auto,
    On,
    Off,
}

/// What the probes keep of a database statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Statements {
    Sanitised,
    Whole,
}

/// Whether pods are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kubernetes {
    Auto,
    Off,
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Auto,
    Text,
    Json,
}

/// An endpoint to forward to: an address, or an address with its own rules.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(crate) enum Forward {
    /// As on the command line.
    Url(String),
    /// As in a file.
    Rules(ForwardRules),
}

impl TryFrom<toml::Value> for Forward {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::String(url) => Ok(Self::Url(url)),
            toml::Value::Table(rules) => {
                let unknown = rules.keys().find(|key| !ForwardRules::KEYS.contains(&key.as_str()));
                if let Some(key) = unknown {
                    let known = ForwardRules::KEYS.map(str::to_owned);
                    let hint = layers::nearest(key, known.iter()).map_or_else(
                        || format!("there are {}", known.join(", ")),
                        |near| format!("did you mean `{near}`?"),
                    );
                    return Err(format!("an endpoint has no `{key}`; {hint}"));
                }
                let rules = rules.try_into::<ForwardRules>();
                rules.map(Self::Rules).map_err(|error| error.message().trim().to_owned())
            }
            _ => Err("an endpoint is an address, or a table with its `url`".to_owned()),
        }
    }
}

impl ForwardRules {
    const KEYS: [&str; 4] = ["url", "protocol", "compression", "headers"];
}

/// The long form of an endpoint to forward to.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardRules {
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) protocol: Option<Protocol>,
    #[serde(default)]
    pub(crate) compression: Option<Compression>,
    #[serde(default)]
    pub(crate) headers: std::collections::BTreeMap<String, String>,
}

/// How an endpoint is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// How requests are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    Zstd,
    Gzip,
    None,
}

impl std::fmt::Debug for ForwardRules {
    /// Without the headers' values: they are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwardRules").field("url", &self.url).finish_non_exhaustive()
    }
}

/// `name=value`, the value a secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl TryFrom<String> for Header {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or("a header is written name=value (the value is not shown here)")?;
        Ok(Self { name: name.to_ascii_lowercase(), value: value.to_owned() })
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=<secret>", self.name)
    }
}

#[cfg(test)]
mod tests;
