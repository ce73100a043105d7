//! Takes a packed load in, and waits until nothing is left to do.

use super::load::Load;
use super::server::Server;
use super::{settle, usage};
use crate::error::Error;
use crate::send;

/// What it took.
#[derive(Debug, Clone, Default)]
pub(super) struct Ingested {
    pub(super) acked: u64,
    /// What the sender says, in one line.
    pub(super) summary: String,
    /// CPU time of the server from before the first request to after the last acknowledgement.
    pub(super) ack_cpu_seconds: f64,
    /// The same until all was flushed and merged and the server idle.
    pub(super) all_cpu_seconds: f64,
    pub(super) settle_seconds: f64,
    /// Files that count, and the catalog.
    pub(super) bucket_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) peak_bytes: u64,
}

impl Ingested {
    pub(super) fn describe(&self) -> Vec<String> {
        vec![
            format!("sender: {}", self.summary),
            format!(
                "CPU: {:.2} s to the last acknowledgement, {:.2} s until idle, {:.1} s later; peak \
                 memory {:.0} MB",
                self.ack_cpu_seconds,
                self.all_cpu_seconds,
                self.settle_seconds,
                self.peak_bytes as f64 / 1e6
            ),
        ]
    }
}

/// Sends the load; ids of what was acknowledged go to `acked` where it is given.
pub(super) async fn measure(
    server: &Server,
    load: &Load,
    acked: Option<std::path::PathBuf>,
) -> Result<Ingested, Error> {
    let before = usage::cpu_seconds(server.pid)?;
    let arguments = crate::cli::SendArgs { acked, ..load.send_to(&server.grpc) };
    let summary = send::run_packed(&arguments, load.packed.clone()).await?;
    let at_ack = usage::cpu_seconds(server.pid)?;
    let settled = settle::wait(server, load.items).await?;
    Ok(Ingested {
        acked: summary.acked,
        summary: summary.to_string(),
        ack_cpu_seconds: at_ack - before,
        all_cpu_seconds: settled.cpu_seconds - before,
        settle_seconds: settled.after.as_secs_f64(),
        bucket_bytes: settled.bucket_bytes,
        written_bytes: usage::written_bytes(server.pid)?,
        peak_bytes: usage::peak_bytes(server.pid)?,
    })
}
