//! A store of many hours: made by sending, or as it was left, then looked at from a cold start on.

mod made;
mod questions;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::api::{Api, spans};
use super::duckdb::{self, agree};
use super::queries::{Question, ask, within};
use super::remote::{PageCache, Remote};
use super::report::Measured;
use super::server::{Server, quiet};
use super::targets::large::{
    AGREED, COLD_GETS, COUNT_SHARE, FIRST_ROW, INDEX, MEMORY, PERCENTILE_SHARE, RATE,
    REMOTE_REQUESTS, REMOTE_TIME, REMOTE_WAVES, SEARCH_SHARE, SPANS, START, STORED, TRACE,
};
use super::{Bench, settle};
use crate::error::Error;
use made::Made;
use questions::Questions;

/// Traces that are asked for right after a start, when nothing is cached.
const COLD: usize = 20;

/// Searches, each over another hour.
const SEARCHES: usize = 40;

/// How often a question is asked of Icecore and of DuckDB.
const TIMES: usize = 7;

pub(super) async fn measure(bench: &Bench, measured: &mut Measured) -> Result<(), Error> {
    let folder = bench.arguments.keep.clone().unwrap_or_else(|| bench.folder.join("large"));
    let made = made::made(bench, &folder).await?;
    let megabyte = 1e6;
    measured.add(&SPANS, &[made.spans as f64 / 1e6]);
    measured.add(&RATE, &[made.rate / 1e3, made.cpu_seconds * 1e6 / made.spans as f64]);
    measured.add(&STORED, &[made.bucket_bytes as f64 / made.spans as f64, made.files as f64]);
    measured.add(&MEMORY, &[made.peak_bytes as f64 / megabyte]);
    measured.note(format!("{}; idle {:.0} s later", made.summary, made.settle_seconds));

    let data_dir = folder.join("data");
    starts(bench, &data_dir, measured).await?;
    let server = Server::start(&bench.icecore, &data_dir, &[]).await?;
    let api = Api::new(&server.api)?;
    let known_after = settle::know_traces(&api).await?;
    measured.note(format!("traces of all files known {:.0} s later", known_after.as_secs_f64()));
    let near = cold(&api, &made, measured).await?;
    let counted = api.number("SELECT count(*) FROM spans").await?;
    measured.check(counted == made.spans, || format!("of {} spans {counted} counted", made.spans));
    let traces: Vec<Question> =
        made.asked.iter().map(|(id, spans)| Question::Trace(id.clone(), *spans)).collect();
    let trace = ask(&server, &traces.iter().collect::<Vec<_>>()).await?;
    measured.add(&TRACE, &[trace.p50_ms, trace.p99_ms, trace.cpu_ms]);
    measured.note(trace.describe("trace by id"));
    measured.check(trace.whole(), || trace.describe("trace by id"));
    let questions = Questions::new(&made);
    first_rows(&api, &questions, measured).await?;
    let ours = timed(&api, &questions).await?;
    server.kill().await?;

    beside_duckdb(bench, &data_dir, &questions, &ours, measured).await?;
    // A folder is asked piece by piece, which says little of a bucket.
    let far = slow_bucket(bench, &data_dir, &made, &questions, measured).await?;
    let gets = far.unwrap_or(near);
    let most = gets.iter().copied().fold(0.0, f64::max);
    measured.add(&COLD_GETS, &[gets.iter().sum::<f64>() / gets.len().max(1) as f64, most]);
    Ok(())
}

/// Starts with the index as it was left, and with none.
async fn starts(bench: &Bench, data_dir: &Path, measured: &mut Measured) -> Result<(), Error> {
    bench.tell("starting with the index, and without");
    let index = data_dir.join("index");
    measured.add(&INDEX, &[settle::bytes_under(&index, "") as f64 / 1e6]);
    let whole = Server::start(&bench.icecore, data_dir, &[]).await?;
    let with = whole.ready_after;
    whole.kill().await?;
    std::fs::remove_dir_all(&index).map_err(|source| Error::File {
        action: "remove",
        path: index,
        source,
    })?;
    let without = Server::start(&bench.icecore, data_dir, &[]).await?;
    let after = without.ready_after;
    without.kill().await?;
    measured.add(&START, &[with.as_secs_f64(), after.as_secs_f64()]);
    Ok(())
}

/// What is read for each of some traces, the first that their files are read for.
async fn cold(api: &Api, made: &Made, measured: &mut Measured) -> Result<Vec<f64>, Error> {
    let mut gets = Vec::new();
    let step = (made.asked.len() / COLD).max(1);
    for (id, wanted) in made.asked.iter().step_by(step).take(COLD) {
        let before = requests(api).await?;
        let found = spans(&api.trace(id).await?);
        gets.push(requests(api).await? - before);
        measured.check(found == *wanted, || format!("trace {id} has {found} of {wanted} spans"));
    }
    Ok(gets)
}

/// What was read from the bucket so far.
async fn requests(api: &Api) -> Result<f64, Error> {
    Ok(api.metrics().await?.sum_of("icecore_store_requests_total", "kind=\"get\""))
}

async fn first_rows(
    api: &Api,
    questions: &Questions,
    measured: &mut Measured,
) -> Result<(), Error> {
    let mut took = Vec::new();
    for hour in 0..SEARCHES {
        took.push(api.stream(&questions.search(hour)).await?.first_row);
    }
    let millis = |share, took: &mut [Duration]| within(took, share).as_secs_f64() * 1e3;
    measured.add(&FIRST_ROW, &[millis(50, &mut took), millis(99, &mut took)]);
    Ok(())
}

/// One of Icecore's answers.
#[derive(Debug)]
struct Ours {
    seconds: f64,
    rows: Vec<serde_json::Value>,
    count: u64,
}

/// Each question, once and then some times more.
async fn timed(api: &Api, questions: &Questions) -> Result<Vec<Ours>, Error> {
    let mut answers = Vec::new();
    for query in questions.ours() {
        let answer = api.sql(&query).await?;
        let rows = answer["rows"].as_array().cloned().unwrap_or_default();
        let mut took = Vec::new();
        for _ in 0..TIMES {
            took.push(api.stream(&query).await?.all);
        }
        let seconds = within(&mut took, 50).as_secs_f64();
        answers.push(Ours { seconds, count: rows.len() as u64, rows });
    }
    Ok(answers)
}

async fn beside_duckdb(
    bench: &Bench,
    data_dir: &Path,
    questions: &Questions,
    ours: &[Ours],
    measured: &mut Measured,
) -> Result<(), Error> {
    let Some(python) = duckdb::python(&bench.arguments.cache()).await else {
        measured
            .note("skipped: no Python with DuckDB in the cache folder; `./dev test` installs it");
        return Ok(());
    };
    let files = files(bench, data_dir).await?;
    bench.tell(&format!("the same questions to DuckDB, over {} files", files.len()));
    let mut theirs = duckdb::ask(&python, &files, &questions.theirs(), TIMES).await?;
    let bounds = duckdb::ask(&python, &files, &[questions.bounds()], 0).await?;
    // What the percentiles must be between stands in for DuckDB's own, which are approximate too.
    for (answered, bounds) in theirs.iter_mut().skip(2).zip(bounds) {
        answered.rows = bounds.rows;
    }
    let mut agreed = 0;
    let names = ["search", "count", "p99"];
    let targets = [&SEARCH_SHARE, &COUNT_SHARE, &PERCENTILE_SHARE];
    for (((name, target), ours), theirs) in names.iter().zip(targets).zip(ours).zip(&theirs) {
        measured.add(target, &[ours.seconds / theirs.seconds]);
        measured.note(format!(
            "{name}: {:.1} ms, DuckDB {:.1} ms, {} rows",
            ours.seconds * 1e3,
            theirs.seconds * 1e3,
            ours.count
        ));
        let same = match *name {
            "search" => ours.count == theirs.count,
            _ => agree(&ours.rows, &theirs.rows),
        };
        agreed += u64::from(same);
        measured
            .check(same, || format!("{name}: {:?} is not DuckDB's {:?}", ours.rows, theirs.rows));
    }
    measured.add(&AGREED, &[100.0 * agreed as f64 / names.len() as f64]);
    Ok(())
}

/// The files of spans that count.
async fn files(bench: &Bench, data_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut command = quiet(&bench.icecore, "store");
    command.args(["files", "--log=error", "--data-dir"]).arg(data_dir);
    let output = command.output().await;
    let output = output.map_err(|source| Error::Spawn { path: bench.icecore.clone(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Peer { name: "icecore store files", said });
    }
    let bucket = data_dir.join("bucket");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let named =
        text.lines().filter_map(|line| line.find("data/spans/").map(|at| line.split_at(at)));
    Ok(named.map(|(_, path)| bucket.join(path)).collect())
}

/// The same files behind a bucket that answers late; the requests that each cold trace took, where
/// there is such a bucket.
async fn slow_bucket(
    bench: &Bench,
    data_dir: &Path,
    made: &Made,
    questions: &Questions,
    measured: &mut Measured,
) -> Result<Option<Vec<f64>>, Error> {
    let Some(remote) = Remote::start(bench, data_dir, PageCache::Off).await? else {
        measured.note("skipped: no s3s-fs in the cache folder; `./dev test` installs it");
        return Ok(None);
    };
    bench.tell("the same questions over a slow bucket");
    let mut cold = Vec::new();
    for (id, wanted) in made.asked.iter().rev().take(COLD / 2) {
        let asked = remote.trace(id).await?;
        measured.check(asked.rows == *wanted, || {
            format!("slow bucket: trace {id} has {} of {wanted} spans", asked.rows)
        });
        cold.push(asked);
    }
    let [search, _, percentile] = questions.ours();
    let (mut files, mut waves, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for (name, query) in [("search", search), ("p99 over 24 h", percentile)] {
        let first = remote.sql(&query).await?;
        let again = remote.sql(&query).await?;
        files.push(again.requests_a_file());
        waves.push(again.waves as f64);
        times.push(again.seconds);
        measured.note(format!(
            "slow bucket, {name}: {}; at first {}",
            again.describe(),
            first.describe()
        ));
    }
    let mean = |of: fn(&super::remote::Asked) -> f64| {
        cold.iter().map(of).sum::<f64>() / cold.len().max(1) as f64
    };
    waves.push(mean(|asked| asked.waves as f64));
    times.push(mean(|asked| asked.seconds));
    measured.note(format!(
        "slow bucket, cold trace: {:.1} requests for {:.1} files on average",
        mean(|asked| asked.requests as f64),
        mean(|asked| asked.files as f64)
    ));
    measured.add(&REMOTE_REQUESTS, &files);
    measured.add(&REMOTE_WAVES, &waves);
    measured.add(&REMOTE_TIME, &times);
    remote.stop().await?;
    kept(bench, data_dir, questions, measured).await?;
    Ok(Some(cold.iter().map(|asked| asked.requests as f64).collect()))
}

/// The same questions where what is fetched is kept on local disk: what each asks of the bucket at first, and
/// when it is asked again.
async fn kept(
    bench: &Bench,
    data_dir: &Path,
    questions: &Questions,
    measured: &mut Measured,
) -> Result<(), Error> {
    let Some(remote) = Remote::start(bench, data_dir, PageCache::On).await? else { return Ok(()) };
    let [search, _, percentile] = questions.ours();
    for (name, query) in [("search", search), ("p99 over 24 h", percentile)] {
        let first = remote.sql(&query).await?;
        let again = remote.sql(&query).await?;
        measured.note(format!(
            "slow bucket with a page cache, {name}: at first {}; again {}",
            first.describe(),
            again.describe()
        ));
        measured.check(again.requests == 0, || {
            format!("{name} asked again: {} requests to the bucket", again.requests)
        });
    }
    remote.stop().await
}
