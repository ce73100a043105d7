//! `icecore tail`: rows as they arrive, as many as a person or a pipe can take.
//!
//! Invariant: what is not shown is said, on standard error.

use std::io::Write as _;

use clap::ArgMatches;
use serde_json::Value;

use super::client::{get, said, url};
use super::terminal::{self, one_line, shortened, width};
use super::{note, units};
use crate::error::{Failure, Outcome};

/// Rows that are shown on a terminal in a second, where nothing else is asked for.
const ROWS_SHOWN: u64 = 50;
/// The longest event that is waited for.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// Shows rows until Ctrl-C, or until nobody reads them.
pub(super) async fn run(matches: &ArgMatches) -> Outcome {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let terminal = terminal::columns();
    let columns = line_columns(text("output"), terminal);
    let table = text("table").unwrap_or("spans");
    let mut asked = url::form_urlencoded::Serializer::new(String::new());
    asked.append_pair("table", table);
    if let Some(condition) = condition(matches, table)? {
        asked.append_pair("where", &condition);
    }
    let rate =
        matches.get_one::<u64>("rate").copied().or(terminal.and(columns).map(|_| ROWS_SHOWN));
    if let Some(rate) = rate {
        asked.append_pair("rows_per_second", &rate.to_string());
    }
    let path = format!("/api/v1/tail?{}", asked.finish());
    let shown = show(url(matches), &path, table, columns);
    tokio::select! {
        shown = shown => shown,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// The columns that a row's line may take; `None` where rows stay JSON. In a pipe nothing is cut off.
fn line_columns(output: Option<&str>, terminal: Option<usize>) -> Option<usize> {
    match output {
        Some("ndjson") => None,
        Some("table") => Some(terminal.unwrap_or(usize::MAX)),
        _ => terminal,
    }
}

/// The flags that choose rows, as one SQL condition.
fn condition(matches: &ArgMatches, table: &str) -> Result<Option<String>, Failure> {
    let text = |name: &str| matches.get_one::<String>(name);
    let is = |column: &str, text: &String| format!("{column} = '{}'", text.replace('\'', "''"));
    let name = match table {
        "metrics" => "metric_name",
        "logs" => "event_name",
        "profiles" => "sample_type",
        _ => "name",
    };
    let errors = match table {
        _ if !matches.get_flag("errors") => None,
        "spans" => Some("status_code = 'ERROR'".to_owned()),
        // As the specification of logs has it: 17 to 20 are errors, 21 to 24 are fatal.
        "logs" => Some("severity_number >= 17".to_owned()),
        _ => {
            return Err(Failure::usage(format!("`--errors`: no row of {table} tells of an error")));
        }
    };
    let parts = [
        text("service").map(|service| is("service_name", service)),
        text("name").map(|text| is(name, text)),
        errors,
        text("where").map(|condition| format!("({condition})")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    Ok((!parts.is_empty()).then(|| parts.join(" AND ")))
}

async fn show(url: &str, path: &str, table: &str, columns: Option<usize>) -> Outcome {
    let mut response = get(url, path).await?;
    let (mut events, mut told) = (Events::default(), None);
    let broken = |error| Failure::from_error("the rows broke off", &error);
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        events.pending.extend_from_slice(&chunk);
        let mut out = String::new();
        while let Some(event) = events.next() {
            match event {
                Event::Row(row) => out.push_str(&shown(&row, table, columns)),
                Event::Sample(sample) => {
                    // Once a second, of which only what changes is news.
                    let text = left_out(&sample).filter(|text| told.as_ref() != Some(text));
                    if let Some(text) = text {
                        note(&text);
                        told = Some(text);
                    }
                }
                Event::Error(error) => {
                    let text = said(&error).unwrap_or_default();
                    return Err(Failure::failed(format!("the rows broke off: {text}")));
                }
            }
        }
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            written => {
                written.map_err(|error| Failure::failed(format!("cannot write rows: {error}")))?;
            }
        }
        if events.pending.len() > EVENT_BYTES_MAX {
            return Err(Failure::failed("what the server sends are no rows"));
        }
    }
    Err(Failure::failed(format!("{url} has ended the rows: it stops")))
}

/// One of the server-sent events.
#[derive(Debug, PartialEq)]
enum Event {
    /// As the server wrote it.
    Row(String),
    Sample(Value),
    Error(Value),
}

/// Events out of pieces of them.
#[derive(Debug, Default)]
struct Events {
    pending: Vec<u8>,
}

impl Events {
    fn next(&mut self) -> Option<Event> {
        loop {
            let end = self.pending.windows(2).position(|pair| pair == b"\n\n")?;
            let text: Vec<u8> = self.pending.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&text);
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            let Some(data) = field("data: ") else { continue };
            let value = || serde_json::from_str(data).unwrap_or_default();
            return Some(match field("event: ") {
                None => Event::Row(data.to_owned()),
                Some("sample") => Event::Sample(value()),
                Some(_) => Event::Error(value()),
            });
        }
    }
}

/// What of the rows that arrived is not shown, if anything is.
fn left_out(sample: &Value) -> Option<String> {
    let figure = |name: &str| sample[name].as_u64().unwrap_or_default();
    let [arrived, looked_at, accepted, shown] =
        ["arrived", "looked_at", "accepted", "shown"].map(figure);
    let mut said = Vec::new();
    if looked_at < arrived {
        let (arrived, looked_at) = (units::count(arrived), units::count(looked_at));
        said.push(format!("of {arrived} rows that arrived {looked_at} were looked at"));
    }
    if shown < accepted {
        let (shown, accepted) = (units::count(shown), units::count(accepted));
        said.push(format!("{shown} of {accepted} are shown"));
    }
    if sample["flushed_unseen"] == true {
        said.push("some were stored before they could be looked at".to_owned());
    }
    let sampled = (!said.is_empty()).then(|| format!("sampled: {}", said.join("; ")));
    let away = match sample["unanswered"].as_u64().unwrap_or_default() {
        0 => None,
        1 => Some("an ingester does not answer: its rows are missing".to_owned()),
        away => Some(format!("{away} ingesters do not answer: their rows are missing")),
    };
    let said: Vec<String> = sampled.into_iter().chain(away).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// A row as a line of a terminal of so many columns, or as it came.
fn shown(row: &str, table: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else { return format!("{row}\n") };
    let row: Value = serde_json::from_str(row).unwrap_or_default();
    let text = |name: &str| match &row[name] {
        Value::Null => String::new(),
        Value::String(text) => one_line(text),
        other => one_line(&other.to_string()),
    };
    let time = |name: &str| text(name).chars().skip(11).take(12).collect::<String>();
    let (at, what, figure) = match table {
        "spans" => {
            let failed = if row["status_code"] == "ERROR" { " !" } else { "" };
            let took = units::duration(row["duration_ns"].as_f64().unwrap_or_default());
            (time("start_time"), format!("{}{failed}", text("name")), took)
        }
        "metrics" => {
            let unit = units::Unit::of_column("value");
            (time("time"), text("metric_name"), unit.show(&row["value"]).replace("null", ""))
        }
        "logs" => (time("time"), text("body"), text("severity_text")),
        _ => (time("time"), text("sample_type"), text("value")),
    };
    let service = shortened(&text("service_name"), 20);
    let line =
        format!("{at}  {}  {figure:>9}  {what}  {}", padded(&service, 12), text("attributes"));
    format!("{}\n", shortened(line.trim_end(), columns))
}

fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Scenario: events cut at every byte, a comment among them.
    /// Guarantees: the same rows and accounts.
    #[test]
    fn events_are_read_wherever_they_are_cut() {
        let sent = "data: {\"n\":1}\n\n: nothing\n\nevent: sample\ndata: {\"arrived\":2}\n\n\
                    event: error\ndata: {\"message\":\"no\"}\n\n";
        for cut in 0..sent.len() {
            let mut events = Events::default();
            let mut got = Vec::new();
            for piece in [&sent.as_bytes()[..cut], &sent.as_bytes()[cut..]] {
                events.pending.extend_from_slice(piece);
                got.extend(std::iter::from_fn(|| events.next()));
            }
            let expected = [
                Event::Row("{\"n\":1}".to_owned()),
                Event::Sample(json!({"arrived": 2})),
                Event::Error(json!({"message": "no"})),
            ];
            assert_eq!(got, expected, "{cut}");
        }
    }

    /// Scenario: each form, and none, is asked for at a terminal and in a pipe.
    /// Guarantees: the form that is asked for wherever rows go; else lines at a terminal, as wide as
    /// it is, and JSON in a pipe; a line in a pipe is whole.
    #[test]
    fn rows_have_the_form_that_is_asked_for() {
        for (terminal, table, unasked) in
            [(Some(80), Some(80), Some(80)), (None, Some(usize::MAX), None)]
        {
            assert_eq!(line_columns(Some("table"), terminal), table);
            assert_eq!(line_columns(None, terminal), unasked);
            assert_eq!(line_columns(Some("ndjson"), terminal), None);
        }
        let row =
            json!({"service_name": "shop", "name": "GET /", "attributes": {"k": "v".repeat(500)}});
        let line = shown(&row.to_string(), "spans", Some(usize::MAX));
        assert!(line.contains("GET /") && line.contains(&"v".repeat(500)), "{line}");
        assert!(!line.starts_with('{') && line.matches('\n').count() == 1, "{line}");
    }

    /// Scenario: rows of each table on a terminal, and accounts with and without anything left out.
    /// Guarantees: one line that fits; what is left out is said, and nothing else.
    #[test]
    fn rows_fit_and_what_is_left_out_is_said() {
        let row = json!({"start_time": "2026-11-26T03:04:05.123456789Z", "service_name": "shop",
            "name": "GET /\u{1b}[0m", "duration_ns": 1_500_000, "status_code": "ERROR",
            "attributes": {"k": "v".repeat(100)}});
        let line = shown(&row.to_string(), "spans", Some(80));
        assert!(
            line.starts_with("03:04:05.123  shop             1.5 ms  GET /\\u{1b}[0m !  {"),
            "{line}"
        );
        assert_eq!((width(line.trim_end()), line.ends_with("…\n")), (80, true), "{line}");
        assert_eq!(shown("{\"a\":1}", "spans", None), "{\"a\":1}\n");
        let whole = json!({"arrived": 5, "looked_at": 5, "accepted": 3, "shown": 3});
        assert_eq!(left_out(&whole), None);
        let sampled = json!({"arrived": 50_000, "looked_at": 5_000, "accepted": 400, "shown": 50});
        let expected =
            "sampled: of 50,000 rows that arrived 5,000 were looked at; 50 of 400 are shown";
        assert_eq!(left_out(&sampled).as_deref(), Some(expected));
        let away =
            json!({"arrived": 5, "looked_at": 5, "accepted": 5, "shown": 5, "unanswered": 2});
        let expected = "2 ingesters do not answer: their rows are missing";
        assert_eq!(left_out(&away).as_deref(), Some(expected));
    }
}
