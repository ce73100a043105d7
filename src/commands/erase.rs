//! `icecore store erase`: rows that a condition names leave the bucket, with a proof.

use std::io::Write as _;

use clap::ArgMatches;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::ask;
use super::print;
use super::terminal::printable;
use crate::error::{Failure, Outcome};

/// Asks the running Icecore, tells what it is at, and says what came of it.
pub(super) async fn run(matches: &ArgMatches) -> Outcome {
    let matches = matches.subcommand_matches("erase").unwrap_or(matches);
    let given = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let tables: Vec<&String> = matches.get_many("table").into_iter().flatten().collect();
    let sure = matches.get_flag("yes");
    let trial = matches.get_flag("dry-run") || !sure;
    let body = json!({
        "where": given("where"), "tables": tables, "from": given("from"), "to": given("to"),
        "by": given("by").map_or_else(whoever, str::to_owned), "dry_run": trial,
        "now": matches.get_flag("now"), "wait": matches.get_flag("wait"),
    });
    let url = given("url").unwrap_or_default();
    let report = follow(ask(Method::POST, url, "/api/v1/erase", Some(&body)).await?).await?;
    print(&told(&report, trial))?;
    if trial && !matches.get_flag("dry-run") {
        return Err(Failure::usage("nothing was erased; add --yes to erase these rows"));
    }
    match report["left"].as_u64() {
        _ if trial => Ok(()),
        Some(0) => Ok(()),
        _ => Err(Failure::failed("such rows came in meanwhile: erase again")),
    }
}

/// Reads the lines of an erasure up to its report.
async fn follow(mut response: reqwest::Response) -> Result<Value, Failure> {
    let (mut text, mut last) = (Vec::new(), Value::Null);
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|error| Failure::from_error("the answer broke off", &error))?;
        let Some(chunk) = chunk else { break };
        text.extend_from_slice(&chunk);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let line: Value = serde_json::from_slice(&line).unwrap_or_default();
            match &line["progress"] {
                Value::Null => last = line,
                progress => tell(progress),
            }
        }
    }
    let part = |name: &str| printable(last["error"][name].as_str().unwrap_or_default());
    match &last["report"] {
        Value::Null if last["error"].is_object() => {
            let text = format!("the erasure broke off: {}; {}", part("message"), part("hint"));
            Err(Failure::failed(format!("{text}; what is erased stays so, ask again for the rest")))
        }
        Value::Null => Err(Failure::failed("the answer broke off; ask again for the rest")),
        report => Ok(report.clone()),
    }
}

/// One line on standard error, over the one before.
fn tell(progress: &Value) {
    let number = |name: &str| progress[name].as_u64().unwrap_or_default();
    let text = match progress["step"].as_str() {
        Some("flushed") => "acknowledged rows are in the bucket".to_owned(),
        Some("planned") => format!("{} files may hold such rows", number("files")),
        Some("erased") => {
            format!("{} files dealt with, {} rows", number("files"), number("rows"))
        }
        Some("proven") => format!("{} files read once more", number("files")),
        Some("waiting") => {
            let until = printable(progress["until"].as_str().unwrap_or_default());
            format!("{} old files stay until {until}", number("files"))
        }
        _ => return,
    };
    // There is nobody left to tell where standard error is closed.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// The report in words.
fn told(report: &Value, trial: bool) -> String {
    let number = |name: &str| report[name].as_u64().unwrap_or_default();
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    let list = |name: &str| report[name].as_array().map_or(&[][..], Vec::as_slice);
    let tables: Vec<String> = list("tables").iter().map(text).collect();
    let mut lines = Vec::new();
    let verb = if trial { "would be erased" } else { "erased" };
    lines.push(format!("{} rows {verb} from {}", number("rows"), tables.join(", ")));
    for table in list("deleted") {
        let of = |name: &str| table[name].as_u64().unwrap_or_default();
        lines.push(format!(
            "  {}: {} rows, {} files dropped, {} written anew",
            text(&table["table"]),
            of("rows"),
            of("dropped"),
            of("rewritten")
        ));
    }
    if number("held") > 0 {
        lines.push(format!("{} rows match and stay: holds keep them", number("held")));
    }
    if !trial {
        lines.extend(proof(report));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What the bucket was seen to hold afterwards.
fn proof(report: &Value) -> Vec<String> {
    let number = |name: &str| report[name].as_u64().unwrap_or_default();
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    let list = |name: &str| report[name].as_array().map_or(&[][..], Vec::as_slice);
    let mut lines = vec![format!(
        "proof: {} files that count were read again and hold {} such rows",
        number("proof_files"),
        number("left")
    )];
    for path in list("absent") {
        lines.push(format!("  absent: {}", text(path)));
    }
    for leftover in list("leftovers") {
        let until = match &leftover["gone_by"] {
            Value::Null => "until its writer is heard of again".to_owned(),
            at => format!("until {}", text(at)),
        };
        let rows = leftover["rows"].as_u64().unwrap_or_default();
        lines.push(format!("  still there {until}: {} ({rows} rows)", text(&leftover["path"])));
    }
    for path in list("unreadable") {
        lines.push(format!("  cannot be read, look at it: {}", text(path)));
    }
    if report["versioned"] == true {
        lines.push(
            "the bucket keeps versions of deleted objects: its own rules must end them".into(),
        );
    }
    match report["log"]["bytes"].as_u64() {
        Some(0) => lines.push("the log on disk holds nothing".into()),
        Some(bytes) => lines.push(format!(
            "the log on disk holds up to {bytes} bytes of what came in lately, until the next \
             request is flushed and every destination has it"
        )),
        None => {
            lines.push("no log was asked: rows that ingesters hold unflushed may follow".into())
        }
    }
    lines.push(format!("record: {}", text(&report["record"])));
    lines
        .push(format!("salt of the record's digest, kept nowhere else: {}", text(&report["salt"])));
    lines
}

/// Whoever asks, as the system knows them.
fn whoever() -> String {
    let name = |key: &str| std::env::var(key).ok().filter(|name| !name.is_empty());
    name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a report with everything in it, and one of a trial.
    /// Guarantees: what went, what stays and until when, in words; a trial promises nothing.
    #[test]
    fn a_report_is_told_whole() {
        let report = json!({
            "tables": ["spans", "logs"], "rows": 7, "held": 2, "left": 0, "proof_files": 9,
            "deleted": [{ "table": "spans", "rows": 7, "dropped": 1, "rewritten": 3 }],
            "absent": ["data/a.parquet"], "versioned": true, "log": { "bytes": 4096 },
            "leftovers": [{ "path": "data/b.parquet", "rows": 1, "gone_by": "2026-11-25T19:00:00Z" }],
            "unreadable": ["data/c.parquet"], "record": "catalog/compaction/1.json", "salt": "ab"
        });
        let text = told(&report, false);
        for part in [
            "7 rows erased from spans, logs",
            "1 files dropped, 3 written anew",
            "2 rows match and stay",
            "9 files that count were read again and hold 0 such rows",
            "absent: data/a.parquet",
            "until 2026-11-25T19:00:00Z: data/b.parquet (1 rows)",
            "look at it: data/c.parquet",
            "versions",
            "4096 bytes",
            "catalog/compaction/1.json",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let trial = told(&report, true);
        assert!(trial.contains("would be erased") && !trial.contains("proof"), "{trial}");
    }
}
