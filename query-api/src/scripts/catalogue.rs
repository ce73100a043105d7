//! The scripts that come with Icecore: the files of `query-api/scripts`.

use super::Script;

macro_rules! scripts {
    ($($name:ident)*) => {
        /// Names and texts.
        pub(super) const TEXTS: &[(&str, &str)] = &[
            $((stringify!($name), include_str!(concat!("../../scripts/", stringify!($name), ".sql")))),*
        ];
    };
}

scripts! {
    cluster
    dns_data
    dns_errors
    exceptions
    http_data
    http_data_filtered
    http_errors
    http_request_clusters
    kafka_topics
    namespace
    namespaces
    net_flows
    node
    nodes
    perf_flamegraph
    pod
    pod_flows
    pods
    processes
    redis_data
    service
    service_edges
    service_stats
    services
    slow_requests
    sql_queries
    sql_stats
    tcp_drops
    tcp_retransmits
    upids
    what_changed
}

/// All of them. One that could not be read would be a fault of ours, and is left out; a test reads all.
pub(super) fn scripts() -> impl Iterator<Item = Script> {
    TEXTS.iter().filter_map(|(name, text)| Script::parse(name, text, false).ok())
}
