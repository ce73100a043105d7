//! `icecore sql`: one query and its answer in the form asked for; without a query, at a terminal,
//! as many as are typed.

use std::io::{IsTerminal as _, Read as _};

use clap::ArgMatches;
use serde_json::{Value, json};

use super::client::{checked, http, json_of, said, url};
use super::table::Table;
use super::watch::Watch;
use super::{note, plan, print, print_bytes, shell, terminal, units};
use crate::error::{Failure, Outcome};

/// Sends the query and prints the answer.
pub(super) async fn run(matches: &ArgMatches) -> Outcome {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let query = match matches.get_one::<String>("query").map(String::as_str) {
        None if std::io::stdin().is_terminal() => return shell::run(url(matches)).await,
        None | Some("-") => from_stdin()?,
        Some(query) => query.to_owned(),
    };
    let params: Vec<Value> =
        matches.get_many::<String>("param").into_iter().flatten().map(|text| param(text)).collect();
    let body = json!({ "query": query, "params": params });
    answer(url(matches), "/api/v1/sql", &body, text("output")).await
}

/// Asks for rows and prints them in the form asked for.
pub(super) async fn answer(url: &str, path: &str, body: &Value, output: &str) -> Outcome {
    if output == "table" {
        let answer = json_answer(url, path, body).await?;
        return print_table(&answer, false);
    }
    let watch = Watch::new(url, terminal::shows_progress(true));
    let streamed = async {
        let mut response = post(&watch, url, path, body, accept(output)).await?;
        let broken = |error| Failure::from_error("the answer broke off", &error);
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            print_bytes(&chunk)?;
        }
        if output == "json" { print("\n") } else { Ok(()) }
    };
    watch.over(streamed).await
}

/// Asks for rows as JSON.
pub(super) async fn json_answer(url: &str, path: &str, body: &Value) -> Result<Value, Failure> {
    let watch = Watch::new(url, terminal::shows_progress(false));
    let asked = async { json_of(post(&watch, url, path, body, "application/json").await?).await };
    watch.over(asked).await
}

async fn post(
    watch: &Watch,
    url: &str,
    path: &str,
    body: &Value,
    accept: &str,
) -> Result<reqwest::Response, Failure> {
    let address = format!("{}{path}", url.trim_end_matches('/'));
    let request = http()?.post(&address).header("accept", accept);
    let request = request.header("icecore-query-id", &watch.id).json(body);
    checked(request.send().await, url).await
}

/// Prints an answer as a table; one that broke off is a failure that comes behind its rows.
pub(super) fn print_table(answer: &Value, expanded: bool) -> Outcome {
    let columns = terminal::columns();
    let shown = plan::of_answer(answer, columns).unwrap_or_else(|| {
        let mut table = Table::of_answer(answer, columns);
        table.expanded = expanded;
        table.render()
    });
    print(&format!("{shown}{}\n", summary(answer, columns.is_some())))?;
    for said in answer["stats"]["notes"].as_array().into_iter().flatten().filter_map(Value::as_str)
    {
        note(said);
    }
    match said(&answer["error"]) {
        Some(error) => Err(Failure::failed(format!("the answer broke off: {error}"))),
        None => Ok(()),
    }
}

/// How many rows there are, what they cost, and what is missing.
fn summary(answer: &Value, costs: bool) -> String {
    let rows = answer["rows"].as_array().map_or(0, Vec::len);
    let mut said = format!("{} {}", rows, if rows == 1 { "row" } else { "rows" });
    let stats = &answer["stats"];
    if costs && let Some(elapsed) = stats["elapsed_ms"].as_f64() {
        let fetched = units::bytes(stats["fetched_bytes"].as_f64().unwrap_or_default());
        said.push_str(&format!(" in {}, {fetched} fetched", units::duration(elapsed * 1e6)));
        if let Some(cached) = stats["cached_bytes"].as_f64().filter(|bytes| *bytes > 0.0) {
            said.push_str(&format!(", {} from the page cache", units::bytes(cached)));
        }
    }
    let incomplete = stats["incomplete"].as_array().filter(|list| !list.is_empty());
    if let Some(list) = incomplete {
        said.push_str(&format!("; incomplete: {}", Value::Array(list.clone())));
    }
    said
}

fn accept(output: &str) -> &'static str {
    match output {
        "ndjson" => "application/x-ndjson",
        "csv" => "text/csv",
        "parquet" => "application/vnd.apache.parquet",
        "arrow" => "application/vnd.apache.arrow.stream",
        _ => "application/json",
    }
}

/// A parameter is JSON where it reads as such, a text otherwise.
fn param(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_not_json| Value::String(text.to_owned()))
}

fn from_stdin() -> Result<String, Failure> {
    let mut query = String::new();
    let read = std::io::stdin().read_to_string(&mut query);
    read.map_err(|error| Failure::from_error("cannot read SQL from standard input", &error))?;
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: an answer that is incomplete, in a pipe and on a terminal.
    /// Guarantees: rows are counted, what is missing is said, and on a terminal what it cost.
    #[test]
    fn answers_are_summed_up() {
        let answer = json!({
            "rows": [[null, "text"], [1, {"k": true}]],
            "stats": {"incomplete": ["ingest-1"], "elapsed_ms": 12.5, "fetched_bytes": 1_500}
        });
        assert_eq!(summary(&answer, false), "2 rows; incomplete: [\"ingest-1\"]");
        let expected = "2 rows in 12.5 ms, 1.5 kB fetched; incomplete: [\"ingest-1\"]";
        assert_eq!(summary(&answer, true), expected);
        let kept = json!({"rows": [], "stats": {"elapsed_ms": 1, "cached_bytes": 2_000}});
        let expected = "0 rows in 1 ms, 0 B fetched, 2 kB from the page cache";
        assert_eq!(summary(&kept, true), expected);
        assert_eq!(param("5"), json!(5));
        assert_eq!(param("a b"), json!("a b"));
    }
}
