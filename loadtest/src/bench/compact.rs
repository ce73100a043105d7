//! `icecore store compact` on many small files: its memory, and that no row is lost.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::sleep;

use super::api::Api;
use super::load::{of_density, send_to};
use super::report::Measured;
use super::server::{Flag, Server, quiet};
use super::targets::compact::{MEMORY, WHOLE, WORK};
use super::{Bench, settle, usage};
use crate::error::Error;
use crate::generate::Signal;
use crate::send;

/// Small files, as a busy ingester leaves them.
const FLUSH: [&str; 3] = ["--compaction=false", "--flush-after=1s", "--flush-bytes=16MiB"];

/// All in one hour or two: the most that one merge can be asked for.
const DENSITY: u64 = 100_000;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a command used until it ended.
#[derive(Debug, Default)]
struct Used {
    peak_bytes: u64,
    cpu_seconds: f64,
}

pub(super) async fn measure(bench: &Bench, measured: &mut Measured) -> Result<(), Error> {
    let data_dir = bench.folder.join("compact");
    let flags = FLUSH.map(|flag| Flag::Setting(flag.to_owned()));
    let spans = bench.arguments.compact_spans;
    let server = Server::start(&bench.icecore, &data_dir, &flags).await?;
    let load = of_density(Signal::Traces, spans, bench.arguments.seed, DENSITY);
    let summary = send::run(send_to(&server.grpc, load)).await?;
    let before = settle::wait(&server, spans).await?;
    server.kill().await?;
    bench.tell(&format!("merging {} files", before.files));
    let used = compact(bench, &data_dir).await?;
    let server = Server::start(&bench.icecore, &data_dir, &flags).await?;
    let counted = Api::new(&server.api)?.number("SELECT count(*) FROM spans").await?;
    let after = settle::wait(&server, spans).await?;
    server.kill().await?;
    measured.add(&MEMORY, &[used.peak_bytes as f64 / 1e6]);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    measured.add(
        &WORK,
        &[
            before.files as f64,
            after.files as f64,
            megabytes(before.bucket_bytes),
            megabytes(after.bucket_bytes),
            used.cpu_seconds * 1e6 / spans as f64,
        ],
    );
    measured.add(&WHOLE, &[summary.acked.saturating_sub(counted) as f64]);
    measured.note(summary.to_string());
    measured.check(counted == summary.acked, || {
        format!("of {} acknowledged spans {counted} are there after the merge", summary.acked)
    });
    Ok(())
}

/// Runs it to its end, with an eye on what it uses.
async fn compact(bench: &Bench, data_dir: &Path) -> Result<Used, Error> {
    let failed = |source| Error::Spawn { path: bench.icecore.clone(), source };
    let mut command = quiet(&bench.icecore, "store");
    command.args(["compact", "--log=warn", "--data-dir"]).arg(data_dir);
    let command = command.stdout(Stdio::null()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(failed)?;
    let mut used = Used::default();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if let Some(pid) = child.id() {
            // It may have ended in between: then the last look is what there is.
            used.peak_bytes = usage::peak_bytes(pid).unwrap_or(used.peak_bytes);
            used.cpu_seconds = usage::cpu_seconds(pid).unwrap_or(used.cpu_seconds);
        }
        sleep(LOOK_EVERY).await;
    };
    if status.success() {
        return Ok(used);
    }
    Err(Error::Peer { name: "icecore store compact", said: status.to_string() })
}
