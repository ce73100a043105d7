//! `icecore trace`: one trace as a waterfall in the terminal, its critical path marked.

use clap::ArgMatches;
use serde_json::{Value, json};

use super::client::url;
use super::terminal::{one_line, shortened, width};
use super::{print, sql, terminal, units};
use crate::error::{Failure, Outcome};

/// What the server says of each span, in the order of the tree.
const SPANS: &str =
    "SELECT depth, service_name, name, status_code, offset_ns, duration_ns, critical_ns FROM ";
/// When a trace was.
const TIME: &str = "SELECT min(start_time), max(end_time) FROM spans_of_trace('{id}')";
/// What other nodes did is at the same time, but for their clocks.
const CLOCKS_DIFFER: &str = "INTERVAL '1 minute'";
/// Columns of a line where standard output is no terminal.
const COLUMNS_PIPED: usize = 120;
/// Columns of the figures behind a bar.
const FIGURES: usize = 22;

/// Fetches the trace and draws it.
pub(super) async fn run(matches: &ArgMatches) -> Outcome {
    let id = matches.get_one::<String>("id").map(String::as_str).unwrap_or_default();
    let whole = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !whole {
        return Err(Failure::usage(format!("`{id}` is not a trace id: 32 hex digits are")));
    }
    let id = id.to_ascii_lowercase();
    let from = match matches.get_flag("linked") {
        true => linked(url(matches), &id).await?,
        false => Some(format!("trace('{id}')")),
    };
    let rows = match from {
        Some(from) => rows(url(matches), &format!("{SPANS}{from}")).await?,
        None => Vec::new(),
    };
    let spans: Vec<Span> = rows.iter().map(Span::of).collect();
    if spans.is_empty() {
        return Err(Failure::nothing_found(format!("there is no trace `{id}`")));
    }
    print(&waterfall(&spans, terminal::columns().unwrap_or(COLUMNS_PIPED)))
}

/// Where the spans are that the links of a trace lead to; nowhere where there is no such trace.
async fn linked(url: &str, id: &str) -> Result<Option<String>, Failure> {
    let rows = rows(url, &TIME.replace("{id}", id)).await?;
    let time = |at: usize| rows.first().and_then(|row| row[at].as_str());
    let whole = |(from, to): (&str, &str)| {
        format!(
            "whole_trace('{id}', TIMESTAMP '{from}' - {CLOCKS_DIFFER}, TIMESTAMP '{to}' + {CLOCKS_DIFFER})"
        )
    };
    Ok(time(0).zip(time(1)).map(whole))
}

async fn rows(url: &str, query: &str) -> Result<Vec<Value>, Failure> {
    let answer = sql::json_answer(url, "/api/v1/sql", &json!({ "query": query })).await?;
    match super::client::said(&answer["error"]) {
        Some(error) => Err(Failure::failed(format!("the answer broke off: {error}"))),
        None => Ok(answer["rows"].as_array().cloned().unwrap_or_default()),
    }
}

/// What a waterfall needs to know of a span.
#[derive(Debug)]
struct Span {
    label: String,
    offset_ns: u64,
    duration_ns: u64,
    /// For how long the whole trace waited for this span and none below it.
    critical_ns: u64,
}

impl Span {
    fn of(row: &Value) -> Self {
        let text = |at: usize| one_line(row[at].as_str().unwrap_or_default());
        let figure = |at: usize| row[at].as_u64().unwrap_or_default();
        let depth = usize::try_from(figure(0)).unwrap_or(usize::MAX).min(40);
        let failed = if text(3) == "ERROR" { " !" } else { "" };
        Self {
            label: format!("{}{}: {}{failed}", "  ".repeat(depth), text(1), text(2)),
            offset_ns: figure(4),
            duration_ns: figure(5),
            critical_ns: figure(6),
        }
    }
}

/// One line a span, children below their parents, no line wider than `columns`.
fn waterfall(spans: &[Span], columns: usize) -> String {
    let end =
        spans.iter().map(|span| span.offset_ns + span.duration_ns).max().unwrap_or_default().max(1);
    let critical: u64 = spans.iter().map(|span| span.critical_ns).sum();
    let longest = spans.iter().map(|span| width(&span.label)).max().unwrap_or_default();
    let room = columns.saturating_sub(FIGURES + 2);
    let label_columns = longest.min(room * 3 / 5).max(8);
    let bar_columns = room.saturating_sub(label_columns + 2).clamp(8, 80);
    let mut out = format!(
        "{} spans in {}; the trace waited for those in █\n",
        spans.len(),
        units::duration(end as f64)
    );
    for span in spans {
        let label = shortened(&span.label, label_columns);
        let gap = " ".repeat(label_columns - width(&label));
        let bar = bar(span, end, bar_columns);
        let took = units::duration(span.duration_ns as f64);
        let share = share(span.critical_ns, critical);
        out.push_str(format!("{label}{gap}  {bar}  {took:>9} {share:>7}").trim_end());
        out.push('\n');
    }
    out
}

/// How much of the time that was waited for was for this span; nothing where none was.
fn share(of: u64, all: u64) -> String {
    let share = 100.0 * of as f64 / all.max(1) as f64;
    match of {
        0 => String::new(),
        _ if share < 0.5 => "<1 %".to_owned(),
        _ => format!("{share:.0} %"),
    }
}

/// Where a span stands in the time of the trace.
fn bar(span: &Span, end: u64, columns: usize) -> String {
    let column = |time: u64| {
        let part = u128::from(time) * columns as u128 / u128::from(end);
        usize::try_from(part).unwrap_or(columns)
    };
    let from = column(span.offset_ns).min(columns - 1);
    let to = column(span.offset_ns + span.duration_ns).clamp(from + 1, columns);
    let mark = if span.critical_ns > 0 { "█" } else { "▒" };
    format!("{}{}{}", "·".repeat(from), mark.repeat(to - from), "·".repeat(columns - to))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a trace of a root that waits for one of two children, on terminals of any width.
    /// Guarantees: no line is wider; children stand below and right of the root; what the trace
    /// waited for is marked, with its share; the failed one too.
    #[test]
    fn the_critical_path_is_marked() {
        let rows = [
            json!([0, "shop", "GET /cart", "UNSET", 0, 1000, 250]),
            json!([1, "pay", "POST /pay", "ERROR", 200, 750, 750]),
            json!([1, "mail", "send", "UNSET", 100, 50, 0]),
        ];
        let spans: Vec<Span> = rows.iter().map(Span::of).collect();
        for columns in 50..200 {
            let text = waterfall(&spans, columns);
            assert!(text.lines().all(|line| width(line) <= columns), "{columns}\n{text}");
        }
        let text = waterfall(&spans, 80);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("3 spans in 1 µs"), "{text}");
        assert!(lines[1].starts_with("shop: GET /cart") && lines[1].ends_with("25 %"), "{text}");
        assert!(lines[2].starts_with("  pay: POST /pay !") && lines[2].ends_with("75 %"), "{text}");
        assert!(lines[2].contains('█') && lines[3].contains('▒'), "{text}");
        assert!(!lines[3].contains('%'), "{text}");
    }
}
