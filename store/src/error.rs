//! Why the store could not do something, and what the caller may do about it.

use std::time::Duration;

use crate::model::{LogPosition, WriterId};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings make no sense.
    #[error("storage `{storage}` cannot be used: {reason}")]
    Config {
        /// The storage URL.
        storage: String,
        /// In words.
        reason: String,
    },
    /// The bucket refused who we are.
    #[error(
        "storage `{storage}` refused the credentials; check AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, and that this key may list, read and write there"
    )]
    Credentials {
        /// The storage URL.
        storage: String,
        /// What the server said.
        source: object_store::Error,
    },
    /// No key was given, and nothing could be reached without one.
    #[error(
        "storage `{storage}` cannot be reached without a key: set AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, or give this machine or pod an identity"
    )]
    MissingKey {
        /// The storage URL.
        storage: String,
        /// What went wrong.
        source: object_store::Error,
    },
    /// There is no such bucket.
    #[error("storage `{storage}` does not exist; create the bucket first, or check its name")]
    MissingBucket {
        /// The storage URL.
        storage: String,
        /// What the server said.
        source: object_store::Error,
    },
    /// The bucket did not answer at all.
    #[error("storage `{storage}` cannot be reached at `{endpoint}`")]
    Unreachable {
        /// The storage URL.
        storage: String,
        /// Where it was looked for.
        endpoint: String,
        /// What went wrong.
        source: object_store::Error,
    },
    /// One request to the bucket failed, after all retries.
    #[error("cannot {action} `{path}` in the bucket")]
    Bucket {
        /// `read`, `write`, `list` or `delete`.
        action: &'static str,
        /// The path below the storage prefix.
        path: String,
        /// What went wrong.
        source: object_store::Error,
    },
    /// The bucket has no create-only puts, and another process writes to it.
    #[error(
        "storage `{storage}` ignores create-only puts, so it can have one writer only, and \
         {owner} was heard of {age:?} ago; stop it first, or wait until it counts as gone"
    )]
    Owned {
        /// The storage URL.
        storage: String,
        /// Who owns it.
        owner: String,
        /// How long ago its last sign of life is.
        age: Duration,
    },
    /// Where a bucket has one writer, what was to be written was decided on before another owner,
    /// or this process anew, began. The same call made again decides anew.
    #[error("the owner of storage `{storage}` changed meanwhile")]
    OwnerChanged {
        /// The storage URL.
        storage: String,
    },
    /// The sign of life that keeps other writers away could not be renewed in time.
    #[error("the ownership of storage `{storage}` was not renewed for {silent:?}; not writing")]
    OwnershipStale {
        /// The storage URL.
        storage: String,
        /// How long ago the last renewal began.
        silent: Duration,
    },
    /// Somebody else wrote records for this writer: rows up to `covered_to` are in the catalog.
    /// Refresh, drop what is covered, and commit the rest.
    #[error(
        "a commit of writer {writer} from {covers_from:?} on was overtaken: the catalog covers it \
         up to {covered_to:?}"
    )]
    Overtaken {
        /// Whose log.
        writer: WriterId,
        /// Where the refused commit began.
        covers_from: LogPosition,
        /// Where the next commit must begin.
        covered_to: LogPosition,
    },
    /// A commit for a writer that was not registered.
    #[error("writer {writer} was not registered with this store")]
    NotRegistered {
        /// Whose log.
        writer: WriterId,
    },
    /// An object is not what it should be.
    #[error("`{path}` is damaged: {reason}")]
    Damaged {
        /// The path below the storage prefix.
        path: String,
        /// In words.
        reason: String,
    },
    /// A Parquet file cannot be written or read.
    #[error("cannot {action} Parquet file `{path}`")]
    Parquet {
        /// `read` or `write`.
        action: &'static str,
        /// The path below the storage prefix.
        path: String,
        /// What went wrong.
        source: parquet::errors::ParquetError,
    },
    /// Rows are not in the shape that they must have.
    #[error("cannot {action}")]
    Arrow {
        /// What was being done, with names.
        action: String,
        /// What went wrong.
        source: arrow::error::ArrowError,
    },
    /// Rows are not in the shape that they must have.
    #[error("rows of table {table} are not in row shape: {reason}")]
    Rows {
        /// The table.
        table: crate::model::Table,
        /// In words.
        reason: String,
    },
    /// The local index cannot be used, and could not be made anew.
    #[error("cannot {action} the index in `{folder}`")]
    Index {
        /// What was being done.
        action: &'static str,
        /// The index folder.
        folder: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The rows of a commit could not be had. The commit may be tried again.
    #[error("cannot read the rows of a commit")]
    CommitRows {
        /// What their owner said.
        source: crate::ports::PortError,
    },
    /// Rows that wait for the bucket could not be read. A query may be asked again.
    #[error("cannot read rows that are not in the bucket yet: {source}")]
    LiveRows {
        /// What their owner said.
        source: crate::ports::PortError,
    },
    /// A SQL condition is not one, or cannot be applied.
    #[error("cannot {what}")]
    Condition {
        /// What was being done, with the condition.
        what: String,
        /// What is wrong with it.
        source: crate::ports::ConditionError,
    },
    /// A rule of retention is not understood.
    #[error("the rule `{rule}` of `retention` is not understood")]
    RetentionRule {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        source: crate::ports::ConditionError,
    },
    /// Others kept appending to the common sequence; the same call may succeed later.
    #[error("other processes were faster {attempts} times in a row")]
    Crowded {
        /// How often it was tried.
        attempts: u32,
    },
    /// Acknowledged rows could not be brought into the store.
    #[error("cannot flush acknowledged rows")]
    Flush {
        /// What their owner said.
        source: crate::ports::PortError,
    },
    /// A filter of a reader could not tell which rows stay.
    #[error("cannot filter rows")]
    Filter {
        /// What the filter said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A piece of work on a blocking thread did not come back.
    #[error("{work} did not finish")]
    Interrupted {
        /// What it was.
        work: &'static str,
        /// What the runtime said.
        source: tokio::task::JoinError,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// An operator must change a setting, a key or a bucket.
    Setup,
    /// The bucket is away or too slow; the same call may succeed later.
    Unavailable,
    /// Another process was first; refresh and decide anew.
    Conflict,
    /// What is stored is not what was written.
    Damaged,
    /// The caller passed something that it must not pass.
    Caller,
    /// A fault on this machine.
    Internal,
}

impl Error {
    /// What can be done about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. }
            | Self::Credentials { .. }
            | Self::MissingKey { .. }
            | Self::MissingBucket { .. }
            | Self::Unreachable { .. }
            | Self::RetentionRule { .. }
            | Self::Owned { .. } => ErrorKind::Setup,
            Self::Bucket { source, .. } => bucket_kind(source),
            Self::OwnershipStale { .. }
            | Self::OwnerChanged { .. }
            | Self::CommitRows { .. }
            | Self::LiveRows { .. }
            | Self::Flush { .. } => ErrorKind::Unavailable,
            Self::Overtaken { .. } | Self::Crowded { .. } => ErrorKind::Conflict,
            Self::Damaged { .. } => ErrorKind::Damaged,
            Self::Parquet { source, .. } => parquet_kind(source),
            Self::NotRegistered { .. }
            | Self::Condition { .. }
            | Self::Arrow { .. }
            | Self::Rows { .. }
            | Self::Filter { .. } => ErrorKind::Caller,
            Self::Index { .. } | Self::Interrupted { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }
}

fn bucket_kind(source: &object_store::Error) -> ErrorKind {
    match source {
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => ErrorKind::Setup,
        object_store::Error::NotFound { .. } => ErrorKind::Damaged,
        object_store::Error::AlreadyExists { .. } => ErrorKind::Conflict,
        _ => ErrorKind::Unavailable,
    }
}

/// A Parquet reader wraps what the bucket said; only what is no bucket fault is damage.
fn parquet_kind(source: &parquet::errors::ParquetError) -> ErrorKind {
    let parquet::errors::ParquetError::External(inner) = source else {
        return ErrorKind::Damaged;
    };
    inner.downcast_ref().map_or(ErrorKind::Unavailable, bucket_kind)
}
