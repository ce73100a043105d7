//! `icecore trace`: one trace as a waterfall in the terminal.

use std::collections::{BTreeMap, HashSet};

use clap::ArgMatches;
use serde_json::Value;

use super::{print, sql};
use crate::error::{Failure, Outcome};

/// Columns of the bar beside each span.
const BAR_WIDTH: u64 = 40;

/// Fetches the trace and draws it.
pub(super) async fn run(matches: &ArgMatches) -> Outcome {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let id = text("id");
    let whole = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !whole {
        return Err(Failure::usage(format!("`{id}` is not a trace id: 32 hex digits are")));
    }
    let response = sql::get(text("url"), &format!("/api/v1/traces/{id}")).await?;
    let trace: Value = response
        .json()
        .await
        .map_err(|error| Failure::from_error("the answer is not JSON", &error))?;
    print(&waterfall(&spans(&trace)))
}

/// What a waterfall needs to know of a span.
#[derive(Debug)]
struct Span {
    id: String,
    parent: String,
    service: String,
    name: String,
    start: u64,
    end: u64,
    failed: bool,
}

fn spans(trace: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in items(&trace["resourceSpans"]) {
        let service = items(&resource["resource"]["attributes"])
            .iter()
            .find(|attribute| attribute["key"] == "service.name")
            .and_then(|attribute| attribute["value"]["stringValue"].as_str())
            .unwrap_or("unknown_service");
        for span in items(&resource["scopeSpans"]).iter().flat_map(|scope| items(&scope["spans"])) {
            spans.push(span_of(span, service));
        }
    }
    spans.sort_by(|a, b| (a.start, b.end, &a.id).cmp(&(b.start, a.end, &b.id)));
    spans
}

fn span_of(span: &Value, service: &str) -> Span {
    let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
    let nanos = |name: &str| {
        let value = &span[name];
        value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
    };
    Span {
        id: text("spanId"),
        parent: text("parentSpanId"),
        service: service.to_owned(),
        name: text("name"),
        start: nanos("startTimeUnixNano"),
        end: nanos("endTimeUnixNano"),
        failed: span["status"]["code"] == 2 || span["status"]["code"] == "STATUS_CODE_ERROR",
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// One line a span, children below their parents; spans whose parent is missing stand as roots.
fn waterfall(spans: &[Span]) -> String {
    let known: HashSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let mut children: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        let parent = Some(span.parent.as_str()).filter(|parent| known.contains(parent));
        let under = parent.filter(|parent| *parent != span.id).unwrap_or_default();
        children.entry(under).or_default().push(span);
    }
    let start = spans.iter().map(|span| span.start).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end).max().unwrap_or_default().max(start + 1);
    let mut lines: Vec<(String, &Span)> = Vec::new();
    let mut drawn = HashSet::new();
    let mut stack: Vec<(usize, &Span)> = roots(&children);
    while let Some((depth, span)) = stack.pop() {
        // Two spans with one id would otherwise draw their children twice, or for ever.
        let first = drawn.insert(span.id.as_str());
        let mark = if span.failed { " !" } else { "" };
        let label = format!("{}{}: {}{mark}", "  ".repeat(depth), span.service, span.name);
        lines.push((sql::printable(&label).replace('\n', " "), span));
        if first && let Some(below) = children.get(span.id.as_str()) {
            stack.extend(below.iter().rev().map(|child| (depth + 1, *child)));
        }
    }
    let width = lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0).min(70);
    let mut out = format!("{} spans, {}\n", spans.len(), duration(end - start));
    for (label, span) in lines {
        let label: String = label.chars().take(width).collect();
        let bar = bar(span, start, end);
        let took = duration(span.end.saturating_sub(span.start));
        out.push_str(&format!("{label:<width$}  {bar}  {took}\n"));
    }
    out
}

/// Roots in order of time, the last one first, as a stack wants them.
fn roots<'s>(children: &BTreeMap<&str, Vec<&'s Span>>) -> Vec<(usize, &'s Span)> {
    children.get("").into_iter().flatten().rev().map(|span| (0, *span)).collect()
}

fn bar(span: &Span, start: u64, end: u64) -> String {
    let column = |time: u64| {
        let part = u128::from(time.saturating_sub(start)) * u128::from(BAR_WIDTH);
        usize::try_from(part / u128::from(end - start)).unwrap_or_default()
    };
    let from = column(span.start).min(39);
    let to = column(span.end).clamp(from + 1, 40);
    format!("{}{}{}", "·".repeat(from), "█".repeat(to - from), "·".repeat(40 - to))
}

fn duration(nanos: u64) -> String {
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{}.{} µs", nanos / 1_000, nanos / 100 % 10),
        1_000_000..1_000_000_000 => format!("{}.{} ms", nanos / 1_000_000, nanos / 100_000 % 10),
        _ => format!("{}.{:02} s", nanos / 1_000_000_000, nanos / 10_000_000 % 100),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Scenario: a parent, its child, an orphan, and a span that is its own parent.
    /// Guarantees: every span is drawn once, children below and right of their parents.
    #[test]
    fn every_span_is_drawn_once() {
        let span = |id: &str, parent: &str, start: &str, end: &str| {
            json!({"spanId": id, "parentSpanId": parent, "name": id, "startTimeUnixNano": start,
                   "endTimeUnixNano": end, "status": {"code": 2}})
        };
        let trace = json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeSpans": [{"spans": [
                span("bb", "aa", "1500", "1900"), span("aa", "", "1000", "2000"),
                span("cc", "zz", "1100", "1200"), span("dd", "dd", "1300", "1300"),
            ]}]
        }]});
        let text = waterfall(&spans(&trace));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[0].starts_with("4 spans, 1.0 µs"), "{text}");
        assert!(
            lines[1].starts_with("shop: aa !") && lines[2].starts_with("  shop: bb !"),
            "{text}"
        );
    }
}
