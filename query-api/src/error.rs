//! What can go wrong with a query, and what the caller is told.
//!
//! Invariant: every error has one [`ErrorKind`], every kind one code and one HTTP status, and the
//! text of an error names what the caller wrote, never a place in this program.

use std::net::SocketAddr;
use std::time::Duration;

use datafusion::error::DataFusionError;
use http::StatusCode;

use crate::hint::Place;
use crate::sources::BadIngester;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong; the same request fails again.
    Invalid,
    /// The request is understood and not allowed.
    Refused,
    /// What was asked for is not there.
    NotFound,
    /// Too many queries run at this moment; try again.
    Busy,
    /// The query needs more memory than one query may have.
    MemoryLimit,
    /// The query needs more time than one query may take.
    TimeLimit,
    /// The query needs more room on disk than one query may have.
    SpillLimit,
    /// The query needs room on disk, and others have it; try again.
    SpillFull,
    /// The query fetches more than one query may.
    ScanLimit,
    /// The answer has more rows than one may have.
    RowLimit,
    /// Somebody ended the query.
    Cancelled,
    /// The store could not be read; try again.
    Unavailable,
    /// A fault of ours.
    Internal,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Invalid,
        Self::Refused,
        Self::NotFound,
        Self::Busy,
        Self::MemoryLimit,
        Self::TimeLimit,
        Self::SpillLimit,
        Self::SpillFull,
        Self::ScanLimit,
        Self::RowLimit,
        Self::Cancelled,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The `code` of the answer and the label in metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::NotFound => "not_found",
            Self::Busy => "busy",
            Self::MemoryLimit => "memory_limit",
            Self::TimeLimit => "time_limit",
            Self::SpillLimit => "spill_limit",
            Self::SpillFull => "spill_full",
            Self::ScanLimit => "scan_limit",
            Self::RowLimit => "row_limit",
            Self::Cancelled => "cancelled",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Refused => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Busy | Self::SpillFull => StatusCode::TOO_MANY_REQUESTS,
            Self::MemoryLimit | Self::SpillLimit | Self::ScanLimit | Self::RowLimit => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Cancelled => StatusCode::CONFLICT,
            Self::TimeLimit => StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error of the query service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting under which nothing could be answered.
    #[error("the setting `{setting}` must not be zero")]
    Setting {
        /// Its name.
        setting: &'static str,
    },
    /// What was to name an ingester.
    #[error(transparent)]
    Ingester(#[from] BadIngester),
    /// The address could not be taken.
    #[error("cannot listen on {address}")]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The query threads could not be started.
    #[error("cannot start {threads} query threads")]
    Threads {
        /// How many.
        threads: usize,
        /// Why.
        source: std::io::Error,
    },
    /// Serving Arrow Flight SQL ended by itself.
    #[error("serving Arrow Flight SQL failed")]
    ServeGrpc(#[source] tonic::transport::Error),
    /// Serving HTTP ended by itself.
    #[error("serving HTTP failed")]
    Serve(#[source] std::io::Error),
    /// The request is not one that the path takes.
    #[error("{0}")]
    Request(String),
    /// The request body is longer than allowed.
    #[error("the request body is longer than {bytes_max} bytes, or broke off")]
    TooLong {
        /// The bound.
        bytes_max: usize,
    },
    /// The request body is not declared as JSON.
    #[error("the content type `{given}` is not application/json")]
    ContentType {
        /// As declared.
        given: String,
    },
    /// The caller takes none of the formats that there are.
    #[error("`Accept: {accept}` names none of {known}")]
    Accept {
        /// What it takes.
        accept: String,
        /// What there is.
        known: String,
    },
    /// The SQL cannot be understood.
    #[error("{message}{}", at.map(|at| at.to_string()).unwrap_or_default())]
    Sql {
        /// What is wrong with it.
        message: String,
        /// How to mend it, where that can be guessed.
        hint: Option<String>,
        /// Where in its text that is, where it is known.
        at: Option<Place>,
    },
    /// The statement would change something.
    #[error("`{statement}` is not allowed here: this API only reads")]
    Statement {
        /// Its first words.
        statement: String,
    },
    /// The request names another host, or comes from a page of another site.
    #[error("requests {0} are refused")]
    Foreign(String),
    /// A hold or an erasure is not asked for rightly.
    #[error("{0}")]
    Hold(String),
    /// No hold has this name.
    #[error("there is no hold `{0}`")]
    UnknownHold(String),
    /// Erasing by HTTP is switched off.
    #[error("this Icecore does not erase rows by HTTP")]
    EraseOff,
    /// One erasure runs at a time.
    #[error("another erasure is running")]
    Erasing,
    /// No trace has this id.
    #[error("there is no trace `{0}`")]
    UnknownTrace(String),
    /// The folder of the operator's own scripts is not there.
    #[error("cannot read the scripts in `{folder}`")]
    ScriptFolder {
        /// As configured.
        folder: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No script has this name.
    #[error("there is no script `{name}`{}", faults.first().map(|fault| format!("; {fault}")).unwrap_or_default())]
    UnknownScript {
        /// As asked for.
        name: String,
        /// The name that was meant, perhaps.
        close: Option<String>,
        /// What is wrong with files that are no scripts.
        faults: Vec<String>,
    },
    /// A script is not asked rightly.
    #[error("{message}")]
    Script {
        /// The parameter that is wrong, or that the script does not have.
        parameter: String,
        /// What is wrong.
        message: String,
        /// What it takes.
        hint: String,
    },
    /// The query waited for its turn in vain.
    #[error("{running_max} queries are running and none ended within {waited:?}")]
    Busy {
        /// The bound on running queries.
        running_max: usize,
        /// How long it waited.
        waited: Duration,
    },
    /// The query ran too long.
    #[error("the query ran for longer than {time_max:?}")]
    TimeLimit {
        /// The bound.
        time_max: Duration,
    },
    /// The query held too much.
    #[error("the query needs more than {bytes_max} bytes of memory")]
    MemoryLimit {
        /// The bound.
        bytes_max: usize,
        /// What asked for more.
        source: Box<DataFusionError>,
    },
    /// The query put too much on disk.
    #[error("the query needs more than {bytes_max} bytes of disk besides its memory")]
    SpillLimit {
        /// The bound.
        bytes_max: u64,
        /// What asked for more.
        source: Box<DataFusionError>,
    },
    /// All queries together have put as much on disk as they may.
    #[error(
        "the query needs disk besides its memory, and all queries together have put {bytes_max} bytes there"
    )]
    SpillFull {
        /// The bound.
        bytes_max: u64,
        /// What asked for more.
        source: Box<DataFusionError>,
    },
    /// The disk has no room for what memory cannot hold.
    #[error("the query needs disk besides its memory, and the disk is full")]
    DiskFull {
        /// What asked for more.
        source: Box<DataFusionError>,
    },
    /// The folder for what does not fit in memory cannot be used.
    #[error("cannot use the folder `{folder}` for what queries have no memory for")]
    SpillFolder {
        /// As configured.
        folder: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The query fetched too much.
    #[error("the query fetched more than {bytes_max} bytes of files")]
    ScanLimit {
        /// The bound.
        bytes_max: u64,
    },
    /// The answer is too long.
    #[error("the answer has more than {rows_max} rows")]
    RowLimit {
        /// The bound.
        rows_max: usize,
    },
    /// Somebody ended the query.
    #[error("the query was cancelled")]
    Cancelled,
    /// No query with this id is under way.
    #[error("no query `{0}` is under way")]
    UnknownQuery(String),
    /// Too many callers look on while rows arrive.
    #[error("{tails_max} callers look on already")]
    Tails {
        /// The bound.
        tails_max: usize,
    },
    /// Rows do not arrive here.
    #[error("no rows arrive at this process, so that there is nothing to look on for")]
    NothingArrives,
    /// The caller has too many queries under way.
    #[error("{client} has {running_max} queries running and none ended within {waited:?}")]
    BusyClient {
        /// Whose they are.
        client: std::net::IpAddr,
        /// The bound on its running queries.
        running_max: usize,
        /// How long it waited.
        waited: Duration,
    },
    /// The store could not be read.
    #[error("cannot read the store: {reason}")]
    Store {
        /// What the store said.
        reason: String,
        /// All of it.
        source: Box<DataFusionError>,
    },
    /// The engine failed while it ran the query.
    #[error("the query failed: {reason}")]
    Engine {
        /// The first line of its reason.
        reason: String,
        /// All of it.
        source: Box<DataFusionError>,
    },
    /// The thread that ran the query gave no answer.
    #[error("the query ended without an answer")]
    Lost,
    /// The answer could not be written in the format asked for.
    #[error("cannot write the answer as {format}")]
    Encode {
        /// The format.
        format: &'static str,
        /// Why.
        source: Box<arrow::error::ArrowError>,
    },
    /// Something could not be written as JSON.
    #[error("cannot write {what} as JSON")]
    Json {
        /// What.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

impl Error {
    /// A fault of the SQL, with how to mend it.
    pub(crate) fn sql(message: String, hint: String) -> Self {
        Self::Sql { message, hint: Some(hint), at: None }
    }

    /// Where in the SQL the fault is, where it is known.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Sql { at, .. } => *at,
            _ => None,
        }
    }

    /// An error of the store: what is wrong with a condition is told to whoever wrote it.
    pub(crate) fn of_store(error: icecore_store::Error) -> Self {
        if let icecore_store::Error::Condition { source, .. } = error {
            return Self::Sql { message: source.reason, hint: source.hint, at: None };
        }
        let reason = error.to_string();
        Self::Store { reason, source: Box::new(DataFusionError::External(Box::new(error))) }
    }

    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Request(_)
            | Self::Hold(_)
            | Self::TooLong { .. }
            | Self::ContentType { .. }
            | Self::Accept { .. }
            | Self::Sql { .. }
            | Self::Script { .. }
            | Self::Setting { .. }
            | Self::Ingester(_)
            | Self::Encode { .. } => ErrorKind::Invalid,
            Self::Statement { .. } | Self::Foreign(_) | Self::EraseOff | Self::NothingArrives => {
                ErrorKind::Refused
            }
            Self::UnknownTrace(_)
            | Self::UnknownHold(_)
            | Self::UnknownQuery(_)
            | Self::UnknownScript { .. } => ErrorKind::NotFound,
            Self::Busy { .. } | Self::BusyClient { .. } | Self::Tails { .. } | Self::Erasing => {
                ErrorKind::Busy
            }
            Self::MemoryLimit { .. } => ErrorKind::MemoryLimit,
            Self::TimeLimit { .. } => ErrorKind::TimeLimit,
            Self::SpillLimit { .. } => ErrorKind::SpillLimit,
            Self::SpillFull { .. } | Self::DiskFull { .. } => ErrorKind::SpillFull,
            Self::ScanLimit { .. } => ErrorKind::ScanLimit,
            Self::RowLimit { .. } => ErrorKind::RowLimit,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Store { .. } => ErrorKind::Unavailable,
            Self::Bind { .. }
            | Self::ScriptFolder { .. }
            | Self::SpillFolder { .. }
            | Self::Threads { .. }
            | Self::Serve(_)
            | Self::ServeGrpc(_)
            | Self::Engine { .. }
            | Self::Json { .. }
            | Self::Lost => ErrorKind::Internal,
        }
    }

    /// The HTTP status of the answer: that of the kind, or a more exact one.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Accept { .. } => StatusCode::NOT_ACCEPTABLE,
            _ => self.kind().status(),
        }
    }

    /// What the caller may do about it, in words.
    #[must_use]
    pub fn hint(&self) -> String {
        let text = match self {
            Self::UnknownScript { close: Some(close), .. } => {
                return format!("did you mean `{close}`?");
            }
            Self::UnknownScript { .. } => "`icecore script list` shows them",
            Self::Script { hint, .. } => hint,
            Self::ScriptFolder { .. } => "make the folder, or set `script_dir` to where it is",
            Self::Sql { hint: Some(hint), .. } => hint,
            Self::Sql { hint: None, .. } => {
                "`DESCRIBE spans` lists the columns and their types, `SHOW TABLES` the tables"
            }
            Self::Request(_) => {
                "POST /api/v1/sql takes {\"query\": \"SELECT …\", \"params\": [1, \"a\"]}; \
                 GET /api/v1/traces/… a trace id in hex; GET /api/v1/tail ?table=spans&where=…"
            }
            Self::Hold(_) => {
                "PUT /api/v1/holds/NAME takes {\"from\": \"2h\", \"to\": \"now\", \"where\": \"…\", \"tables\": \
                 [\"spans\"]}; POST /api/v1/erase {\"where\": \"…\"}"
            }
            Self::UnknownHold(_) => "`icecore hold list` shows those that stand",
            Self::EraseOff => "the setting `http_erase` allows it",
            Self::Erasing => "wait for it to end: nothing is lost by asking again",
            Self::TooLong { .. } => "send a shorter query, in one piece",
            Self::Accept { .. } => "leave the header `Accept` out for JSON",
            Self::ContentType { .. } => "send the header `Content-Type: application/json`",
            Self::Statement { .. } => {
                "SELECT, EXPLAIN, SHOW and DESCRIBE are the statements that can be run"
            }
            Self::UnknownTrace(_) => {
                "`SELECT trace_id, name FROM spans ORDER BY start_time DESC LIMIT 20` shows recent ones"
            }
            Self::Foreign(_) => {
                "name this machine in the address, or add the name to the setting `http_hosts`"
            }
            Self::Busy { .. } => "try again in a moment, or raise `queries_max`",
            Self::TimeLimit { .. } => {
                "narrow the time range or ask for fewer columns, or raise `query_timeout`"
            }
            Self::MemoryLimit { .. } => {
                "narrow the time range, group by fewer values, or raise `query_memory_bytes_max`"
            }
            Self::SpillLimit { .. } => {
                "narrow the time range, sort fewer columns, or raise `query_spill_bytes_max`"
            }
            Self::SpillFull { .. } => {
                "try again when others have ended, narrow the time range, or raise `spill_bytes_max`"
            }
            Self::DiskFull { .. } => {
                "make room where the data directory is; `spill_bytes_max` keeps queries from taking all of it"
            }
            Self::SpillFolder { .. } => "make room for it, or set `query_spill_bytes_max` to 0",
            Self::ScanLimit { .. } => {
                "narrow the time range or ask for fewer columns, or raise `query_fetched_bytes_max`"
            }
            Self::RowLimit { .. } => "add a LIMIT, or raise `query_rows_max`",
            Self::Cancelled => "ask again where that was not meant",
            Self::UnknownQuery(_) => "GET /api/v1/queries lists those that are",
            Self::Tails { .. } => "end one of them, or raise `tails_max`",
            Self::NothingArrives => {
                "ask an `icecore run` or an `icecore ingest` that has the query API"
            }
            Self::BusyClient { .. } => "try again in a moment, or raise `queries_per_client_max`",
            Self::Encode { .. } => "ask for another format, or CAST the column to a plainer type",
            Self::Store { .. } => "`icecore doctor` tells whether the bucket can be reached",
            _ => "the log of Icecore says more",
        };
        text.to_owned()
    }
}
