//! What an operator can set about ingest.
//!
//! Invariant: everything that can grow has its bound here, and [`Config::check`] refuses a set of
//! bounds that could not work together before anything is opened.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;

/// When a request counts as accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Once its frame is on disk (`fdatasync`): survives a power failure of this machine.
    #[default]
    Disk,
    /// Once its frame is written, without waiting for the disk: survives the death of the process,
    /// not of the machine.
    Memory,
    /// Once its rows are committed to the bucket: survives the loss of this machine's disk.
    Bucket,
}

/// Settings of ingest. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where OTLP/gRPC is served. Port 0 takes a free one; see [`crate::Ingest::grpc_addr`].
    pub grpc_addr: SocketAddr,
    /// Where OTLP/HTTP is served. Port 0 takes a free one; see [`crate::Ingest::http_addr`].
    pub http_addr: SocketAddr,
    /// Where live rows are served to queries of other processes, over Arrow Flight; nowhere where not
    /// given. Whoever reaches the address may read them.
    pub live_addr: Option<SocketAddr>,
    /// Looks at live rows that other processes hold at one time: two or so for each of their queries.
    pub looks_max: usize,
    /// The folder of the write-ahead log; made when missing. Belongs to one process at a time.
    pub log_dir: PathBuf,
    /// When a request counts as accepted.
    pub durability: Durability,
    /// A segment of the log is closed at about this size. Disk is freed by whole segments.
    pub segment_bytes_max: u64,
    /// Disk that the log may use. Beyond it senders are told to come back: this is how long a
    /// bucket may be away (at about 80 bytes a span, packed, the default holds some 50 million spans).
    pub log_bytes_max: u64,
    /// How much is written between two `fdatasync` calls. Measured: 512 KiB take 0.7 ms, 4 MiB in
    /// one piece take 45 ms.
    pub sync_bytes_max: usize,
    /// How many requests may wait for the log's writer; the next ones wait before the queue.
    pub log_queue_max: usize,
    /// Memory of rows that a query asked for before they were in the bucket, kept for the next
    /// one. Rows beyond it are made from the log anew for each query.
    pub live_cache_bytes_max: u64,
    /// Once requests of this size, unpacked, are not yet in the bucket, others come in at the rate
    /// at which flushes store, puts and all, and at less of it the more waits, down to a tenth where
    /// a third more does: acknowledging costs a third of what storing does. A bucket that fails, or
    /// takes more than ten seconds, makes the log grow instead.
    pub paced_from_bytes: u64,
    /// How long a request may wait for its turn then, before its sender is told to come back.
    pub paced_wait_max: Duration,
    /// A flush starts when requests of this size, unpacked, are not yet in the bucket...
    pub flush_bytes: u64,
    /// ...or when the oldest of them is this old; with [`Durability::Bucket`], where senders wait
    /// for it, after half a second at the latest. Each flush costs a few requests to the bucket.
    pub flush_after: Duration,
    /// The longest pause between two tries of a flush while the bucket is away.
    pub flush_retry_max: Duration,
    /// The largest request body as sent, compressed or not. OTLP senders stay below 4 MiB.
    pub request_bytes_max: usize,
    /// The largest request once decompressed: where a zip bomb stops.
    pub decoded_bytes_max: usize,
    /// Memory for all requests in flight together, as sent and decompressed. Beyond it senders are
    /// told to come back.
    pub inflight_bytes_max: usize,
    /// Connections per port. Beyond it new ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Concurrent requests on one HTTP/2 connection.
    pub streams_max: u32,
    /// Threads that decompress and decode at the same time.
    pub decode_threads: usize,
    /// How long a sender may take to send one request's body.
    pub read_timeout: Duration,
    /// How long a request waits for the bucket with [`Durability::Bucket`] before its sender is
    /// told to come back. It stays in the log, so that it may then be stored twice.
    pub bucket_timeout: Duration,
    /// What a sender is told to wait before it tries again.
    pub retry_after: Duration,
    /// How long the last flush may take at the end. What it did not reach stays in the log.
    pub drain_timeout: Duration,
    /// Origins whose web pages may send OTLP/HTTP (`https://shop.example`; `*` for any). None by
    /// default.
    pub cors_origins: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            grpc_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 4317)),
            http_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 4318)),
            live_addr: None,
            looks_max: 1024,
            log_dir: PathBuf::from("icecore-data/log"),
            durability: Durability::Disk,
            segment_bytes_max: 32 << 20,
            log_bytes_max: 4 << 30,
            sync_bytes_max: 512 << 10,
            log_queue_max: 1024,
            live_cache_bytes_max: 32 << 20,
            paced_from_bytes: 384 << 20,
            paced_wait_max: Duration::from_millis(500),
            flush_bytes: 192 << 20,
            flush_after: Duration::from_secs(10),
            flush_retry_max: Duration::from_secs(30),
            request_bytes_max: 16 << 20,
            decoded_bytes_max: 32 << 20,
            inflight_bytes_max: 96 << 20,
            connections_max: 1024,
            streams_max: 256,
            decode_threads: threads,
            read_timeout: Duration::from_secs(30),
            bucket_timeout: Duration::from_secs(30),
            retry_after: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(20),
            cors_origins: Vec::new(),
        }
    }
}

impl Config {
    /// Refuses bounds that could not work together and origins that are none, naming
    /// the setting.
    ///
    /// # Errors
    /// The first such setting.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |setting, why: &str| Err(Error::Config { setting, why: why.to_owned() });
        if self.segment_bytes_max < 64 << 10 {
            return wrong("segment_bytes_max", "must be at least 64 KiB");
        }
        if self.log_bytes_max / 4 < self.segment_bytes_max {
            return wrong("log_bytes_max", "must be at least four segments");
        }
        if self.log_bytes_max / 4 < self.decoded_bytes_max as u64 {
            return wrong("log_bytes_max", "must be at least four of the largest requests");
        }
        if self.decoded_bytes_max > crate::decode::PAYLOAD_BYTES_MAX {
            return wrong("decoded_bytes_max", "must be at most 64 MiB");
        }
        if self.inflight_bytes_max / 2 < self.decoded_bytes_max.max(self.request_bytes_max) {
            return wrong("inflight_bytes_max", "must be at least twice the largest request");
        }
        if self.flush_bytes == 0 {
            return wrong("flush_bytes", "must be above 0");
        }
        if self.paced_from_bytes < self.flush_bytes {
            return wrong("paced_from_bytes", "must be at least flush_bytes");
        }
        let zero = [
            ("request_bytes_max", self.request_bytes_max),
            ("decoded_bytes_max", self.decoded_bytes_max),
            ("sync_bytes_max", self.sync_bytes_max),
            ("log_queue_max", self.log_queue_max),
            ("connections_max", self.connections_max),
            ("streams_max", self.streams_max as usize),
            ("decode_threads", self.decode_threads),
        ];
        if let Some((setting, _)) = zero.into_iter().find(|(_, value)| *value == 0) {
            return wrong(setting, "must be above 0");
        }
        crate::service::origins(&self.cors_origins).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the defaults, and each bound broken in turn.
    /// Guarantees: the defaults work; a set that cannot is refused by the setting's name.
    #[test]
    fn bounds_that_cannot_work_are_refused() {
        assert!(Config::default().check().is_ok());
        type Spoil = fn(&mut Config);
        let cases: [(&str, Spoil); 7] = [
            ("segment_bytes_max", |c| c.segment_bytes_max = 1),
            ("log_bytes_max", |c| c.log_bytes_max = c.segment_bytes_max),
            ("decoded_bytes_max", |c| c.decoded_bytes_max = 100 << 20),
            ("inflight_bytes_max", |c| c.inflight_bytes_max = c.decoded_bytes_max),
            ("flush_bytes", |c| c.flush_bytes = 0),
            ("paced_from_bytes", |c| c.paced_from_bytes = c.flush_bytes - 1),
            ("decode_threads", |c| c.decode_threads = 0),
        ];
        for (setting, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            let text = config.check().unwrap_err().to_string();
            assert!(text.contains(setting), "{text}");
        }
    }
}
