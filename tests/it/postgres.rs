//! The PostgreSQL wire protocol, as psql and the drivers that people use speak it.

use std::process::Command;

use serde_json::{Value, json};

use crate::access::{QUESTIONS, filled, ours, script};
use crate::icecore::Icecore;
use crate::peers;

/// What psql prints for these commands, without its decoration.
async fn psql(icecore: &Icecore, commands: &[&str]) -> (String, String) {
    let mut psql = Command::new("psql");
    psql.args([
        "-h",
        "127.0.0.1",
        "-p",
        &icecore.postgres,
        "-U",
        "anyone",
        "-d",
        "icecore",
        "-X",
        "-At",
    ]);
    for command in commands {
        psql.args(["-c", command]);
    }
    psql.env("PGCONNECT_TIMEOUT", "20").env("LC_ALL", "C");
    let output = tokio::task::spawn_blocking(move || psql.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// Scenario: psql asks the questions that every way must answer alike, looks around by its own
/// commands, and asks wrongly.
/// Guarantees: the rows of `icecore sql`; tables, views, columns and types as they are; an error with
/// its place and our hint.
#[tokio::test(flavor = "multi_thread")]
async fn psql_asks_and_looks_around() {
    if Command::new("psql").arg("--version").output().is_err() {
        return peers::skip("psql is not installed; `./dev setup` installs it");
    }
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let icecore = filled(folder.path()).await;
    let (answer, errors) =
        psql(&icecore, &["SELECT name, count(*), NULL FROM spans GROUP BY 1 ORDER BY 1 LIMIT 2"])
            .await;
    assert_eq!((answer.as_str(), errors.as_str()), ("operation 0|7|\noperation 1|7|\n", ""));
    let (answer, errors) = psql(&icecore, &["\\dt", "\\dv", "\\l", "\\dn", "\\du"]).await;
    assert_eq!(errors, "");
    for line in [
        "public|spans|table|icecore",
        "public|requests|view|icecore",
        "icecore|icecore|UTF8",
        "public|icecore",
    ] {
        assert!(answer.contains(line), "{line}\n{answer}");
    }
    let (answer, errors) = psql(&icecore, &["\\d spans", "\\d+ requests", "\\d"]).await;
    assert_eq!(errors, "");
    for line in [
        "start_time|timestamp with time zone|",
        "duration_ns|bigint|",
        "attributes|jsonb|",
        "failed|boolean|",
    ] {
        assert!(answer.contains(line), "{line}\n{answer}");
    }
    let (_, errors) =
        psql(&icecore, &["\\set VERBOSITY verbose", "SELECT name,\n  nam FROM spans"]).await;
    for part in
        ["42703", "there is no column `nam`", "did you mean `name`?", "LINE 2:   nam FROM spans"]
    {
        assert!(errors.contains(part), "{part}\n{errors}");
    }
    icecore.stop();
}

/// Scenario: psycopg (in text and in binary form), pg8000 and asyncpg ask the same questions, a value of
/// every type, with values of every type bound, in pieces; err, in transactions and outside; cancel.
/// Guarantees: the answers of `icecore sql`, alike in every form and from every driver; errors with the
/// code, place and hint that their clients look for; a cancelled query is gone from the server.
#[tokio::test(flavor = "multi_thread")]
async fn drivers_ask_by_the_postgresql_protocol() {
    let Some(python) = peers::python() else { return };
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let icecore = filled(folder.path()).await;
    let questions = json!(QUESTIONS).to_string();
    let said = script(&python, "postgres.py", &[&icecore.postgres, &questions]).await;
    let expected = json!(ours(&icecore).await);
    for answers in ["/psycopg/text", "/psycopg/binary", "/pg8000/statements", "/asyncpg/statements"]
    {
        assert_eq!(said.pointer(answers), Some(&expected), "{answers}");
    }
    check_values(&said);
    check_errors(&said["psycopg"]);
    let cancelled = &said["psycopg"]["cancelled"];
    assert_eq!(cancelled["said"][0], "57014", "{said:#}");
    assert!(cancelled["seconds"].as_f64().unwrap() < 10.0, "{said:#}");
    assert_eq!(cancelled["then"], json!([[1]]));
    let running: Value = icecore.get("/api/v1/queries").await.json().await.unwrap();
    assert_eq!(running["queries"], json!([]));
    icecore.stop();
}

/// Values in and out, in every form and of every driver.
fn check_values(said: &Value) {
    let (psycopg, asyncpg) = (&said["psycopg"], &said["asyncpg"]);
    let structure = json!({"x": 1, "y": [2]});
    let typed = |structure: Value| {
        json!([
            true,
            7,
            8,
            9,
            1.5,
            0.1,
            "12345.678",
            "it's é",
            "00ff",
            "1969-12-31",
            "2026-11-26T09:00:00.123456",
            "2026-11-26T09:00:00.123456+00:00",
            93_600.0,
            [1, null, 3],
            ["a", null, "b \"c\"", ""],
            [1.5, 2.5],
            null,
            structure,
            "9",
            "-0.0001",
            1e300,
            "NaN"
        ])
    };
    for form in ["text", "binary"] {
        assert_eq!(psycopg[format!("typed {form}")], typed(structure.clone()), "{form}");
        let given = json!([7, 0.5, true, "2030-01-01T00:00:00+00:00", 12.5, "00ff"]);
        assert_eq!(psycopg[format!("given {form}")], given, "{form}");
        assert_eq!(psycopg[format!("any {form}")], json!([[7]]), "{form}");
        assert_eq!(psycopg[format!("prepared {form}")], json!([7, 7, 0, 0]), "{form}");
    }
    // asyncpg leaves JSON as the text that it is.
    assert_eq!(asyncpg["typed"], typed(json!(r#"{"x":1,"y":[2]}"#)));
    assert_eq!(asyncpg["types"], json!(["text", "int8", "timestamptz"]));
    assert_eq!(asyncpg["columns"], json!([["count(*)", "int8"]]));
    assert_eq!((&asyncpg["chosen"], &said["pg8000"]["chosen"]), (&json!(7), &json!([[7]])));
    assert_eq!(asyncpg["trace"], json!([["text", "int8"], 0]));
    for (numbers, how) in
        [(&psycopg["streamed"], "row by row"), (&asyncpg["by portal"], "in pieces")]
    {
        assert_eq!(*numbers, json!([200_000, 20_000_100_000_u64]), "{how}");
    }
    assert_eq!(psycopg["several"], json!([[[1]], "BEGIN", [[2, 3]], "COMMIT"]));
}

/// Codes, places and hints, and how a transaction stands.
fn check_errors(psycopg: &Value) {
    for (what, code, message, hint, position) in [
        ("wrong", "42703", "there is no column `nam`", "did you mean `name`?", Some("16")),
        ("no table", "42P01", "there is no table `span`", "did you mean `spans`?", Some("15")),
        ("no function", "42883", "there is no function `nonsense`", "SHOW FUNCTIONS", Some("8")),
        ("writes", "25006", "`DROP TABLE` is not allowed here", "SELECT, EXPLAIN", None),
        ("late", "22012", "ivide by zero", "", None),
        ("too few", "42000", "there is no value for `$1`", "give it", None),
    ] {
        let told = &psycopg[what];
        let text = |at: usize| told[at].as_str().unwrap_or_default();
        assert_eq!((text(0), told[3].as_str()), (code, position), "{what}: {told}");
        assert!(text(1).contains(message) && text(2).contains(hint), "{what}: {told}");
    }
    let notice = psycopg["notices"][0].as_str().unwrap();
    assert!(notice.contains("has no effect here"), "{notice}");
    let states = json!(["INTRANS", "42703", "INERROR", "25P02", "IDLE", 5, "IDLE"]);
    assert_eq!(psycopg["transaction"], states);
}
