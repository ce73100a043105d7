//! The plan of a query as `EXPLAIN` answers it: a line a step, its figures below it.
//!
//! Invariants: nothing of a plan is cut off; on a terminal no line is wider than it.

use serde_json::Value;

use super::terminal::{one_line, width};

/// How much further in the rest of a line stands.
const REST: usize = 4;

/// The text of an answer that is a plan; nothing for any other.
pub(super) fn of_answer(answer: &Value, columns: Option<usize>) -> Option<String> {
    let names: Vec<&str> =
        answer["columns"].as_array()?.iter().filter_map(|column| column["name"].as_str()).collect();
    if names != ["plan_type", "plan"] {
        return None;
    }
    let mut shown = String::new();
    for row in answer["rows"].as_array()? {
        let [title, plan] = [&row[0], &row[1]].map(|cell| cell.as_str().unwrap_or_default());
        shown.push_str(&format!("{}\n", one_line(title)));
        plan.lines().for_each(|line| step(&mut shown, &one_line(line), columns));
    }
    Some(shown)
}

/// A step and, where it has some, its figures on lines of their own.
fn step(shown: &mut String, line: &str, columns: Option<usize>) {
    let text = line.trim_start();
    let indent = line.len() - text.len();
    match text.split_once(", metrics=") {
        Some((text, figures)) => {
            folded(shown, text, indent, columns);
            if figures != "[]" {
                folded(shown, figures, indent + REST, columns);
            }
        }
        None => folded(shown, text, indent, columns),
    }
}

/// A text that goes on further in where it does not fit, between two of its parts where it can.
fn folded(shown: &mut String, text: &str, indent: usize, columns: Option<usize>) {
    let columns = columns.unwrap_or(usize::MAX).max(2);
    let mut line = " ".repeat(indent.min(columns / 2));
    let rest = " ".repeat((indent + REST).min(columns / 2));
    let mut begun = false;
    for part in text.split_inclusive(", ") {
        if begun && width(&line) + width(part.trim_end()) > columns {
            shown.push_str(line.trim_end());
            shown.push('\n');
            line.clone_from(&rest);
        }
        begun = true;
        for letter in part.chars() {
            if letter != ' ' && width(&line) + width(letter.encode_utf8(&mut [0; 4])) > columns {
                shown.push_str(line.trim_end());
                shown.push('\n');
                line.clone_from(&rest);
            }
            line.push(letter);
        }
    }
    shown.push_str(line.trim_end());
    shown.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        let plan = "ProjectionExec: expr=[name@0 as name, count(*)@1 as n], metrics=[output_rows=1, elapsed_compute=5.20µs]\n  \
                    CooperativeExec, metrics=[]\n    TelemetryScan: spans files=3/3, metrics=[fetched_bytes=5.35 K]\n";
        json!({
            "columns": [{"name": "plan_type", "type": "Utf8"}, {"name": "plan", "type": "Utf8"}],
            "rows": [["Plan with Metrics", plan]],
        })
    }

    /// Scenario: a plan with figures in a pipe and on terminals of every width; an answer that is none.
    /// Guarantees: a line a step and one for its figures; nothing is cut off, and no line is too wide.
    #[test]
    fn plans_are_shown_whole() {
        let piped = of_answer(&answer(), None).unwrap();
        let expected = "Plan with Metrics\n\
                        ProjectionExec: expr=[name@0 as name, count(*)@1 as n]\n    \
                        [output_rows=1, elapsed_compute=5.20µs]\n  \
                        CooperativeExec\n    \
                        TelemetryScan: spans files=3/3\n        \
                        [fetched_bytes=5.35 K]\n";
        assert_eq!(piped, expected);
        let letters = |text: &str| text.replace([' ', '\n'], "");
        for columns in 20..120 {
            let shown = of_answer(&answer(), Some(columns)).unwrap();
            assert!(shown.lines().all(|line| width(line) <= columns), "{columns}\n{shown}");
            assert_eq!(letters(&shown), letters(expected), "{columns}");
        }
        assert_eq!(of_answer(&json!({"columns": [{"name": "plan"}], "rows": []}), None), None);
    }
}
