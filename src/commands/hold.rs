//! `icecore hold`: windows that are kept beyond retention.

use clap::ArgMatches;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{ask, get, json_of};
use super::print;
use super::table::Table;
use super::terminal::{self, printable};
use crate::error::{Failure, Outcome};

/// Runs one of the subcommands.
pub(super) async fn run(matches: &ArgMatches) -> Outcome {
    let (name, matches) =
        matches.subcommand().ok_or_else(|| Failure::usage("`icecore hold` needs a subcommand"))?;
    match name {
        "create" => create(matches).await,
        "release" => release(matches).await,
        _ => list(matches).await,
    }
}

async fn create(matches: &ArgMatches) -> Outcome {
    let given = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let tables: Vec<&String> = matches.get_many("table").into_iter().flatten().collect();
    let body = json!({
        "from": given("from"), "to": given("to"), "where": given("where"), "tables": tables,
    });
    let path = path(given("name").unwrap_or_default());
    let answer = ask(Method::PUT, given("url").unwrap_or_default(), &path, Some(&body)).await?;
    let answer = json_of(answer).await?;
    let hold = &answer["hold"];
    let text = |name: &str| printable(hold[name].as_str().unwrap_or_default());
    let mut said = format!("`{}` is held from {} to {}\n", text("name"), text("from"), text("to"));
    for missing in list_of(&answer["missing"]) {
        let missing = printable(missing.as_str().unwrap_or_default());
        said.push_str(&format!("{missing}\n"));
    }
    print(&said)
}

async fn release(matches: &ArgMatches) -> Outcome {
    let given = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let name = given("name").unwrap_or_default();
    ask(Method::DELETE, given("url").unwrap_or_default(), &path(name), None).await?;
    print(&format!("`{name}` is released\n"))
}

async fn list(matches: &ArgMatches) -> Outcome {
    let url = matches.get_one::<String>("url").map(String::as_str).unwrap_or_default();
    let answer = json_of(get(url, "/api/v1/holds").await?).await?;
    print(&format!("{}\n", render(list_of(&answer["holds"]))))
}

/// A name that is none is told so by whoever knows names: here it must only stay one segment.
fn path(name: &str) -> String {
    let segment: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("/api/v1/holds/{}", segment.replace('+', "%20"))
}

fn render(holds: &[Value]) -> String {
    let names = ["name", "from", "to", "where", "tables", "made", "files", "rows", "bytes"];
    let mut table = Table::of_texts(names, terminal::columns());
    for hold in holds {
        let cell = |name: &str| match &hold[if name == "made" { "at" } else { name }] {
            Value::Null => String::new(),
            Value::String(text) => printable(text),
            Value::Array(items) => {
                items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
            }
            other => other.to_string(),
        };
        table.add(names.map(cell));
    }
    let count = match holds.len() {
        1 => "1 hold".to_owned(),
        count => format!("{count} holds"),
    };
    format!("{}{count}; files with rows of the window, whatever `where` says", table.render())
}

fn list_of(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: holds with and without a condition; names that are no names.
    /// Guarantees: a table with all there is; a name is never another path.
    #[test]
    fn holds_become_a_table() {
        let hold = json!({
            "name": "inc-7", "from": "2026-11-25T18:00:00Z", "to": "2026-11-25T19:00:00Z",
            "where": null, "tables": ["spans", "logs"], "at": "2026-11-25T20:00:00Z",
            "files": 3, "rows": 1200, "bytes": 4096
        });
        let text = render(&[hold]);
        for part in ["inc-7", "spans logs", "1200", "4096", "1 hold;"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(path("../sql"), "/api/v1/holds/..%2Fsql");
        assert_eq!(path("a b?c"), "/api/v1/holds/a%20b%3Fc");
    }
}
