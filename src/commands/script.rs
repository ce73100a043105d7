//! `icecore script`: questions that have a name.

use clap::ArgMatches;
use serde_json::{Map, Value, json};

use super::client::{get_json, url};
use super::sql::answer;
use super::table::Table;
use super::terminal::printable;
use super::{print, terminal};
use crate::error::{Failure, Outcome};

/// Runs one of the subcommands.
pub(super) async fn run(matches: &ArgMatches) -> Outcome {
    let (name, matches) = matches
        .subcommand()
        .ok_or_else(|| Failure::usage("`icecore script` needs a subcommand"))?;
    match name {
        "run" => run_one(matches).await,
        "show" => show(matches).await,
        _ => list(matches).await,
    }
}

async fn list(matches: &ArgMatches) -> Outcome {
    let answer = get_json(url(matches), "/api/v1/scripts").await?;
    let names = ["name", "what it answers", "parameters"];
    let mut table = Table::of_texts(names, terminal::columns());
    for script in list_of(&answer["scripts"]) {
        let parameters = list_of(&script["parameters"]).iter().map(|p| text(&p["name"]));
        let parameters = parameters.collect::<Vec<_>>().join(" ");
        table.add([text(&script["name"]), text(&script["title"]), parameters]);
    }
    let mut said = format!("{}{} scripts\n", table.render(), list_of(&answer["scripts"]).len());
    for fault in list_of(&answer["faults"]) {
        said.push_str(&format!("{}\n", text(fault)));
    }
    print(&said)
}

async fn show(matches: &ArgMatches) -> Outcome {
    let answer = get_json(url(matches), &path(matches)).await?;
    print(&shown(&answer["script"], terminal::columns()))
}

fn shown(script: &Value, columns: Option<usize>) -> String {
    let mut said = format!(
        "{}: {}\n{}\n",
        text(&script["name"]),
        text(&script["title"]),
        text(&script["about"])
    );
    let mut part = |names: [&str; 3], rows: Vec<[String; 3]>| {
        let mut table = Table::of_texts(names, columns);
        for row in rows {
            table.add(row);
        }
        said.push_str(&format!("\n{}", table.render()));
    };
    let parameters = list_of(&script["parameters"]).iter().map(|p| {
        [
            text(&p["name"]),
            format!("{} = {}", text(&p["type"]), text(&p["default"])),
            text(&p["about"]),
        ]
    });
    part(["parameter", "type and default", "what it is"], parameters.collect());
    let columns = list_of(&script["columns"]).iter().map(|column| {
        let kind = format!("{} {}", text(&column["type"]), text(&column["unit"]));
        [text(&column["name"]), kind, text(&column["about"])]
    });
    part(["column", "type and unit", "what it is"], columns.collect());
    said.push_str(&format!("\n{}\n", printable(script["sql"].as_str().unwrap_or_default())));
    said
}

async fn run_one(matches: &ArgMatches) -> Outcome {
    let mut params = Map::new();
    for given in matches.get_many::<String>("param").into_iter().flatten() {
        let (name, value) = given
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("`{given}` is not NAME=VALUE")))?;
        params.insert(name.to_owned(), json!(value));
    }
    let mut body = json!({ "params": params });
    if let Some(since) = matches.get_one::<String>("since") {
        body["since"] = json!(since);
    }
    let output = matches.get_one::<String>("output").map(String::as_str).unwrap_or_default();
    answer(url(matches), &path(matches), &body, output).await
}

/// A name that is none is told so by whoever knows names: here it must only stay one segment.
fn path(matches: &ArgMatches) -> String {
    let name = matches.get_one::<String>("name").map(String::as_str).unwrap_or_default();
    let segment: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("/api/v1/scripts/{}", segment.replace('+', "%20"))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

fn list_of(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a script with all that a head can say.
    /// Guarantees: all of it is shown, and the SQL as it is.
    #[test]
    fn scripts_are_shown_whole() {
        let script = json!({
            "name": "slow", "title": "Slow ones", "about": "The slowest.",
            "parameters": [{"name": "since", "type": "time", "default": "15m", "about": "from when"}],
            "columns": [{"name": "p99", "type": "float", "unit": "ms", "about": "99 of 100 are faster"}],
            "draw": {"kind": "table"}, "sql": "SELECT 1\nFROM spans"
        });
        let said = shown(&script, Some(100));
        for part in
            ["slow: Slow ones", "The slowest.", "time = 15m", "float ms", "SELECT 1\nFROM spans"]
        {
            assert!(said.contains(part), "{said}");
        }
    }
}
