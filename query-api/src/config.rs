//! What a query service is told before it starts. Settings are data; stores and clocks are parts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::scripts::Scripts;
use crate::{Error, IngesterName};

/// Settings of the query service. `Config::check` names the first that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where HTTP is served. On a loopback address only names of this machine, IP addresses and
    /// [`Config::hosts`] are accepted as `Host`, so that no web page elsewhere can read rows by
    /// pointing a name of its own at this machine.
    pub http_addr: SocketAddr,
    /// Where Arrow Flight SQL is served; nowhere where not given.
    pub grpc_addr: Option<SocketAddr>,
    /// Where the PostgreSQL wire protocol is served; nowhere where not given.
    pub pg_addr: Option<SocketAddr>,
    /// Its clients that are connected at one time; each keeps at most four times
    /// [`Config::request_bytes_max`] of prepared statements, and as much of portals.
    pub pg_connections_max: usize,
    /// Callers that look on while rows arrive, at one time.
    pub tails_max: usize,
    /// Rows that each of them is sent in a second; of more, a sample.
    pub tail_rows_per_second_max: u64,
    /// Further names under which a loopback address is reached, for example by a local proxy.
    pub hosts: Vec<String>,
    /// Whether rows may be erased through this address; where not given, only on a loopback one.
    pub erase: Option<bool>,
    /// Where the operator's own scripts are, `NAME.sql` each; none where not given.
    pub script_dir: Option<PathBuf>,
    /// Threads that run queries, apart from the threads that serve requests and take in rows.
    pub threads: usize,
    /// Queries that run at one time; more wait for [`Config::query_wait`].
    pub queries_running_max: usize,
    /// Queries of one address that run at one time, so that one caller leaves room for others.
    pub queries_per_client_max: usize,
    /// How long a query waits for its turn before it is refused with 429.
    pub query_wait: Duration,
    /// Memory that one query may hold in joins, sorts and groups. All queries together hold at
    /// most this times [`Config::queries_running_max`].
    pub query_memory_bytes_max: usize,
    /// Where queries put what their memory has no room for; they fail instead where not given.
    pub spill_dir: Option<PathBuf>,
    /// What one query may put there.
    pub query_spill_bytes_max: u64,
    /// What all queries together may put there: a disk that they share with the log of what comes in.
    pub spill_bytes_max: u64,
    /// Bytes of files that one query may fetch; looked at every 20 ms.
    pub query_fetched_bytes_max: u64,
    /// Rows that one answer may have.
    pub query_rows_max: usize,
    /// How long one query may run, from its start to the last byte of its answer.
    pub query_time_max: Duration,
    /// The longest request body: the SQL text and its parameters.
    pub request_bytes_max: usize,
    /// Ingesters of other processes, whose live rows queries read: `http://host:port` is one,
    /// `dns://name:port` one at each address of the name.
    pub ingesters: Vec<IngesterName>,
    /// How long a query waits for live rows. A part that needs longer is left out of the answer
    /// and named in its `stats.incomplete`.
    pub live_wait: Duration,
    /// Rows in one batch between the steps of a plan; more costs memory, fewer costs time.
    pub batch_rows: usize,
    /// How long answers under way may take when the service stops.
    pub drain_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http_addr: SocketAddr::from(([127, 0, 0, 1], 7070)),
            grpc_addr: None,
            pg_addr: None,
            pg_connections_max: 64,
            tails_max: 8,
            tail_rows_per_second_max: 2000,
            hosts: Vec::new(),
            erase: None,
            script_dir: None,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            queries_running_max: 8,
            queries_per_client_max: 6,
            query_wait: Duration::from_secs(5),
            query_memory_bytes_max: 256 << 20,
            spill_dir: None,
            query_spill_bytes_max: 2 << 30,
            spill_bytes_max: 8 << 30,
            query_fetched_bytes_max: 64 << 30,
            query_rows_max: 50_000_000,
            query_time_max: Duration::from_secs(60),
            request_bytes_max: 1 << 20,
            ingesters: Vec::new(),
            live_wait: Duration::from_secs(2),
            batch_rows: 8192,
            drain_wait: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Refuses settings under which no query could ever be answered.
    ///
    /// # Errors
    /// The first such setting, or a folder of scripts that cannot be read.
    pub fn check(&self) -> Result<(), Error> {
        let counts = [
            ("threads", self.threads),
            ("queries_max", self.queries_running_max),
            ("queries_per_client_max", self.queries_per_client_max),
            ("query_rows_max", self.query_rows_max),
            ("tails_max", self.tails_max),
            ("pg_connections_max", self.pg_connections_max),
            ("query_memory_bytes_max", self.query_memory_bytes_max),
            ("request_bytes_max", self.request_bytes_max),
            ("batch_rows", self.batch_rows),
        ];
        if let Some((setting, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::Setting { setting });
        }
        if self.tail_rows_per_second_max == 0 {
            return Err(Error::Setting { setting: "tail_rows_per_second_max" });
        }
        if self.query_fetched_bytes_max == 0 {
            return Err(Error::Setting { setting: "query_fetched_bytes_max" });
        }
        if self.query_time_max.is_zero() {
            return Err(Error::Setting { setting: "query_timeout" });
        }
        match &self.script_dir {
            Some(folder) => Scripts::check_folder(folder),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the defaults, then each figure that must not be zero set to zero.
    /// Guarantees: the defaults pass, and each fault is named.
    #[test]
    fn zeros_are_refused_by_name() {
        assert!(Config::default().check().is_ok());
        let check = |change: fn(&mut Config), name: &str| {
            let mut config = Config::default();
            change(&mut config);
            let text = config.check().unwrap_err().to_string();
            assert!(text.contains(name), "{text}");
        };
        check(|config| config.threads = 0, "threads");
        check(|config| config.queries_running_max = 0, "queries_max");
        check(|config| config.query_time_max = Duration::ZERO, "query_timeout");
        check(|config| config.batch_rows = 0, "batch_rows");
    }
}
