//! What an operator can set about the store. Plain values: clocks and buckets come through `open`.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::model::Secret;
use crate::retention::RetentionRule;

/// Settings of [`crate::Store::open`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept: `file:///folder` or `s3://bucket/prefix`.
    pub storage: Url,
    /// How an `s3://` storage is reached; ignored for `file://`.
    pub s3: S3Config,
    /// The local folder of the index; anything in it may be deleted while nothing runs. Without
    /// one the catalog is read from the bucket at every start.
    pub index_dir: Option<PathBuf>,
    /// Opens over a catalog that cannot be read to its end, and knows only what comes before: for
    /// nothing but to check it.
    pub open_damaged: bool,
    /// How often records that other processes wrote are looked for. One list request and one
    /// small read a writer each time; a row flushed elsewhere is seen this much later.
    pub refresh_interval: Duration,
    /// Rows of one Parquet row group. Smaller groups prune better and cost more footer.
    pub row_group_rows_max: usize,
    /// Memory for footers of files, with their page indexes and bloom filters. One of a file with
    /// 90 columns takes some 70 KB a row group; a file whose footer is not in memory costs
    /// a query one request more.
    pub footers_bytes_max: usize,
    /// Memory for dictionaries of texts that look-ups of few rows unpacked.
    pub dictionaries_bytes_max: usize,
    /// What is fetched of data files is kept on local disk; `None`: it is not.
    pub page_cache: Option<PageCacheConfig>,
    /// What one part of a scan may have fetched and not decoded yet; a query has about as many parts
    /// as threads. Less makes a query over a bucket that is far away wait more often; one wait
    /// brings up to 4 MiB whatever this says.
    pub fetched_bytes_max: u64,
    /// What queries may have asked a bucket that is far away for before they have room for it: the
    /// answers wait in the network. 0: nothing.
    pub fetch_ahead_bytes_max: u64,
    /// Memory that flushes and merges share, as they plan it: about 96 MiB a flush, and
    /// `compaction.memory_bytes_max` a merge. Where there is none left they take turns, a window of
    /// a merge at a time.
    pub work_bytes_max: u64,
    /// When small files become large ones.
    pub compaction: CompactionConfig,
    /// How long rows are kept; a row that no rule selects is kept for ever.
    pub retention: Vec<RetentionRule>,
    /// How often the rules are looked after.
    pub retention_interval: Duration,
    /// Bounds of what is kept locally to find a trace.
    pub trace_filters: TraceFilterConfig,
    /// How long a file stays after the catalog dropped it. Must be longer than the longest query
    /// and than the longest refresh interval of any reader.
    pub garbage_grace: Duration,
    /// The time one attempt of one request to the bucket may take.
    pub request_timeout: Duration,
    /// Attempts after the first one, for faults that may pass. With a backoff that doubles from
    /// `retry_backoff` up to `retry_backoff_max`.
    pub retries_max: u32,
    /// The wait before the first further attempt.
    pub retry_backoff: Duration,
    /// The longest wait between two attempts.
    pub retry_backoff_max: Duration,
    /// How long an owner of a bucket without create-only puts counts as alive after it was last
    /// heard of. Beats go out three times as often; clocks must agree better than this.
    pub owner_timeout: Duration,
}

impl Config {
    /// The defaults over one storage and one index folder, or none.
    #[must_use]
    pub fn new(storage: Url, index_dir: impl Into<Option<PathBuf>>) -> Self {
        Self {
            storage,
            s3: S3Config::default(),
            index_dir: index_dir.into(),
            open_damaged: false,
            refresh_interval: Duration::from_secs(10),
            row_group_rows_max: 65_536,
            footers_bytes_max: 64 << 20,
            dictionaries_bytes_max: 16 << 20,
            page_cache: None,
            fetched_bytes_max: 32 << 20,
            fetch_ahead_bytes_max: 384 << 20,
            work_bytes_max: 96 << 20,
            compaction: CompactionConfig::default(),
            retention: Vec::new(),
            retention_interval: Duration::from_secs(300),
            trace_filters: TraceFilterConfig::default(),
            garbage_grace: Duration::from_secs(3600),
            request_timeout: Duration::from_secs(30),
            retries_max: 5,
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(5),
            owner_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Whether each request to the bucket takes its time.
    pub(crate) fn is_far(&self) -> bool {
        self.storage.scheme() != "file"
    }
}

/// How an S3-compatible server is reached. What is `None` is left to the server's defaults; the
/// usual `AWS_…` variables are read by whoever fills this in (see [`S3Config::from_env`]).
#[derive(Debug, Clone, Default)]
pub struct S3Config {
    /// The server, where it is not Amazon's own.
    pub endpoint: Option<Url>,
    /// The region; `us-east-1` where not given.
    pub region: Option<String>,
    /// The access key.
    pub access_key_id: Option<String>,
    /// The secret that goes with the access key.
    pub secret_access_key: Option<Secret>,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
}

impl S3Config {
    /// Fills what is still `None` from `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `AWS_REGION`,
    /// `AWS_DEFAULT_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
    /// `AWS_SESSION_TOKEN`, as `lookup` knows them. An endpoint that is no URL is left out.
    #[must_use]
    pub fn from_env(self, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| {
            let mut found = names.iter().filter_map(|name| lookup(name));
            found.find(|value| !value.is_empty())
        };
        let endpoint = || first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])?.parse().ok();
        Self {
            endpoint: self.endpoint.or_else(endpoint),
            region: self.region.or_else(|| first(&["AWS_REGION", "AWS_DEFAULT_REGION"])),
            access_key_id: self.access_key_id.or_else(|| first(&["AWS_ACCESS_KEY_ID"])),
            secret_access_key: self
                .secret_access_key
                .or_else(|| first(&["AWS_SECRET_ACCESS_KEY"]).map(Secret::new)),
            session_token: self
                .session_token
                .or_else(|| first(&["AWS_SESSION_TOKEN"]).map(Secret::new)),
        }
    }
}

/// What is kept of data files on local disk, for queries.
#[derive(Debug, Clone)]
pub struct PageCacheConfig {
    /// Its folder. All of it may be deleted at any time, and none of it is believed without its checksum, which
    /// tells damage and no forger.
    pub dir: PathBuf,
    /// Disk that it may take. Beyond it what nobody used lately goes, a data file at a time. 0: none, and what an
    /// earlier run has kept is removed.
    pub bytes_max: u64,
    /// Whether it is kept of a bucket that is a folder, too, of which each fetch costs hardly anything.
    pub near: bool,
}

/// When small files become large ones.
#[derive(Debug, Clone)]
pub struct CompactionConfig {
    /// How often a pass is made.
    pub interval: Duration,
    /// An hour of a table is merged when it has at least this many small files.
    pub files_min: usize,
    /// The files that one merge takes at most: the bound of its open files and footers.
    pub files_max: usize,
    /// A file of at least this many bytes is left alone.
    pub small_bytes_max: u64,
    /// The bytes of input that one merge takes at most: about the size of large files, and what a
    /// crash in the middle of a merge costs.
    pub merge_bytes_max: u64,
    /// Memory that a merge may use, about. Its input is read and its output put in pieces that
    /// fit; beside them it holds the footers and some keys of each of its files.
    pub memory_bytes_max: u64,
    /// A file younger than this is left alone, so that an hour in full flow is not merged over
    /// and over.
    pub settle_after: Duration,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            files_min: 16,
            files_max: 32,
            small_bytes_max: 64 << 20,
            merge_bytes_max: 128 << 20,
            memory_bytes_max: 96 << 20,
            settle_after: Duration::from_secs(60),
        }
    }
}

/// Bounds of what is kept locally to find a trace. What is beyond them is found by the files' own
/// bloom filters, which costs a request a file.
#[derive(Debug, Clone, Copy)]
pub struct TraceFilterConfig {
    /// Disk that filters may take, about 5 bytes for each trace in each file; while some of them
    /// are merged, up to twice. The oldest day makes room for a newer one.
    pub disk_bytes_max: u64,
    /// Memory for the trace ids of files that were just written, until they are on disk.
    pub pending_bytes_max: usize,
}

impl Default for TraceFilterConfig {
    fn default() -> Self {
        Self { disk_bytes_max: 1 << 30, pending_bytes_max: 32 << 20 }
    }
}

/// The loops that [`crate::Store::run`] plays.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreRoles {
    /// Looks for records that other processes wrote.
    pub refresh: bool,
    /// Keeps filters of trace ids, for those who look traces up.
    pub filter_traces: bool,
    /// Merges small files.
    pub compact: bool,
    /// Removes rows that are older than the rules allow.
    pub retain: bool,
    /// Deletes files that the catalog dropped.
    pub collect_garbage: bool,
}
