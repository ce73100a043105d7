//! Measures an Icecore of its own under the standard load.
//!
//! Invariant: the load is made and packed before anything is timed, and what is compared with each
//! other was measured in the same run. A figure of a run in which something was lost is still
//! printed, but the run fails.

mod baselines;
mod kill;
mod load;
mod machine;
mod queries;
mod report;
mod server;
mod settle;
mod usage;

use std::path::{Path, PathBuf};

use crate::cli::BenchArgs;
use crate::error::Error;
use crate::send;
use load::Load;
use report::{Ingested, Report};
use server::Server;

/// Measures all, within the time given, and writes both reports.
pub(crate) async fn run(arguments: BenchArgs) -> Result<Report, Error> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let report = tokio::select! {
        report = tokio::time::timeout(arguments.give_up_after, measure(&arguments)) => {
            let seconds = arguments.give_up_after.as_secs();
            report.map_err(|_elapsed| Error::TooLong { seconds })??
        }
        _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted),
    };
    let json = serde_json::to_string_pretty(&report).map_err(Error::Json)?;
    write(&arguments.out.join("bench.json"), &json)?;
    write(&arguments.out.join("bench.md"), &report.to_string())?;
    Ok(report)
}

async fn measure(arguments: &BenchArgs) -> Result<Report, Error> {
    let icecore = binary(arguments)?;
    let folder = Folder::make(&arguments.out)?;
    let machine = machine::describe();
    let load = Load::make(arguments).await?;
    let mut decodes = load.prost_seconds().await?;

    let server = Server::start(&icecore, &folder.0.join("measured")).await?;
    let ingested = ingest(&server, &load).await?;
    let queried = queries::measure(&server, &load).await?;
    let peak_bytes = usage::peak_bytes(server.pid)?;
    server.kill().await?;

    // Once more, so that a machine that became slower meanwhile is seen in both.
    decodes.extend(load.prost_seconds().await?);
    let killed = kill::measure(&icecore, &folder.0, &load).await?;
    Ok(Report::new(machine, load.figures, &decodes, ingested, queried, peak_bytes, killed))
}

/// Sends the load, waits until all is in the bucket and nothing is left to do.
async fn ingest(server: &Server, load: &Load) -> Result<Ingested, Error> {
    let before = usage::cpu_seconds(server.pid)?;
    let summary = send::run_packed(&load.send_to(server), load.packed.clone()).await?;
    let at_ack = usage::cpu_seconds(server.pid)?;
    let settled = settle::wait(server, load.figures.spans).await?;
    Ok(Ingested {
        acked: summary.acked,
        summary: summary.to_string(),
        ack_seconds: summary.elapsed.as_secs_f64(),
        ack_p50_ms: summary.within(0.5).as_secs_f64() * 1e3,
        ack_p99_ms: summary.within(0.99).as_secs_f64() * 1e3,
        ack_cpu_seconds: at_ack - before,
        all_cpu_seconds: settled.cpu_seconds - before,
        settle_seconds: settled.after.as_secs_f64(),
        bucket_bytes: settled.bucket_bytes,
        written_bytes: usage::written_bytes(server.pid)?,
        peak_bytes: usage::peak_bytes(server.pid)?,
    })
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
