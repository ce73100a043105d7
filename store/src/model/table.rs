//! The tables and the signals that fill them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A table that SQL can ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// One row a span.
    Spans,
    /// One row a data point.
    Metrics,
    /// One row a log record.
    Logs,
    /// One row a distinct stack and interval.
    Profiles,
}

impl Table {
    /// Every table, in the order in which they are listed everywhere.
    pub const ALL: [Self; 4] = [Self::Spans, Self::Metrics, Self::Logs, Self::Profiles];

    /// The name in SQL, in paths and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Profiles => "profiles",
        }
    }

    /// The column that rows are partitioned and pruned by.
    #[must_use]
    pub const fn time_column(self) -> &'static str {
        match self {
            Self::Spans => "start_time",
            Self::Metrics | Self::Logs | Self::Profiles => "time",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no table's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no table `{0}`; there are spans, metrics, logs and profiles")]
pub struct NoSuchTable(String);

impl FromStr for Table {
    type Err = NoSuchTable;

    fn from_str(name: &str) -> Result<Self, NoSuchTable> {
        let found = Self::ALL.into_iter().find(|table| table.name() == name);
        found.ok_or_else(|| NoSuchTable(name.to_owned()))
    }
}

/// What an OTLP request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// `ExportTraceServiceRequest`.
    Traces,
    /// `ExportMetricsServiceRequest`.
    Metrics,
    /// `ExportLogsServiceRequest`.
    Logs,
    /// `ExportProfilesServiceRequest`.
    Profiles,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 4] = [Self::Traces, Self::Metrics, Self::Logs, Self::Profiles];

    /// The last part of the OTLP/HTTP path, and the label in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Profiles => "profiles",
        }
    }

    /// The path of OTLP/HTTP that takes it.
    #[must_use]
    pub const fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
            Self::Profiles => "/v1development/profiles",
        }
    }

    /// The path of OTLP/gRPC that takes it: service and method.
    #[must_use]
    pub const fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Profiles => {
                "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
            }
        }
    }

    /// The table its rows go to.
    #[must_use]
    pub const fn table(self) -> Table {
        match self {
            Self::Traces => Table::Spans,
            Self::Metrics => Table::Metrics,
            Self::Logs => Table::Logs,
            Self::Profiles => Table::Profiles,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
