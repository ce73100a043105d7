//! What the store counts.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::bucket::Puts;
use crate::catalog::Snapshot;
use crate::catalog::record::Cause;
use crate::files::{FooterMetrics, LatelyMetrics, RoomMetrics};
use crate::model::Table;
use crate::retention::DeletionReport;
use crate::store::MergeReport;
use traces::TraceMetrics;

/// Gives the values of a label their names.
macro_rules! label_names {
    ($label:ident { $($value:ident => $name:literal),+ $(,)? }) => {
        impl EncodeLabelValue for $label {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
                let name = match self {
                    $(Self::$value => $name),+
                };
                EncodeLabelValue::encode(&name, encoder)
            }
        }
    };
}

// Behind the macro, which they use.
mod pages;
mod traces;

pub(crate) use pages::{Dropped, PageMetrics, Skipped};

label_names!(RequestKind { Put => "put", Get => "get", List => "list", Delete => "delete" });
label_names!(Outcome {
    Ok => "ok",
    NotFound => "not_found",
    Exists => "exists",
    Denied => "denied",
    Failed => "failed",
});
label_names!(RebuildReason {
    Missing => "missing",
    Damaged => "damaged",
    Foreign => "foreign",
    Asked => "asked",
});
label_names!(Cause { Retention => "retention", Erasure => "erasure" });
label_names!(Publication { Done => "done", Void => "void", Failed => "failed" });

/// The kinds of request that a bucket bills by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RequestKind {
    Put,
    Get,
    List,
    Delete,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Outcome {
    Ok,
    NotFound,
    Exists,
    Denied,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    kind: RequestKind,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    table: &'static str,
}

/// Why an index was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RebuildReason {
    Missing,
    Damaged,
    Foreign,
    Asked,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RebuildLabels {
    reason: RebuildReason,
}

/// What came of a commit or a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Publication {
    Done,
    /// The catalog had it already, or somebody else was first.
    Void,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeletionLabels {
    table: &'static str,
    cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublicationLabels {
    outcome: Publication,
}

/// Every metric of the store.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    sent: Counter,
    received: Counter,
    commits: Family<PublicationLabels, Counter>,
    merges: Family<PublicationLabels, Counter>,
    merges_planned: Gauge,
    merged_rows: Counter,
    merged_seconds: Counter<f64>,
    merged_in: Counter,
    merged_out: Counter,
    deletions: Family<PublicationLabels, Counter>,
    deleted_rows: Family<DeletionLabels, Counter>,
    deleted_files: Family<DeletionLabels, Counter>,
    deleted_bytes: Family<DeletionLabels, Counter>,
    looked: Counter,
    deletion_failures: Counter,
    holds: Gauge,
    files: Family<TableLabels, Gauge>,
    rows: Family<TableLabels, Gauge>,
    bytes: Family<TableLabels, Gauge>,
    records: Gauge,
    refreshed_at: Gauge,
    refresh_failures: Counter,
    rebuilds: Family<RebuildLabels, Counter>,
    rebuild_records: Gauge,
    rebuild_records_missing: Gauge,
    index_failures: Counter,
    garbage: Counter,
    single_writer: Gauge,
    /// For what is fetched of files.
    pub(crate) fetched: RoomMetrics,
    /// For what is asked for before there is room for it.
    pub(crate) ahead: RoomMetrics,
    /// For what flushes and merges hold.
    pub(crate) working: RoomMetrics,
    /// For the footers that are kept.
    pub(crate) footers: FooterMetrics,
    /// For what is kept of files on local disk.
    pub(crate) pages: PageMetrics,
    /// For the trace filters.
    pub(crate) traces: TraceMetrics,
}

impl Metrics {
    /// Registers everything.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.register_bucket(registry);
        metrics.register_catalog(registry);
        metrics.register_retention(registry);
        metrics.register_footers(registry);
        metrics.register_index(registry);
        metrics.pages.register(registry);
        metrics
    }

    fn register_bucket(&self, registry: &mut Registry) {
        registry.register(
            "icecore_store_requests",
            "Requests to the bucket, every attempt, by kind and outcome",
            self.requests.clone(),
        );
        let sent = "Bytes put into the bucket, every attempt";
        registry.register_with_unit("icecore_store_sent", sent, Unit::Bytes, self.sent.clone());
        let received = "Bytes read from the bucket";
        registry.register_with_unit(
            "icecore_store_received",
            received,
            Unit::Bytes,
            self.received.clone(),
        );
        registry.register(
            "icecore_store_single_writer",
            "1 where the bucket ignores create-only puts, so that it can have one writer only",
            self.single_writer.clone(),
        );
        registry.register(
            "icecore_store_garbage_files",
            "Files deleted after the catalog dropped them or never named them",
            self.garbage.clone(),
        );
    }

    fn register_catalog(&self, registry: &mut Registry) {
        registry.register("icecore_store_commits", "Commits by outcome", self.commits.clone());
        registry.register(
            "icecore_store_merges",
            "Merges of small files by outcome",
            self.merges.clone(),
        );
        registry.register(
            "icecore_store_merges_planned",
            "Merges that the newest plan has and that are not yet done",
            self.merges_planned.clone(),
        );
        registry.register(
            "icecore_store_merged_rows",
            "Rows that merges rewrote",
            self.merged_rows.clone(),
        );
        registry.register_with_unit(
            "icecore_store_merge",
            "Time that published merges took",
            Unit::Seconds,
            self.merged_seconds.clone(),
        );
        let merged_in = "Bytes of files that went into merges";
        registry.register_with_unit(
            "icecore_store_merge_in",
            merged_in,
            Unit::Bytes,
            self.merged_in.clone(),
        );
        let merged_out = "Bytes of files that came out of merges";
        registry.register_with_unit(
            "icecore_store_merge_out",
            merged_out,
            Unit::Bytes,
            self.merged_out.clone(),
        );
        registry.register(
            "icecore_store_files",
            "Files that the catalog names",
            self.files.clone(),
        );
        registry.register("icecore_store_rows", "Rows in those files", self.rows.clone());
        let bytes = "Bytes of those files";
        registry.register_with_unit("icecore_store_file", bytes, Unit::Bytes, self.bytes.clone());
        registry.register("icecore_store_records", "Catalog records applied", self.records.clone());
        registry.register_with_unit(
            "icecore_store_snapshot_read_timestamp",
            "When the catalog was last read from the bucket",
            Unit::Seconds,
            self.refreshed_at.clone(),
        );
        registry.register(
            "icecore_store_refresh_failures",
            "Times that the catalog could not be read",
            self.refresh_failures.clone(),
        );
    }

    fn register_index(&self, registry: &mut Registry) {
        registry.register(
            "icecore_store_index_rebuilds",
            "Indexes made anew, by reason",
            self.rebuilds.clone(),
        );
        registry.register(
            "icecore_store_index_failures",
            "Times that the index could not be written; it is off until the next start",
            self.index_failures.clone(),
        );
        registry.register(
            "icecore_store_replay_records",
            "Catalog records that the last long read of the bucket has gone through",
            self.rebuild_records.clone(),
        );
        registry.register(
            "icecore_store_replay_records_missing",
            "Catalog records that it has still to go through",
            self.rebuild_records_missing.clone(),
        );
        self.traces.register(registry);
    }

    fn register_retention(&self, registry: &mut Registry) {
        registry.register(
            "icecore_store_deletions",
            "Records that remove rows, by outcome",
            self.deletions.clone(),
        );
        registry.register(
            "icecore_store_deleted_rows",
            "Rows removed, by table and cause",
            self.deleted_rows.clone(),
        );
        registry.register(
            "icecore_store_deleted_files",
            "Files dropped or written anew to remove rows, by table and cause",
            self.deleted_files.clone(),
        );
        registry.register_with_unit(
            "icecore_store_deleted",
            "Bytes of those files before, less bytes after",
            Unit::Bytes,
            self.deleted_bytes.clone(),
        );
        registry.register(
            "icecore_store_retention_read_files",
            "Files that retention read to know which of their rows go",
            self.looked.clone(),
        );
        registry.register(
            "icecore_store_retention_failures",
            "Files that a pass of retention could not deal with; the next one tries again",
            self.deletion_failures.clone(),
        );
        registry.register("icecore_store_holds", "Holds that stand", self.holds.clone());
    }

    fn register_footers(&self, registry: &mut Registry) {
        let FooterMetrics { footers, dictionaries } = self.footers.clone();
        let LatelyMetrics { bytes, hits, misses } = footers;
        let about =
            "Memory of footers of files that were read lately, at most footer_cache_bytes_max";
        registry.register_with_unit("icecore_store_footer_cache", about, Unit::Bytes, bytes);
        registry.register(
            "icecore_store_footer_hits",
            "Files opened whose footer was in memory",
            hits,
        );
        registry.register(
            "icecore_store_footer_misses",
            "Files opened whose footer had to be fetched",
            misses,
        );
        let LatelyMetrics { bytes, hits, misses } = dictionaries;
        let about = "Memory of dictionaries that look-ups of few rows unpacked lately, at most dictionary_cache_bytes_max";
        registry.register_with_unit("icecore_store_dictionary_cache", about, Unit::Bytes, bytes);
        let about = "Dictionaries that look-ups of few rows found unpacked";
        registry.register("icecore_store_dictionary_hits", about, hits);
        let about =
            "Dictionaries that look-ups of few rows unpacked and kept, or were too large to keep";
        registry.register("icecore_store_dictionary_misses", about, misses);
        let RoomMetrics { bytes, waits } = self.working.clone();
        let about =
            "Memory planned by flushes and merges that are at work, at most work_memory_bytes_max";
        registry.register_with_unit("icecore_store_work_memory", about, Unit::Bytes, bytes);
        let about = "Times that a flush or a merge waited for the memory of another";
        registry.register("icecore_store_work_waits", about, waits);
        let RoomMetrics { bytes, waits } = self.fetched.clone();
        let about = "Fetched of files by scans and not decoded yet, at most fetched_bytes_max a part of one";
        registry.register_with_unit("icecore_store_fetched", about, Unit::Bytes, bytes);
        let about = "Times that a scan had to decode before it fetched more";
        registry.register("icecore_store_fetch_waits", about, waits);
        let about = "Asked of the bucket by scans that have no room for it yet, at most fetch_ahead_bytes_max";
        let bytes = self.ahead.bytes.clone();
        registry.register_with_unit("icecore_store_fetch_ahead", about, Unit::Bytes, bytes);
    }

    /// One attempt of one request.
    pub(crate) fn request(&self, kind: RequestKind, error: Option<&object_store::Error>) {
        use object_store::Error;
        let outcome = match error {
            None => Outcome::Ok,
            Some(Error::NotFound { .. }) => Outcome::NotFound,
            Some(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Outcome::Exists,
            Some(Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => Outcome::Denied,
            Some(_) => Outcome::Failed,
        };
        self.requests.get_or_create(&RequestLabels { kind, outcome }).inc();
    }

    /// Bytes on their way to the bucket.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.inc_by(bytes as u64);
    }

    /// Bytes that came from the bucket.
    pub(crate) fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
    }

    /// How the bucket takes create-only puts.
    pub(crate) fn puts(&self, puts: Puts) {
        self.single_writer.set(i64::from(puts == Puts::Overwrite));
    }

    /// A commit came to its end.
    pub(crate) fn commit(&self, outcome: Publication) {
        self.commits.get_or_create(&PublicationLabels { outcome }).inc();
    }

    /// A merge came to its end.
    pub(crate) fn merge(&self, outcome: Publication) {
        self.merges.get_or_create(&PublicationLabels { outcome }).inc();
    }

    /// Merges that the newest plan has.
    pub(crate) fn merges_planned(&self, merges: usize) {
        self.merges_planned.set(i64::try_from(merges).unwrap_or(i64::MAX));
    }

    /// A merge was published.
    pub(crate) fn merged(&self, merge: &MergeReport) {
        self.merges_planned.dec();
        self.merged_rows.inc_by(merge.rows);
        self.merged_in.inc_by(merge.bytes_in);
        self.merged_out.inc_by(merge.bytes_out);
        self.merged_seconds.inc_by(merge.took.as_secs_f64());
    }

    /// A record that removes rows came to its end.
    pub(crate) fn deletion(&self, outcome: Publication) {
        self.deletions.get_or_create(&PublicationLabels { outcome }).inc();
    }

    /// A record removed rows.
    pub(crate) fn deleted_rows(&self, cause: Cause, report: &DeletionReport) {
        for table in report.tables.iter().filter(|table| table.rows > 0) {
            let labels = DeletionLabels { table: table.table.name(), cause };
            self.deleted_rows.get_or_create(&labels).inc_by(table.rows);
            let files = table.dropped + table.rewritten;
            self.deleted_files.get_or_create(&labels).inc_by(files);
            let bytes = table.bytes_before.saturating_sub(table.bytes_after);
            self.deleted_bytes.get_or_create(&labels).inc_by(bytes);
        }
    }

    /// A pass of retention came to its end.
    pub(crate) fn retained(&self, report: &DeletionReport) {
        self.looked.inc_by(report.looked);
        self.deletion_failures.inc_by(report.failed);
    }

    /// A new snapshot is in force.
    pub(crate) fn snapshot(&self, snapshot: &Snapshot) {
        self.records.set(signed(snapshot.records()));
        self.holds.set(signed(snapshot.holds().count() as u64));
        for table in Table::ALL {
            let labels = TableLabels { table: table.name() };
            let totals = snapshot.totals(table);
            self.files.get_or_create(&labels).set(signed(totals.files));
            self.rows.get_or_create(&labels).set(signed(totals.rows));
            self.bytes.get_or_create(&labels).set(signed(totals.bytes));
        }
    }

    /// The catalog was read at this second.
    pub(crate) fn refreshed(&self, unix_seconds: i64) {
        self.refreshed_at.set(unix_seconds);
    }

    /// The catalog could not be read.
    pub(crate) fn refresh_failed(&self) {
        self.refresh_failures.inc();
    }

    /// The index was made anew.
    pub(crate) fn rebuilt(&self, reason: RebuildReason) {
        self.rebuilds.get_or_create(&RebuildLabels { reason }).inc();
    }

    /// The index could not be written.
    pub(crate) fn index_failed(&self) {
        self.index_failures.inc();
    }

    /// A long read of the catalog is so far.
    pub(crate) fn replayed(&self, records: u64, of: u64) {
        self.rebuild_records.set(signed(records));
        self.rebuild_records_missing.set(signed(of.saturating_sub(records)));
    }

    /// Files were deleted.
    pub(crate) fn deleted(&self, files: u64) {
        self.garbage.inc_by(files);
    }
}

/// Gauges are signed.
fn signed(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}
