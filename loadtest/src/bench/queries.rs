//! Asks a server that is idle, and takes its CPU time by question.
//!
//! Invariant: an answer counts as right only where it has as many rows as the load says.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::load::Load;
use super::server::Server;
use super::usage;
use crate::error::Error;

/// CPU time is good to 10 ms, so each question is asked until that is little.
const SEARCHES: usize = 50;
const PERCENTILES: usize = 30;

/// Rows of a search: a page of them.
const ROWS_MAX: u64 = 100;

/// One kind of question, asked many times, one after the other.
#[derive(Debug, Clone, Default, Serialize)]
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
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Queried {
    /// Spans that SQL counts.
    pub(super) counted: u64,
    pub(super) trace: Asked,
    pub(super) search: Asked,
    pub(super) percentile: Asked,
}

/// A question, and how many rows answer it.
enum Question {
    Trace(String, u64),
    Sql(String, u64),
}

pub(super) async fn measure(server: &Server, load: &Load) -> Result<Queried, Error> {
    let api = Api::new(server)?;
    let search = &load.search;
    let run = format!(
        "SELECT trace_id, span_id, name, start_time, duration_ns FROM spans \
         WHERE service_name = '{}' AND duration_ns > {} ORDER BY start_time DESC LIMIT {ROWS_MAX}",
        search.service, search.longer_than_nanos
    );
    let search = Question::Sql(run, search.matches.min(ROWS_MAX));
    let percentile = "SELECT service_name, name, approx_percentile_cont(duration_ns, 0.99) \
                      FROM spans GROUP BY service_name, name";
    let percentile = Question::Sql(percentile.to_owned(), load.operations);
    let traces: Vec<Question> =
        load.asked.iter().map(|(id, spans)| Question::Trace(id.clone(), *spans)).collect();
    let counted = api.sql("SELECT count(*) FROM spans").await?;
    Ok(Queried {
        counted: counted["rows"][0][0].as_u64().unwrap_or(0),
        trace: api.ask(&traces.iter().collect::<Vec<_>>()).await?,
        search: api.ask(&vec![&search; SEARCHES]).await?,
        percentile: api.ask(&vec![&percentile; PERCENTILES]).await?,
    })
}

struct Api {
    client: reqwest::Client,
    base: String,
    pid: u32,
}

impl Api {
    fn new(server: &Server) -> Result<Self, Error> {
        let client = reqwest::Client::builder().no_proxy().build().map_err(Error::Client)?;
        Ok(Self { client, base: format!("{}api/v1", server.api), pid: server.pid })
    }

    /// Asks one after the other; the first also once before, so that what a first question of its
    /// kind has to load is there.
    async fn ask(&self, questions: &[&Question]) -> Result<Asked, Error> {
        if let Some(first) = questions.first() {
            self.rows(first).await?;
        }
        let before = usage::cpu_seconds(self.pid)?;
        let (mut took, mut right) = (Vec::new(), 0);
        for question in questions {
            let (rows, within) = self.rows(question).await?;
            let (Question::Trace(_, wanted) | Question::Sql(_, wanted)) = question;
            right += u64::from(rows == *wanted);
            took.push(within);
        }
        let cpu = usage::cpu_seconds(self.pid)? - before;
        took.sort_unstable();
        let within = |share: usize| {
            let at = (took.len() * share / 100).min(took.len().saturating_sub(1));
            took.get(at).map_or(0.0, |it: &Duration| it.as_secs_f64() * 1e3)
        };
        Ok(Asked {
            times: questions.len() as u64,
            right,
            p50_ms: within(50),
            p99_ms: within(99),
            cpu_ms: cpu * 1e3 / questions.len().max(1) as f64,
        })
    }

    /// Rows of an answer, and how long it took until the last byte of it.
    async fn rows(&self, question: &Question) -> Result<(u64, Duration), Error> {
        let began = Instant::now();
        let answer = match question {
            Question::Trace(id, _) => self.client.get(format!("{}/traces/{id}", self.base)),
            Question::Sql(query, _) => self.sql_request(query),
        };
        let body = self.answer(answer).await?;
        let took = began.elapsed();
        let body = understood(&body)?;
        Ok((if body["rows"].is_array() { len(&body["rows"]) } else { spans(&body) }, took))
    }

    async fn sql(&self, query: &str) -> Result<Value, Error> {
        understood(&self.answer(self.sql_request(query)).await?)
    }

    fn sql_request(&self, query: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}/sql", self.base)).json(&json!({"query": query}))
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
fn spans(trace: &Value) -> u64 {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let resources = list(&trace["resourceSpans"]);
    let scopes = resources.iter().flat_map(|it| list(&it["scopeSpans"]));
    scopes.map(|scope| len(&scope["spans"])).sum()
}

fn len(list: &Value) -> u64 {
    list.as_array().map_or(0, |list| list.len() as u64)
}
