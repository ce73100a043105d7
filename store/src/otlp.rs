//! Rows in row shape back to OTLP: the inverse of what ingest decodes, in one place for the query
//! API and the bridge.
//!
//! Invariant: every field that OTLP carries comes back; only the order of attributes, and of
//! resources, scopes and records among themselves, is not kept.

use arrow::array::RecordBatch;
use opentelemetry_proto::tonic::logs::v1::LogsData;
use opentelemetry_proto::tonic::metrics::v1::MetricsData;
use opentelemetry_proto::tonic::trace::v1::TracesData;

use crate::error::Error;
use crate::model::Table;

/// Span rows as OTLP, grouped by resource and scope.
///
/// # Errors
/// Where the rows are not spans in row shape.
pub fn traces(_rows: &[RecordBatch]) -> Result<TracesData, Error> {
    Err(Error::Rows { table: Table::Spans, reason: "not yet".to_owned() })
}

/// Metric rows as OTLP: points regroup into metrics by name, kind, unit, description, temporality,
/// monotonicity and metadata.
///
/// # Errors
/// Where the rows are not metrics in row shape.
pub fn metrics(_rows: &[RecordBatch]) -> Result<MetricsData, Error> {
    Err(Error::Rows { table: Table::Metrics, reason: "not yet".to_owned() })
}

/// Log rows as OTLP, grouped by resource and scope.
///
/// # Errors
/// Where the rows are not logs in row shape.
pub fn logs(_rows: &[RecordBatch]) -> Result<LogsData, Error> {
    Err(Error::Rows { table: Table::Logs, reason: "not yet".to_owned() })
}
