//! Measures an Icecore of its own, part by part, and sets the figures beside what they must be.
//!
//! Invariant: what is sent is made and packed before anything is timed or, where it is more than
//! memory holds, by a thread that is faster than the server; what is compared with each other was
//! measured in the same run. A figure of a run in which something was lost is still printed, but the
//! run fails, and so it does where a part did not come to its end.

mod api;
mod compact;
mod duckdb;
mod engine;
mod flat;
mod ingest;
mod kill;
mod known;
mod large;
mod load;
mod machine;
mod probes;
mod queries;
mod remote;
mod report;
mod server;
mod settle;
mod signals;
mod sustained;
mod targets;
mod usage;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::cli::{BenchArgs, Part};
use crate::error::Error;
use report::{Measured, Report, Section};

/// What every part is given.
#[derive(Debug)]
struct Bench {
    arguments: BenchArgs,
    icecore: PathBuf,
    /// Where a part may put its data.
    folder: PathBuf,
    began: Instant,
}

impl Bench {
    /// Says how far it is, on standard error.
    fn tell(&self, text: &str) {
        let seconds = self.began.elapsed().as_secs();
        drop(writeln!(std::io::stderr(), "[{seconds:>5} s] {text}"));
    }
}

/// Measures all parts, each within the time given, and writes both reports.
pub(crate) async fn run(arguments: BenchArgs) -> Result<Report, Error> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let machine = machine::describe();
    let icecore = binary(&arguments)?;
    let mut report = Report { machine, runs: 0, parts: Vec::new() };
    report.runs = usize::try_from(arguments.runs).unwrap_or(1);
    let out = arguments.out.clone();
    let folder = Folder::make(&out)?;
    let bench = Bench { arguments, icecore, folder: folder.0.clone(), began: Instant::now() };
    for part in bench.arguments.parts() {
        let section = tokio::select! {
            section = section(&bench, part) => section,
            _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted),
        };
        report.parts.push(section);
        // After each part, so that what was measured is there whatever becomes of the rest.
        let json = serde_json::to_string_pretty(&report).map_err(Error::Json)?;
        write(&out.join("bench.json"), &json)?;
        write(&out.join("bench.md"), &report.to_string())?;
    }
    Ok(report)
}

/// Measures one part as often as is wanted; a failure is told in the report, beside what was
/// measured before, and ends the part.
async fn section(bench: &Bench, part: Part) -> Section {
    let began = Instant::now();
    let mut runs = Vec::new();
    for run in 1..=bench.arguments.runs {
        bench.tell(&format!("{}, run {run} of {}", part.title(), bench.arguments.runs));
        // A load that is to last for so long does not use up what the rest may take.
        let lasts = match part {
            Part::Sustained => bench.arguments.sustained_for,
            Part::ProbesLong => bench.arguments.probes_long_for,
            _ => Duration::ZERO,
        };
        let limit = bench.arguments.give_up_after + lasts;
        let mut measured = Measured::default();
        let ended = timeout(limit, measure(bench, part, &mut measured)).await;
        let ended = ended.unwrap_or(Err(Error::TooLong { seconds: limit.as_secs() }));
        // Whatever a run left on the disk must not weigh on the next.
        drop(std::fs::remove_dir_all(&bench.folder));
        let failed = ended.map_err(|error| error.chain()).err();
        failed.iter().for_each(|fault| bench.tell(fault));
        measured.faults.extend(failed.clone());
        runs.push(measured);
        if failed.is_some() {
            break;
        }
    }
    Section::new(part, began.elapsed().as_secs_f64(), runs)
}

async fn measure(bench: &Bench, part: Part, measured: &mut Measured) -> Result<(), Error> {
    let folder = &bench.folder;
    std::fs::create_dir_all(folder).map_err(|source| Error::File {
        action: "make",
        path: folder.clone(),
        source,
    })?;
    // Boxed: the parts' futures hold whole loads, and only one of them is alive at a time.
    match part {
        Part::Engine => Box::pin(engine::measure(bench, measured)).await,
        Part::Flat => Box::pin(flat::measure(bench, measured)).await,
        Part::Metrics | Part::Logs => Box::pin(signals::measure(bench, part, measured)).await,
        Part::Sustained => Box::pin(sustained::measure(bench, measured)).await,
        Part::Large => Box::pin(large::measure(bench, measured)).await,
        Part::Compact => Box::pin(compact::measure(bench, measured)).await,
        Part::Probes => Box::pin(probes::measure(bench, measured)).await,
        Part::ProbesLong => Box::pin(probes::long::measure(bench, measured)).await,
    }
}

/// The binary to measure: as given, or beside this one.
fn binary(arguments: &BenchArgs) -> Result<PathBuf, Error> {
    if let Some(path) = &arguments.icecore {
        return Ok(path.clone());
    }
    let own = std::env::current_exe();
    let own =
        own.map_err(|source| Error::File { action: "find", path: "icecore".into(), source })?;
    Ok(own.with_file_name("icecore"))
}

/// A folder for the data, gone with the run.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn make(out: &Path) -> Result<Self, Error> {
        let path = out.join(format!("data-{}", std::process::id()));
        match std::fs::create_dir_all(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(Error::File { action: "make", path, source }),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays under the folder of the reports, where it is seen.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let written = std::fs::write(path, text);
    written.map_err(|source| Error::File { action: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
