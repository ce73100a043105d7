//! Other engines read the files as they are.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value as Json, json};

use super::generate::Generator;
use super::load;
use super::*;

/// What both engines are asked, as JSON on standard output: the types of some columns, and figures
/// over all rows.
const SCRIPT: &str = r#"
import json, sys
import duckdb, pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
path, time, folder = sys.argv[1:4]
def nanos(us, ns): return us * 1000 + ns
table = pq.read_table(path, partitioning=None)
us, ns = table[time].cast(pa.int64()).to_pylist(), table[time + "_ns"].to_pylist()
arrow = {
    "rows": table.num_rows,
    "times": [str(n) for n in sorted(nanos(*pair) for pair in zip(us, ns))],
    "services": sorted(table["service_name"].to_pylist()),
    "attributes": sorted(x or "" for x in table["attributes"].to_pylist()),
    "time_type": str(table.schema.field(time).type),
    "text_type": str(table.schema.field("service_name").type),
}
db = duckdb.connect()
db.execute("set timezone = 'UTC'")
got = db.execute(f"""
    select epoch_us("{time}"), "{time}_ns", service_name, coalesce(attributes, '')
    from read_parquet('{folder}/**/*.parquet', hive_partitioning = true)
    where date is not null and hour is not null
""").fetchall()
duck = {
    "rows": len(got),
    "times": [str(n) for n in sorted(nanos(row[0], row[1]) for row in got)],
    "services": sorted(row[2] for row in got),
    "attributes": sorted(row[3] for row in got),
}
# Every column is read, nested ones too.
db.execute(f"select count(*), max(hash(t)) from read_parquet('{path}') t").fetchall()
print(json.dumps({"arrow": arrow, "duck": duck}))
"#;

/// The Python of the cache folder; `None`, said aloud, where it is not installed.
fn python() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/icecore"));
    let cache = std::env::var_os("ICECORE_CACHE").map(PathBuf::from).or_else(home)?;
    let python = cache.join("venv/bin/python");
    let checked = Command::new(&python).args(["-c", "import duckdb, pyarrow"]).output();
    if checked.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {} has no duckdb and pyarrow", python.display());
    None
}

fn ask(python: &PathBuf, script: &str, arguments: &[&str]) -> Json {
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Writes a file under its own path below a folder, and returns where it is.
fn place(file: &WrittenFile, folder: &tempfile::TempDir) -> String {
    let path = folder.path().join(file.entry.path());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, &file.bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Scenario: random rows of each table, with extreme times and all sorts of texts, in many row
/// groups, read by pyarrow and by DuckDB through a glob over Hive-style paths.
/// Guarantees: the same rows, times to the nanosecond, plain types.
#[test]
fn duckdb_and_pyarrow_read_the_same_rows() {
    let Some(python) = python() else { return };
    for (seed, table) in (500..).zip(Table::ALL) {
        let mut generator = Generator::new(seed);
        let batches: Vec<_> = (0..3).map(|_| generator.batch(table, 300)).collect();
        let file = written(table, batches, 200);
        let folder = tempfile::tempdir().unwrap();
        let path = place(&file, &folder);
        let root = folder.path().to_str().unwrap();
        let mut got = ask(&python, SCRIPT, &[&path, table.time_column(), root]);
        let types = |got: &mut Json, name: &str| got["arrow"].as_object_mut().unwrap().remove(name);
        assert_eq!(types(&mut got, "time_type"), Some(json!("timestamp[us, tz=UTC]")));
        assert_eq!(types(&mut got, "text_type"), Some(json!("string")));
        let expected = figures(table, &file);
        assert_eq!(got["arrow"], expected, "pyarrow, {table}");
        assert_eq!(got["duck"], expected, "DuckDB, {table}");
    }
}

/// The same figures from our own reading.
fn figures(table: Table, file: &WrittenFile) -> Json {
    use arrow::array::AsArray;
    use arrow::datatypes::TimestampNanosecondType;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rows = runtime.block_on(all_rows(file));
    let mut times: Vec<i64> = Vec::new();
    let (mut services, mut attributes) = (Vec::new(), Vec::new());
    for batch in &rows {
        let column = batch.column_by_name(table.time_column()).unwrap();
        times.extend(column.as_primitive::<TimestampNanosecondType>().values());
        services.extend(load::column_texts(batch, "service_name"));
        attributes.extend(load::column_texts(batch, "attributes"));
    }
    times.sort_unstable();
    services.sort_unstable();
    let mut attributes: Vec<String> =
        attributes.into_iter().map(Option::unwrap_or_default).collect();
    attributes.sort_unstable();
    json!({
        "rows": file.entry.rows,
        "times": times.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "services": services,
        "attributes": attributes,
    })
}

/// Scenario: figures over ordinary spans by DuckDB, by attribute columns and pruned by service.
/// Guarantees: they are what our own projection says.
#[test]
fn duckdb_agrees_on_attributes() {
    let Some(python) = python() else { return };
    let batches = load::spans(20_000, 300);
    let expected: u64 = batches
        .iter()
        .flat_map(|batch| load::column_texts(batch, "attributes.client.address"))
        .filter(|address| address.as_deref() == Some("10.0.1.1"))
        .count() as u64;
    let file = written(Table::Spans, batches, 8_000);
    let folder = tempfile::tempdir().unwrap();
    let path = place(&file, &folder);
    let script = r#"
import sys, json, duckdb
one = lambda sql: duckdb.sql(sql.replace("T", f"read_parquet('{sys.argv[1]}')")).fetchall()[0][0]
print(json.dumps([
  one("""select count(*) from T where "attributes.client.address" = '10.0.1.1'"""),
  one("""select count(distinct trace_id) from T"""),
  one("""select count(*) from T where duration_ns != epoch_ns(end_time) + end_time_ns
         - epoch_ns(start_time) - start_time_ns"""),
]))"#;
    assert!(expected > 0);
    assert_eq!(ask(&python, script, &[&path]), json!([expected, 2_500, 0]));
}
