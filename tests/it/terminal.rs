//! The command line at a terminal: a real pseudo terminal, driven by Python.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::icecore::{Icecore, PATIENCE, Start};
use crate::peers;

/// Work without a row before its end, for longer than any test.
const LONG: &str = "SELECT sum(a.value * b.value % 7) FROM generate_series(1, 2000000) AS a \
                    CROSS JOIN generate_series(1, 20000) AS b";

/// Runs `icecore ARGS` on a terminal of so many columns; what it showed, and its exit code.
fn at_terminal(
    icecore: &Icecore,
    state: &Path,
    columns: usize,
    steps: Value,
    args: &[&str],
) -> (String, i32) {
    let output = Command::new("python3")
        .arg(peers::script("terminal.py"))
        .args([columns.to_string(), steps.to_string(), env!("CARGO_BIN_EXE_icecore").to_owned()])
        .args(args)
        .env("ICECORE_URL", &icecore.api)
        .env("XDG_STATE_HOME", state)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let code = output.status.code().unwrap();
    assert_ne!(code, 99, "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    (shown, code)
}

async fn captured(folder: &Path) -> Icecore {
    let icecore = Start::new(folder).run();
    let request = reqwest::Client::new().post(format!("{}/v1/traces", icecore.http));
    let capture = include_str!("capture/traces.json");
    let sent = request.header("content-type", "application/json").body(capture).send().await;
    assert!(sent.unwrap().status().is_success());
    icecore
}

/// Scenario: statements are typed with Tab, over two lines, wrongly, and again from the history of
/// a shell that has ended; a long one is ended by Ctrl-C.
/// Guarantees: words and keys are completed, answers shown, faults told; the query is ended on the
/// server, which the shell says; what was typed is there the next time.
#[tokio::test(flavor = "multi_thread")]
async fn statements_are_typed() {
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let icecore = captured(folder.path()).await;
    let steps = json!([
        ["wait", "icecore> "],
        ["send", "sel\tattributes['http.request.m\t, count(*)\rFROM requ\tGROUP BY 1;\r"],
        ["wait", "rows in "],
        ["send", "SELECT nam FROM spans;\r"],
        ["wait", "did you mean `name`?"],
        ["send", format!("{LONG};\r")],
        ["wait", "s: 0 B fetched"],
        ["send", "\u{3}"],
        ["wait", "cancelled on the server after"],
        ["send", "\u{4}"],
    ]);
    let (shown, code) = at_terminal(&icecore, state.path(), 100, steps, &["sql"]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("SELECT attributes['http.request.method'], count(*)"), "{shown}");
    none_runs(&icecore).await;
    let steps = json!([
        ["wait", "icecore> "],
        ["send", "SELECT a\u{1b}[A"],
        ["wait", "      -> FROM requests GROUP BY 1;"],
        ["send", "\r"],
        ["wait", "rows in "],
        ["send", "\\q\r"],
    ]);
    let (shown, code) = at_terminal(&icecore, state.path(), 100, steps, &["sql"]);
    assert_eq!(code, 0, "{shown}");
    icecore.stop();
}

/// Waits until the server lists no query.
async fn none_runs(icecore: &Icecore) {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let running: Value = icecore.get("/api/v1/queries").await.json().await.unwrap();
        if running["queries"] == json!([]) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "{running:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Scenario: a query, a script and a trace on a narrow and a wide terminal; one query ended.
/// Guarantees: no line is wider than the terminal; what was ended says so with exit code 1.
#[tokio::test(flavor = "multi_thread")]
async fn answers_fit_the_terminal() {
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let icecore = captured(folder.path()).await;
    let id =
        icecore.sql("SELECT trace_id FROM spans LIMIT 1").await[0][0].as_str().unwrap().to_owned();
    let wide = "SELECT service_name, name, duration_ns, attributes, resource FROM spans LIMIT 20";
    for columns in [50, 80, 160] {
        for args in [
            &["sql", wide][..],
            &["sql", "SELECT * FROM spans LIMIT 2"],
            &["trace", &id],
            &["script", "list"],
        ] {
            let (shown, code) = at_terminal(&icecore, state.path(), columns, json!([]), args);
            assert_eq!(code, 0, "{shown}");
            // What was said of the progress is gone by the time the answer comes.
            let answer = shown.rsplit("\u{1b}[2K").next().unwrap();
            let widest = answer.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
            assert!(widest <= columns && widest > 20, "{columns}: {widest}\n{shown}");
        }
    }
    let steps = json!([["wait", "fetched"], ["send", "\u{3}"]]);
    let (shown, code) = at_terminal(&icecore, state.path(), 100, steps, &["sql", LONG]);
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("cancelled on the server after"), "{shown}");
    icecore.stop();
}
