//! `icecore sql`: one query, one answer, in the form asked for.

use std::io::Read as _;
use std::time::Duration;

use clap::ArgMatches;
use comfy_table::{ContentArrangement, Table, TableComponent, presets};
use serde_json::{Value, json};

use super::{print, print_bytes};
use crate::error::{Failure, Outcome};

/// Sends the query and prints the answer.
pub(super) async fn run(matches: &ArgMatches) -> Outcome {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let query = match text("query") {
        "-" => from_stdin()?,
        query => query.to_owned(),
    };
    let params: Vec<Value> =
        matches.get_many::<String>("param").into_iter().flatten().map(|text| param(text)).collect();
    let body = json!({ "query": query, "params": params });
    answer(text("url"), "/api/v1/sql", &body, text("output")).await
}

/// Asks for rows and prints them in the form asked for.
pub(super) async fn answer(url: &str, path: &str, body: &Value, output: &str) -> Outcome {
    let mut response = post(url, path, body, accept(output)).await?;
    if output == "table" {
        let answer: Value = response
            .json()
            .await
            .map_err(|error| Failure::from_error("the answer is not JSON", &error))?;
        return print(&format!("{}\n", render(&answer)));
    }
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Failure::from_error("the answer broke off", &error))?
    {
        print_bytes(&chunk)?;
    }
    if output == "json" { print("\n") } else { Ok(()) }
}

/// Sends a request to the query API; an error answer becomes a failure with its hint.
pub(super) async fn get(url: &str, path: &str) -> Result<reqwest::Response, Failure> {
    let address = format!("{}{path}", url.trim_end_matches('/'));
    checked(http()?.get(&address).send().await, url).await
}

/// Sends a request that may have a body in JSON.
pub(super) async fn ask(
    method: reqwest::Method,
    url: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<reqwest::Response, Failure> {
    let address = format!("{}{path}", url.trim_end_matches('/'));
    let request = http()?.request(method, &address);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    checked(request.send().await, url).await
}

async fn post(
    url: &str,
    path: &str,
    body: &Value,
    accept: &str,
) -> Result<reqwest::Response, Failure> {
    let address = format!("{}{path}", url.trim_end_matches('/'));
    let request = http()?.post(&address).header("accept", accept).json(body);
    checked(request.send().await, url).await
}

fn http() -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .build()
        .map_err(|error| Failure::from_error("cannot make an HTTP client", &error))
}

async fn checked(
    sent: Result<reqwest::Response, reqwest::Error>,
    url: &str,
) -> Result<reqwest::Response, Failure> {
    let response = sent.map_err(|error| {
        let why = crate::error::chain(&error);
        Failure::failed(format!(
            "no answer from {url}: {why}; is `icecore run` up, and is --url right?"
        ))
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let error: Value = response.json().await.unwrap_or_default();
    let part = |name: &str| error["error"][name].as_str().unwrap_or_default().to_owned();
    let (message, hint) = (part("message"), part("hint"));
    let message = if message.is_empty() { format!("{url} answered {status}") } else { message };
    let text = if hint.is_empty() { message } else { format!("{message}; {hint}") };
    Err(if status == reqwest::StatusCode::NOT_FOUND {
        Failure::nothing_found(text)
    } else {
        Failure::failed(text)
    })
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

/// The answer as a table, fitted to the terminal, with a line that says how many rows.
fn render(answer: &Value) -> String {
    let columns = answer["columns"].as_array().map_or(&[][..], Vec::as_slice);
    let rows = answer["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.remove_style(TableComponent::HorizontalLines);
    table.remove_style(TableComponent::MiddleIntersections);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|column| cell(&column["name"])));
    for row in rows {
        table.add_row(row.as_array().map_or(&[][..], Vec::as_slice).iter().map(cell));
    }
    let count = match rows.len() {
        1 => "1 row".to_owned(),
        count => format!("{count} rows"),
    };
    let incomplete = answer["stats"]["incomplete"].as_array().filter(|list| !list.is_empty());
    let warning = incomplete.map(|list| format!("; incomplete: {}", Value::Array(list.clone())));
    format!("{table}\n{count}{}", warning.unwrap_or_default())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

/// A text that cannot steer the terminal: whoever is observed chose it.
pub(super) fn printable(text: &str) -> String {
    let control = |c: char| c.is_control() && c != '\n';
    if !text.contains(control) {
        return text.to_owned();
    }
    let escape = |c: char| if control(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: an answer with every JSON type, and one that is incomplete.
    /// Guarantees: nulls are empty, texts bare, all else as JSON; what is missing is said.
    #[test]
    fn answers_become_tables() {
        let answer = json!({
            "columns": [{"name": "a"}, {"name": "b"}],
            "rows": [[null, "text"], [1, {"k": true}]],
            "stats": {"incomplete": ["ingest-1"]}
        });
        let text = render(&answer);
        for part in ["a", "text", "{\"k\":true}", "2 rows; incomplete: [\"ingest-1\"]"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(printable("a\u{1b}[31m\nb"), "a\\u{1b}[31m\nb");
        assert_eq!(param("5"), json!(5));
        assert_eq!(param("a b"), json!("a b"));
    }
}
