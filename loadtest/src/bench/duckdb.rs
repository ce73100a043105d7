//! The same questions to DuckDB, in a process of its own, over the same Parquet files.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::Error;

/// Asks each question once so that files are in the page cache, then some times more.
const SCRIPT: &str = r#"
import json, sys, time
import duckdb
task = json.load(sys.stdin)
db = duckdb.connect()
db.execute(f"SET threads = {task['threads']}")
db.execute("SET timezone = 'UTC'")
# What takes long draws its progress among the answers.
db.execute("SET enable_progress_bar = false")
db.execute("SET parquet_metadata_cache = true")
files = ", ".join("'" + path.replace("'", "''") + "'" for path in task["files"])
db.execute(f"CREATE VIEW spans AS SELECT * FROM read_parquet([{files}], hive_partitioning = true, union_by_name = true)")
answers = []
for query in task["queries"]:
    took, rows = [], []
    for _ in range(task["times"] + 1):
        began = time.perf_counter()
        rows = db.execute(query).fetchall()
        took.append(time.perf_counter() - began)
    warm = sorted(took[1:] or took)
    answers.append({"seconds": warm[len(warm) // 2], "rows": [[str(x) for x in row] for row in rows[:1000]], "count": len(rows)})
print(json.dumps(answers))
"#;

/// What one question came to.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Answered {
    /// The median.
    pub(super) seconds: f64,
    /// The first thousand, as texts.
    pub(super) rows: Vec<Vec<String>>,
    pub(super) count: u64,
}

#[derive(Serialize)]
struct Task<'a> {
    threads: usize,
    files: &'a [PathBuf],
    queries: &'a [String],
    times: usize,
}

/// The Python of the cache folder, if it has DuckDB.
pub(super) async fn python(cache: &Path) -> Option<PathBuf> {
    let python = cache.join("venv/bin/python");
    let checked = Command::new(&python).args(["-c", "import duckdb"]).output().await;
    checked.is_ok_and(|output| output.status.success()).then_some(python)
}

pub(super) async fn ask(
    python: &Path,
    files: &[PathBuf],
    queries: &[String],
    times: usize,
) -> Result<Vec<Answered>, Error> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let task = serde_json::to_vec(&Task { threads, files, queries, times }).map_err(Error::Json)?;
    let failed = |source| Error::Spawn { path: python.to_owned(), source };
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&task).await.map_err(failed)?;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(Error::Peer { name: "DuckDB", said: said() });
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::Peer { name: "DuckDB", said: format!("{error}; {}", said()) })
}

/// Whether our rows of a name and a figure are theirs: with one figure it must be the same, with
/// two ours must be between.
pub(super) fn agree(ours: &[Value], theirs: &[Vec<String>]) -> bool {
    let same = |row: &Value, other: &Vec<String>| {
        let figure = row[1].as_f64();
        let bound = |at: usize| other.get(at)?.parse::<f64>().ok();
        let within = |figure: f64, from: f64, to: f64| from <= figure && figure <= to;
        let (from, to) = (bound(1), bound(2).or(bound(1)));
        row[0].as_str() == other.first().map(String::as_str)
            && figure.zip(from).zip(to).is_some_and(|((it, from), to)| within(it, from, to))
    };
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(row, other)| same(row, other))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Scenario: answers that are the same, between two, and not.
    /// Guarantees: names and single figures must be equal, others between the two.
    #[test]
    fn answers_are_compared() {
        let ours = [json!(["shop", 100]), json!(["till", 7.5])];
        let theirs = |shop: &[&str], till: &[&str]| {
            [shop, till].map(|row| row.iter().map(|&text| text.to_owned()).collect()).to_vec()
        };
        assert!(agree(&ours, &theirs(&["shop", "100"], &["till", "7.5"])));
        assert!(!agree(&ours, &theirs(&["shop", "101"], &["till", "7.5"])));
        assert!(!agree(&ours, &theirs(&["shop", "100"], &["tilt", "7.5"])));
        assert!(agree(&ours, &theirs(&["shop", "99", "100"], &["till", "7", "8"])));
        assert!(!agree(&ours, &theirs(&["shop", "99", "100"], &["till", "8", "9"])));
        assert!(!agree(&ours[..1], &theirs(&["shop", "100"], &["till", "7.5"])));
    }
}
