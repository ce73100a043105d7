//! Asks a server that is idle, and takes its CPU time by question.
//!
//! Invariant: an answer counts as right only where it has as many rows as the load says.

use std::time::Duration;

use tokio::time::Instant;

use super::api::{Api, spans};
use super::known::Known;
use super::server::Server;
use super::usage;
use crate::error::Error;

/// CPU time is good to 10 ms, so each question is asked until that is little.
const SEARCHES: usize = 50;
const PERCENTILES: usize = 30;

/// Rows of a search: a page of them.
const ROWS_MAX: u64 = 100;

/// One kind of question, asked many times, one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub(super) times: u64,
    /// Answers with as many rows as there should be.
    pub(super) right: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// CPU time of the server a question.
    pub(super) cpu_ms: f64,
}

impl Asked {
    pub(super) const fn whole(&self) -> bool {
        self.right == self.times
    }

    pub(super) fn describe(&self, what: &str) -> String {
        let Self { times, right, p50_ms, p99_ms, cpu_ms } = self;
        format!(
            "{what}: {right} of {times} answers right, p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, CPU \
             {cpu_ms:.1} ms"
        )
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Queried {
    /// Spans that SQL counts.
    pub(super) counted: u64,
    pub(super) trace: Asked,
    pub(super) search: Asked,
    pub(super) percentile: Asked,
}

/// A question, and how many rows answer it.
#[derive(Debug, Clone)]
pub(super) enum Question {
    Trace(String, u64),
    Sql(String, u64),
}

pub(super) async fn measure(server: &Server, known: &Known) -> Result<Queried, Error> {
    let api = Api::new(&server.api)?;
    let search = &known.search;
    let run = format!(
        "SELECT trace_id, span_id, name, start_time, duration_ns FROM spans \
         WHERE service_name = '{}' AND duration_ns > {} ORDER BY start_time DESC LIMIT {ROWS_MAX}",
        search.service, search.longer_than_nanos
    );
    let search = Question::Sql(run, search.matches.min(ROWS_MAX));
    let percentile = "SELECT service_name, name, approx_percentile_cont(duration_ns, 0.99) \
                      FROM spans GROUP BY service_name, name";
    let percentile = Question::Sql(percentile.to_owned(), known.operations);
    let traces: Vec<Question> =
        known.asked.iter().map(|(id, spans)| Question::Trace(id.clone(), *spans)).collect();
    let counted = api.number("SELECT count(*) FROM spans").await?;
    Ok(Queried {
        counted,
        trace: ask(server, &traces.iter().collect::<Vec<_>>()).await?,
        search: ask(server, &[&search; SEARCHES]).await?,
        percentile: ask(server, &[&percentile; PERCENTILES]).await?,
    })
}

/// Asks one after the other; the first also once before, so that what a first question of its kind
/// has to load is there.
pub(super) async fn ask(server: &Server, questions: &[&Question]) -> Result<Asked, Error> {
    let api = Api::new(&server.api)?;
    if let Some(first) = questions.first() {
        rows(&api, first).await?;
    }
    let before = usage::cpu_seconds(server.pid)?;
    let (mut took, mut right) = (Vec::new(), 0);
    for question in questions {
        let (rows, within) = rows(&api, question).await?;
        let (Question::Trace(_, wanted) | Question::Sql(_, wanted)) = question;
        right += u64::from(rows == *wanted);
        took.push(within);
    }
    let cpu = usage::cpu_seconds(server.pid)? - before;
    Ok(Asked {
        times: questions.len() as u64,
        right,
        p50_ms: within(&mut took, 50).as_secs_f64() * 1e3,
        p99_ms: within(&mut took, 99).as_secs_f64() * 1e3,
        cpu_ms: cpu * 1e3 / questions.len().max(1) as f64,
    })
}

/// The time within which `share` hundredths of the answers came.
pub(super) fn within(took: &mut [Duration], share: usize) -> Duration {
    took.sort_unstable();
    let at = (took.len() * share / 100).min(took.len().saturating_sub(1));
    took.get(at).copied().unwrap_or_default()
}

/// Rows of an answer, and how long it took until the last byte of it.
async fn rows(api: &Api, question: &Question) -> Result<(u64, Duration), Error> {
    let began = Instant::now();
    match question {
        Question::Trace(id, _) => {
            let trace = api.trace(id).await?;
            let took = began.elapsed();
            Ok((spans(&trace), took))
        }
        Question::Sql(query, _) => {
            let answer = api.sql(query).await?;
            let took = began.elapsed();
            Ok((answer["rows"].as_array().map_or(0, |rows| rows.len() as u64), took))
        }
    }
}
