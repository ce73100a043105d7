//! One question, four ways to ask: `icecore sql`, psql, the ADBC Flight SQL driver, and DuckDB over the
//! files of the same bucket.

mod question;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use self::question::{QUESTIONS, WRONG};
use crate::icecore::{Icecore, Start};
use crate::{peers, readers, scripts};

/// What psql writes for a null, between cells and between rows: none of them is in any answer.
const NULL: &str = "\u{1d}";
const CELL: &str = "\u{1f}";
const ROW: &str = "\u{1e}";

/// Scenario: a recorded capture and spans, metrics and logs that use all of OTLP are taken in over gRPC and
/// HTTP, some live and some in files; each question is asked in every way; then all is flushed, and asked
/// again, of the files by DuckDB too, before and after they are merged.
/// Guarantees: every way answers alike, live or from files, down to the last nanosecond where its types have
/// them; what is wrong is refused in every way, and by ours with the same words.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_answers_alike() {
    let Some(python) = peers::python() else { return };
    if Command::new("psql").arg("--version").output().is_err() {
        return peers::skip("psql is not installed; `./dev setup` installs it");
    }
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let start = Start::new(folder.path()).arg("flush-after", "1h").arg("compaction", "false");
    let icecore = start.run();
    scripts::send_capture(&icecore).await;
    readers::send(&icecore, 0).await;
    icecore.stop();
    let icecore = start.run();
    readers::send(&icecore, 1).await;
    let live = check_ours(&python, &icecore);
    icecore.stop();
    let icecore = start.run();
    check_same("files", &check_ours(&python, &icecore), &live);
    icecore.stop();
    check_files(&python, &start, &live);
    let before = readers::files(&start).len();
    readers::store(&start, "compact");
    assert!(readers::files(&start).len() < before, "nothing was merged");
    let icecore = start.run();
    let merged: Vec<Value> =
        QUESTIONS.iter().map(|question| by_sql(&icecore, question.sql)).collect();
    check_same("merged files", &merged, &live);
    icecore.stop();
    check_files(&python, &start, &live);
}

/// What was live is told the same from elsewhere.
fn check_same(place: &str, answers: &[Value], live: &[Value]) {
    for (question, (answer, live)) in QUESTIONS.iter().zip(answers.iter().zip(live)) {
        check(question.sql, place, answer, "live rows", live, same);
    }
}

/// DuckDB reads the same in the files that count.
fn check_files(python: &Path, start: &Start, ours: &[Value]) {
    let list = start.data_dir.join("files.txt");
    std::fs::write(&list, readers::files(start).join("\n")).unwrap();
    let asked: Vec<Value> = QUESTIONS.iter().map(|question| json!(question.of_files())).collect();
    let said = ask(python, &["duckdb", list.to_str().unwrap()], &json!(asked));
    for (question, (theirs, ours)) in QUESTIONS.iter().zip(said.iter().zip(ours)) {
        if question.of_files().is_some() {
            check(question.sql, "DuckDB", theirs, "icecore sql", ours, same_to_micros);
        }
    }
}

/// `icecore sql`, psql and ADBC agree; gives back what they answer.
fn check_ours(python: &Path, icecore: &Icecore) -> Vec<Value> {
    let asked: Vec<&str> = QUESTIONS.iter().map(|question| question.sql).collect();
    let by_flight = ask(python, &["flight", &icecore.flight], &json!(asked));
    let mut answers = Vec::new();
    for (sql, flight) in asked.into_iter().zip(&by_flight) {
        let ours = by_sql(icecore, sql);
        check(sql, "ADBC", flight, "icecore sql", &ours, same);
        let psql = by_psql(icecore, sql).unwrap_or_else(|error| panic!("{sql}\npsql: {error}"));
        check(sql, "psql", &psql, "icecore sql", &ours, same_as_text);
        answers.push(ours);
    }
    let wrong: Vec<&str> = WRONG.iter().map(|(sql, _)| *sql).collect();
    let by_flight = ask(python, &["flight", &icecore.flight], &json!(wrong));
    for ((sql, words), flight) in WRONG.iter().zip(&by_flight) {
        let (exit, _, said) = icecore.client(&["sql", "-o", "json", sql]);
        assert!(exit == Some(1) && said.contains(words), "{sql}: {exit:?} {said}");
        let psql = by_psql(icecore, sql).unwrap_err();
        assert!(psql.contains(words), "{sql}\npsql: {psql}");
        assert!(flight.as_str().is_some_and(|said| said.contains(words)), "{sql}\nADBC: {flight}");
    }
    answers
}

/// Every row of both.
fn check(
    sql: &str,
    way: &str,
    got: &Value,
    other: &str,
    wanted: &Value,
    same: fn(&Value, &Value) -> bool,
) {
    let lines = |rows: &Value| match rows.as_array() {
        Some(rows) => rows.iter().map(|row| format!("{row}\n")).collect(),
        None => rows.to_string(),
    };
    let alike = all(got, wanted, |got, wanted| all(got, wanted, same));
    assert!(alike, "{sql}\n{way}:\n{}\n{other}:\n{}", lines(got), lines(wanted));
}

/// As many of both, each pair the same.
fn all(got: &Value, wanted: &Value, same: impl Fn(&Value, &Value) -> bool) -> bool {
    let pair = got.as_array().zip(wanted.as_array());
    pair.is_some_and(|(got, wanted)| {
        got.len() == wanted.len() && got.iter().zip(wanted).all(|(got, wanted)| same(got, wanted))
    })
}

/// The same value; of doubles all but the last digits, which depend on the order of what was added up.
fn same(got: &Value, wanted: &Value) -> bool {
    match (got, wanted) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| near(one, other))
        }
        (Value::Array(_), Value::Array(_)) => all(got, wanted, same),
        (Value::Object(one), Value::Object(other)) => {
            let pair = |(key, wanted): (&String, &Value)| {
                one.get(key).is_some_and(|got| same(got, wanted))
            };
            one.len() == other.len() && other.iter().all(pair)
        }
        // A map or a struct in a form without them.
        (Value::String(text), Value::Object(_) | Value::Array(_)) => {
            serde_json::from_str(text).is_ok_and(|got: Value| same(&got, wanted))
        }
        _ => got == wanted,
    }
}

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
}

/// The same as far as microseconds tell.
fn same_to_micros(got: &Value, wanted: &Value) -> bool {
    match (got.as_str().and_then(micros), wanted.as_str().and_then(micros)) {
        (Some(got), Some(wanted)) => got == wanted,
        _ => same(got, wanted),
    }
}

/// A time without the digits below its microseconds.
fn micros(text: &str) -> Option<&str> {
    let is_time = text.len() == "2026-11-22T23:58:00.123456789Z".len()
        && text.ends_with('Z')
        && text.as_bytes()[10] == b'T';
    if is_time { text.get(..26) } else { None }
}

/// What psql prints for a value; `null` where it is none.
fn same_as_text(got: &Value, wanted: &Value) -> bool {
    let Some(text) = got.as_str() else { return wanted.is_null() };
    match wanted {
        Value::Null => false,
        Value::Bool(wanted) => text == if *wanted { "t" } else { "f" },
        Value::Number(wanted) if wanted.is_f64() => {
            text.parse().is_ok_and(|got| near(got, wanted.as_f64().unwrap()))
        }
        Value::Number(wanted) => text == wanted.to_string(),
        Value::String(wanted) => match micros(wanted) {
            Some(time) => {
                let digits = |text: &str| {
                    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
                    format!("{whole}.{rest:0<6}")
                };
                text.strip_suffix("+00").map(digits) == Some(digits(&time.replace('T', " ")))
            }
            None => text == wanted,
        },
        // Lists of plain values are arrays there, everything else JSON.
        Value::Array(wanted) if text.starts_with('{') => {
            let items = array(text);
            items.len() == wanted.len()
                && items.iter().zip(wanted).all(|(got, wanted)| same_as_text(got, wanted))
        }
        Value::Array(_) | Value::Object(_) => same(got, wanted),
    }
}

/// The items of an array as PostgreSQL writes it: `{1,NULL,"a \"b\""}`.
fn array(text: &str) -> Vec<Value> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap();
    let (mut items, mut item, mut quoted, mut was_quoted) =
        (Vec::new(), String::new(), false, false);
    let mut letters = inner.chars();
    let done = |item: &mut String, was_quoted: bool| match std::mem::take(item) {
        item if item == "NULL" && !was_quoted => Value::Null,
        item => json!(item),
    };
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => item.extend(letters.next()),
            '"' => (quoted, was_quoted) = (!quoted, true),
            ',' if !quoted => {
                items.push(done(&mut item, was_quoted));
                was_quoted = false;
            }
            _ => item.push(letter),
        }
    }
    if !inner.is_empty() {
        items.push(done(&mut item, was_quoted));
    }
    items
}

/// The rows of `icecore sql`.
fn by_sql(icecore: &Icecore, sql: &str) -> Value {
    let (exit, answer, errors) = icecore.client(&["sql", "-o", "json", sql]);
    assert_eq!(exit, Some(0), "{sql}: {errors}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["stats"]["incomplete"], json!([]), "{sql}");
    answer["rows"].clone()
}

/// The rows of psql, whose cells are texts; what it says where there are none.
fn by_psql(icecore: &Icecore, sql: &str) -> Result<Value, String> {
    let output = Command::new("psql")
        .args(["-h", "127.0.0.1", "-p", &icecore.postgres, "-U", "anyone", "-d", "icecore"])
        .args(["-X", "-A", "-t", "-F", CELL, "-R", ROW, "-P", &format!("null={NULL}"), "-c", sql])
        .env("PGCONNECT_TIMEOUT", "20")
        .env("PGTZ", "UTC")
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let cell = |text: &str| if text == NULL { Value::Null } else { json!(text) };
    let row = |row: &str| row.split(CELL).map(cell).collect::<Value>();
    Ok(text.split(ROW).filter(|row| !row.is_empty()).map(row).collect())
}

/// What `ask.py` answers to the questions.
fn ask(python: &Path, args: &[&str], questions: &Value) -> Vec<Value> {
    let mut child = Command::new(python)
        .arg(peers::script("ask.py"))
        .args(args)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(questions.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}
