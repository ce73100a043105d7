//! Waiting for a query: how far it is, and its end by Ctrl-C.
//!
//! Invariant: a query that the person at the terminal ended is ended on the server too, or it is
//! said that this is not known.

use std::cell::Cell;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::client::{ask, get_json};
use super::units;
use crate::error::Failure;

/// How long a query runs before it is said how far it is.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// How often that is said.
const TOLD_EVERY: Duration = Duration::from_millis(250);
/// How long the server may take to say how far a query is, or that it ended it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// A query that is waited for.
#[derive(Debug)]
pub(super) struct Watch {
    url: String,
    /// Under which the server lists it.
    pub(super) id: String,
    tells: bool,
    /// Whether a line stands there.
    told: Cell<bool>,
}

impl Watch {
    /// Of a query that is about to be asked; its progress is shown where `tells`.
    pub(super) fn new(url: &str, tells: bool) -> Self {
        // The keys of a hasher are random, which is all that is wanted of an id.
        let number = RandomState::new().build_hasher().finish();
        Self {
            url: url.to_owned(),
            id: format!("cli-{number:016x}"),
            tells,
            told: Cell::new(false),
        }
    }

    /// Waits for `work`, which asks the query.
    pub(super) async fn over<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut interrupted =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
                .map_err(|error| Failure::from_error("cannot wait for Ctrl-C", &error))?;
        let told = async {
            if self.tells {
                self.tell().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::pin!(work);
        let done = tokio::select! {
            biased;
            _ = interrupted.recv() => None,
            done = &mut work => Some(done),
            () = told => None,
        };
        if self.told.get() {
            show("");
        }
        // The connection stays open until the server has said that it ended the query.
        match done {
            Some(done) => done,
            None => Err(self.end().await),
        }
    }

    /// Says how far the query is, for ever.
    async fn tell(&self) {
        tokio::time::sleep(SILENT_FOR).await;
        let path = format!("/api/v1/queries/{}", self.id);
        loop {
            if let Ok(Ok(answer)) =
                tokio::time::timeout(ANSWERED_WITHIN, get_json(&self.url, &path)).await
            {
                show(&line(&answer["query"]));
                self.told.set(true);
            }
            tokio::time::sleep(TOLD_EVERY).await;
        }
    }

    /// Ends the query on the server; says what came of it.
    async fn end(&self) -> Failure {
        let path = format!("/api/v1/queries/{}", self.id);
        let end = ask(reqwest::Method::DELETE, &self.url, &path, None);
        let answer = match tokio::time::timeout(ANSWERED_WITHIN, end).await {
            Ok(Ok(response)) => response.json::<Value>().await.unwrap_or_default(),
            Ok(Err(failure)) if failure.is_nothing_found() => {
                return Failure::failed("cancelled: the server had ended the query already");
            }
            Ok(Err(failure)) => return Failure::failed(format!("cancelled here alone: {failure}")),
            Err(_late) => {
                return Failure::failed(
                    "cancelled here; the server did not say whether it ended the query",
                );
            }
        };
        Failure::failed(format!("cancelled on the server after {}", line(&answer["cancelled"])))
    }
}

/// How far a query is, in one line.
fn line(query: &Value) -> String {
    let figure = |value: &Value| value.as_u64().unwrap_or_default();
    let elapsed = Duration::from_millis(figure(&query["elapsed_ms"]));
    let time = format!("{:.1} s", elapsed.as_secs_f64());
    if query["state"] == "waiting" {
        return format!("{time}: waits for its turn");
    }
    let stats = &query["stats"];
    let fetched = units::bytes(query["stats"]["fetched_bytes"].as_f64().unwrap_or_default());
    let looked_at = figure(&stats["file_rows"]) + figure(&stats["live_rows"]);
    let files = figure(&stats["files_considered"]).saturating_sub(figure(&stats["files_pruned"]));
    format!(
        "{time}: {fetched} fetched, {} of {files} files, {} rows read, {} answered",
        figure(&stats["files_read"]),
        units::count(looked_at),
        units::count(figure(&query["rows"])),
    )
}

/// Puts a text in place of the last one on standard error.
fn show(text: &str) {
    let mut out = std::io::stderr().lock();
    // There is nobody left to tell where standard error is closed.
    drop(write!(out, "\r\u{1b}[2K{text}").and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Scenario: a query that waits, and one that reads.
    /// Guarantees: time, bytes, files and rows are said; no two queries share an id.
    #[test]
    fn progress_is_one_line() {
        assert_eq!(
            line(&json!({"elapsed_ms": 1500, "state": "waiting"})),
            "1.5 s: waits for its turn"
        );
        let query = json!({
            "elapsed_ms": 2300, "state": "running", "rows": 0,
            "stats": {"fetched_bytes": 5_300_000, "files_considered": 9, "files_pruned": 2,
                      "files_read": 3, "file_rows": 1_200_000, "live_rows": 34}
        });
        let expected = "2.3 s: 5.3 MB fetched, 3 of 7 files, 1,200,034 rows read, 0 answered";
        assert_eq!(line(&query), expected);
        assert_ne!(Watch::new("", false).id, Watch::new("", false).id);
    }
}
