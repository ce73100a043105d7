//! Asks by SQL for every item of a run, and compares with what was acknowledged. A large run is
//! asked for in ranges of ids, so that no answer outgrows memory or a query's time.
//!
//! Invariant: an answer that ends early, or whose rows do not add up to the count, is an error
//! and never taken for lost items.

mod ids;

use std::fmt;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::acked::Acked;
use crate::cli::VerifyArgs;
use crate::error::Error;
use ids::Ids;

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
    /// Whether every acknowledged item is there, and none twice.
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
    let Acked { signal, run, ids: mut acked } = read.map_err(Error::Task)??;
    acked.dedup();
    let ids = Ids::of(signal);
    let client = reqwest::Client::builder().no_proxy().build().map_err(Error::Client)?;
    let base = arguments.url.as_str().trim_end_matches('/');
    let api = Api { client, url: format!("{base}/api/v1/sql") };
    let of_run = format!("FROM {} WHERE resource['loadtest.run'] = '{}'", ids.table, quoted(&run));
    let count = format!("SELECT count(*) AS n {of_run}");
    let mut wanted = 0;
    api.rows(&count, |row| {
        wanted = row["n"].as_u64().ok_or_else(|| Error::Row { line: row.to_string() })?;
        Ok(())
    })
    .await?;
    let select = format!("SELECT {} {of_run}", ids.columns);
    let mut report = Report { run, ..Report::default() };
    for (acked, condition) in ids.ranges(&acked, ids_max) {
        let mut found = Vec::new();
        api.rows(&format!("{select}{condition}"), |row| {
            found.push(ids.read(row).ok_or_else(|| Error::Row { line: row.to_string() })?);
            Ok(())
        })
        .await?;
        report.add(acked, found);
    }
    if (report.rows as u64) < wanted {
        return Err(Error::Short { query: select, got: report.rows as u64, wanted });
    }
    Ok(report)
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
    /// Gives each row to `take` as it arrives, as an object.
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
                one_row(line, &mut take)?;
            }
        }
        one_row(&rest, &mut take)
    }
}

/// An empty line is no row.
fn one_row(line: &[u8], take: &mut impl FnMut(&Value) -> Result<(), Error>) -> Result<(), Error> {
    if line.is_empty() {
        return Ok(());
    }
    let row: Option<Value> = serde_json::from_slice(line).ok();
    let row = row.filter(Value::is_object);
    take(&row.ok_or_else(|| Error::Row { line: String::from_utf8_lossy(line).into_owned() })?)
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
