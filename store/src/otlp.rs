//! Rows in row shape back to OTLP: the inverse of what ingest decodes, in one place for the query
//! API and the bridge.
//!
//! Invariant: every field that OTLP carries comes back; only the order of attributes, and of
//! resources, scopes and records among themselves, is not kept. A message that is there but empty
//! cannot be told from one that is absent: resource, scope and status always come back as there.

mod attributes;
mod exemplars;
mod group;
mod json;
mod logs;
mod metrics;
mod points;
mod profiles;
mod rows;
mod traces;

use arrow::array::RecordBatch;
use opentelemetry_proto::tonic::logs::v1::{LogsData, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{MetricsData, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::profiles::v1development::{
    ProfilesData, ResourceProfiles, ScopeProfiles,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, TracesData};

use crate::error::Error;
use crate::model::Table;

pub use json::json;

/// Span rows as OTLP, grouped by resource and scope. Costs some microseconds a span: call it off
/// the runtime for more than a few hundred.
///
/// # Errors
/// Where the rows are not spans in row shape.
pub fn traces(rows: &[RecordBatch]) -> Result<TracesData, Error> {
    let resources = group::grouped::<traces::SpanReader<'_>>(Table::Spans, rows)?;
    let resource_spans = resources.into_iter().map(|resource| ResourceSpans {
        resource: Some(resource.resource),
        scope_spans: resource
            .scopes
            .into_iter()
            .map(|scope| ScopeSpans {
                scope: Some(scope.scope),
                spans: scope.records,
                schema_url: scope.schema_url,
            })
            .collect(),
        schema_url: resource.schema_url,
    });
    Ok(TracesData { resource_spans: resource_spans.collect() })
}

/// Metric rows as OTLP: points regroup into metrics by name, kind, unit, description, temporality,
/// monotonicity and metadata.
///
/// # Errors
/// Where the rows are not metrics in row shape.
pub fn metrics(rows: &[RecordBatch]) -> Result<MetricsData, Error> {
    let resources = group::grouped::<metrics::PointReader<'_>>(Table::Metrics, rows)?;
    let mut resource_metrics = Vec::with_capacity(resources.len());
    for resource in resources {
        let mut scope_metrics = Vec::with_capacity(resource.scopes.len());
        for scope in resource.scopes {
            scope_metrics.push(ScopeMetrics {
                scope: Some(scope.scope),
                metrics: metrics::regroup(scope.records)?,
                schema_url: scope.schema_url,
            });
        }
        resource_metrics.push(ResourceMetrics {
            resource: Some(resource.resource),
            scope_metrics,
            schema_url: resource.schema_url,
        });
    }
    Ok(MetricsData { resource_metrics })
}

/// Log rows as OTLP, grouped by resource and scope.
///
/// # Errors
/// Where the rows are not logs in row shape.
pub fn logs(rows: &[RecordBatch]) -> Result<LogsData, Error> {
    let resources = group::grouped::<logs::LogReader<'_>>(Table::Logs, rows)?;
    let resource_logs = resources.into_iter().map(|resource| ResourceLogs {
        resource: Some(resource.resource),
        scope_logs: resource
            .scopes
            .into_iter()
            .map(|scope| ScopeLogs {
                scope: Some(scope.scope),
                log_records: scope.records,
                schema_url: scope.schema_url,
            })
            .collect(),
        schema_url: resource.schema_url,
    });
    Ok(LogsData { resource_logs: resource_logs.collect() })
}

/// Profile rows as OTLP: samples regroup into profiles by all that a profile says of them.
///
/// # Errors
/// Where the rows are not profiles in row shape.
pub fn profiles(rows: &[RecordBatch]) -> Result<ProfilesData, Error> {
    let resources = group::grouped::<profiles::SampleReader<'_>>(Table::Profiles, rows)?;
    let mut dictionary = profiles::Dictionary::default();
    let mut resource_profiles = Vec::with_capacity(resources.len());
    for resource in resources {
        let mut scope_profiles = Vec::with_capacity(resource.scopes.len());
        for scope in resource.scopes {
            scope_profiles.push(ScopeProfiles {
                scope: Some(scope.scope),
                profiles: profiles::regroup(scope.records, &mut dictionary)?,
                schema_url: scope.schema_url,
            });
        }
        resource_profiles.push(ResourceProfiles {
            resource: Some(resource.resource),
            scope_profiles,
            schema_url: resource.schema_url,
        });
    }
    Ok(ProfilesData { resource_profiles, dictionary: Some(dictionary.finish()) })
}

#[cfg(test)]
mod tests;
