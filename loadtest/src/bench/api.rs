//! The query API of a server that is measured.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::error::Error;

#[derive(Debug, Clone)]
pub(super) struct Api {
    client: reqwest::Client,
    base: String,
}

/// An answer that was read to its end, row by row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streamed {
    pub(super) first_row: Duration,
    pub(super) all: Duration,
}

impl Api {
    pub(super) fn new(api: &Url) -> Result<Self, Error> {
        let client = reqwest::Client::builder().no_proxy().build().map_err(Error::Client)?;
        Ok(Self { client, base: api.as_str().trim_end_matches('/').to_owned() })
    }

    /// The whole answer.
    pub(super) async fn sql(&self, query: &str) -> Result<Value, Error> {
        let request = self.client.post(format!("{}/api/v1/sql", self.base));
        understood(&self.answer(request.json(&json!({"query": query}))).await?)
    }

    /// The one number that a query answers; 0 where there is none.
    pub(super) async fn number(&self, query: &str) -> Result<u64, Error> {
        Ok(self.sql(query).await?["rows"][0][0].as_u64().unwrap_or(0))
    }

    /// A trace as OTLP's JSON; null where there is none.
    pub(super) async fn trace(&self, id: &str) -> Result<Value, Error> {
        let request = self.client.get(format!("{}/api/v1/traces/{id}", self.base));
        understood(&self.answer(request).await?)
    }

    /// Asks for rows as they come.
    pub(super) async fn stream(&self, query: &str) -> Result<Streamed, Error> {
        let failed = |source| Error::Ask { url: self.base.clone(), source };
        let began = Instant::now();
        let request = self.client.post(format!("{}/api/v1/sql", self.base));
        let request = request.header("accept", "application/x-ndjson");
        let answer = request.json(&json!({"query": query})).send().await.map_err(failed)?;
        let status = answer.status();
        let mut body = answer.bytes_stream();
        let (mut first_row, mut said) = (None, Vec::new());
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(failed)?;
            first_row = first_row.or((!piece.is_empty()).then(|| began.elapsed()));
            if !status.is_success() {
                said.extend_from_slice(&piece);
            }
        }
        if status.is_success() {
            let all = began.elapsed();
            return Ok(Streamed { first_row: first_row.unwrap_or(all), all });
        }
        let message = String::from_utf8_lossy(&said).into_owned();
        Err(Error::Answer { url: self.base.clone(), status: status.as_u16(), message })
    }

    /// The page of metrics.
    pub(super) async fn metrics(&self) -> Result<Metrics, Error> {
        let page = self.answer(self.client.get(format!("{}/metrics", self.base))).await?;
        Ok(Metrics(String::from_utf8_lossy(&page).into_owned()))
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, Error> {
        let failed = |source| Error::Ask { url: self.base.clone(), source };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(failed)?;
        // A trace that is not there is an answer, and a wrong one.
        if status.is_success() || status == reqwest::StatusCode::NOT_FOUND {
            return Ok(body.into());
        }
        let message = String::from_utf8_lossy(&body).into_owned();
        Err(Error::Answer { url: self.base.clone(), status: status.as_u16(), message })
    }
}

fn understood(body: &[u8]) -> Result<Value, Error> {
    let read = serde_json::from_slice(body).ok();
    read.ok_or_else(|| Error::Row { line: String::from_utf8_lossy(body).into_owned() })
}

/// Spans of a trace in OTLP's JSON.
pub(super) fn spans(trace: &Value) -> u64 {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let resources = list(&trace["resourceSpans"]);
    let scopes = resources.iter().flat_map(|it| list(&it["scopeSpans"]));
    scopes.map(|scope| scope["spans"].as_array().map_or(0, |list| list.len() as u64)).sum()
}

/// A page of metrics.
#[derive(Debug)]
pub(super) struct Metrics(String);

impl Metrics {
    /// All values of a metric, over its labels.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.sum_of(name, "")
    }

    /// All values of a metric whose labels contain `label`.
    pub(super) fn sum_of(&self, name: &str, label: &str) -> f64 {
        let values = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let wanted = rest.starts_with(['{', ' ']) && labels.contains(label);
            wanted.then(|| value.parse().ok())?
        });
        values.fold(0.0, |sum, value: f64| sum + value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a page of metrics.
    /// Guarantees: a metric is summed over its labels, or those with one of them, and not mixed up
    /// with one that begins alike.
    #[test]
    fn metrics_are_summed() {
        let page = "# TYPE rows gauge\nrows{table=\"a\"} 3\nrows{table=\"b\"} 4\nrows_total 9\n";
        let page = Metrics(page.to_owned());
        assert!((page.sum("rows") - 7.0).abs() < f64::EPSILON);
        assert!((page.sum("rows_total") - 9.0).abs() < f64::EPSILON);
        assert!((page.sum_of("rows", "table=\"b\"") - 4.0).abs() < f64::EPSILON);
    }
}
