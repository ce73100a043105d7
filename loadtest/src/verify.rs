//! Asks by SQL for every span of a run, and compares with what was acknowledged. A large run is
//! asked for in ranges of span ids, so that no answer outgrows memory or a query's time.
//!
//! Invariant: an answer that ends early, or whose rows do not add up to the count, is an error
//! and never taken for lost spans.

use std::fmt;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::acked::Acked;
use crate::cli::VerifyArgs;
use crate::error::Error;

/// How many ids a report names of each kind.
const SHOWN_MAX: usize = 10;

/// Acknowledged ids a range holds at most. Each range is one scan of the run.
const RANGE_IDS_MAX: usize = 2_000_000;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) run: String,
    pub(crate) acked: usize,
    pub(crate) rows: usize,
    /// Acknowledged and not there.
    pub(crate) lost: Vec<u64>,
    /// There more than once.
    pub(crate) doubled: Vec<u64>,
    /// There without a recorded acknowledgement: the connection broke before it came.
    pub(crate) unacknowledged: usize,
}

impl Report {
    /// Whether every acknowledged span is there, and none twice.
    pub(crate) const fn whole(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty()
    }
}

pub(crate) async fn run(arguments: &VerifyArgs) -> Result<Report, Error> {
    run_in_ranges(arguments, RANGE_IDS_MAX).await
}

async fn run_in_ranges(arguments: &VerifyArgs, ids_max: usize) -> Result<Report, Error> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let path = arguments.acked.clone();
    let read = tokio::task::spawn_blocking(move || Acked::read(&path)).await;
    let Acked { run, mut span_ids } = read.map_err(Error::Task)??;
    span_ids.dedup();
    let client = reqwest::Client::builder().no_proxy().build().map_err(Error::Client)?;
    let base = arguments.url.as_str().trim_end_matches('/');
    let api = Api { client, url: format!("{base}/api/v1/sql") };
    let of_run = format!("FROM spans WHERE resource['loadtest.run'] = '{}'", quoted(&run));
    let count = format!("SELECT count(*) AS n {of_run}");
    let mut wanted = 0;
    api.rows(&count, |row| {
        wanted = row.as_u64().ok_or_else(|| Error::Row { line: row.to_string() })?;
        Ok(())
    })
    .await?;
    let ids = format!("SELECT span_id {of_run}");
    let mut report = Report { run, ..Report::default() };
    for (acked, condition) in ranges(&span_ids, ids_max) {
        let mut found = Vec::new();
        api.rows(&format!("{ids}{condition}"), |row| {
            found.push(span_id(row)?);
            Ok(())
        })
        .await?;
        report.add(acked, found);
    }
    if (report.rows as u64) < wanted {
        return Err(Error::Short { query: ids, got: report.rows as u64, wanted });
    }
    Ok(report)
}

/// Acknowledged ids in ranges that together hold every id there is, each with the condition for
/// it. Ids sort as numbers as they do as text.
fn ranges(span_ids: &[u64], ids_max: usize) -> Vec<(&[u64], String)> {
    let mut ranges: Vec<(&[u64], String)> = Vec::new();
    let mut from = String::new();
    let mut rest = span_ids;
    while let Some((range, after)) = rest.split_at_checked(ids_max)
        && let Some(next) = after.first()
    {
        ranges.push((range, format!("{from} AND span_id < '{next:016x}'")));
        from = format!(" AND span_id >= '{next:016x}'");
        rest = after;
    }
    ranges.push((rest, from));
    ranges
}

impl Report {
    /// Sets what was found in a range against what was acknowledged of it, in order and distinct.
    fn add(&mut self, acked: &[u64], mut found: Vec<u64>) {
        found.sort_unstable();
        self.rows += found.len();
        let twice = found.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        self.doubled.extend(twice);
        self.doubled.dedup();
        found.dedup();
        let lost_before = self.lost.len();
        self.lost.extend(acked.iter().filter(|id| found.binary_search(id).is_err()));
        let lost = self.lost.len() - lost_before;
        self.acked += acked.len();
        self.unacknowledged += found.len() - (acked.len() - lost);
    }
}

/// The query API of Icecore.
#[derive(Debug)]
struct Api {
    client: reqwest::Client,
    url: String,
}

impl Api {
    /// Gives the first column of each row to `take`, as the rows arrive.
    async fn rows(
        &self,
        query: &str,
        mut take: impl FnMut(&Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let failed = |source| Error::Ask { url: self.url.clone(), source };
        let request = self.client.post(&self.url).header("accept", "application/x-ndjson");
        let answer = request.json(&json!({"query": query})).send().await.map_err(failed)?;
        let status = answer.status();
        if !status.is_success() {
            let message = answer.text().await.map_err(failed)?;
            let status = status.as_u16();
            return Err(Error::Answer { url: self.url.clone(), status, message });
        }
        let mut rest = Vec::new();
        let mut body = answer.bytes_stream();
        while let Some(chunk) = body.next().await {
            rest.extend_from_slice(&chunk.map_err(failed)?);
            let whole = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            for line in rest.drain(..whole).as_slice().split(|&byte| byte == b'\n') {
                first_column(line, &mut take)?;
            }
        }
        first_column(&rest, &mut take)
    }
}

/// A row is an object or an array; an empty line is none.
fn first_column(
    line: &[u8],
    take: &mut impl FnMut(&Value) -> Result<(), Error>,
) -> Result<(), Error> {
    if line.is_empty() {
        return Ok(());
    }
    let bad = || Error::Row { line: String::from_utf8_lossy(line).into_owned() };
    let row: Value = serde_json::from_slice(line).ok().ok_or_else(bad)?;
    let first = match &row {
        Value::Object(columns) => columns.values().next(),
        Value::Array(columns) => columns.first(),
        _ => None,
    };
    take(first.ok_or_else(bad)?)
}

fn span_id(value: &Value) -> Result<u64, Error> {
    let id = value.as_str().and_then(|text| u64::from_str_radix(text, 16).ok());
    id.ok_or_else(|| Error::Row { line: value.to_string() })
}

/// A text within single quotes of SQL.
fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "run={} acked={} rows={} lost={} doubled={} unacknowledged={}",
            self.run,
            self.acked,
            self.rows,
            self.lost.len(),
            self.doubled.len(),
            self.unacknowledged
        )?;
        for (what, ids) in [("lost", &self.lost), ("doubled", &self.doubled)] {
            for id in ids.iter().take(SHOWN_MAX) {
                writeln!(f, "{what} {id:016x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
