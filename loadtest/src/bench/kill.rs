//! `kill -9` right after the last acknowledgement, a start on what is left, and the search for
//! every acknowledged item.

use super::Bench;
use super::load::Load;
use super::server::Server;
use crate::cli::{SendArgs, VerifyArgs};
use crate::error::Error;
use crate::{send, verify};

/// What was left.
#[derive(Debug, Clone, Default)]
pub(super) struct Killed {
    pub(super) acked: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// From start to readiness, the log of the killed process read back.
    pub(super) ready_seconds: f64,
}

impl Killed {
    pub(super) const fn whole(&self, items: u64) -> bool {
        self.acked == items && self.lost == 0 && self.doubled == 0
    }

    pub(super) fn describe(&self) -> String {
        let Self { acked, lost, doubled, ready_seconds } = self;
        format!(
            "after `kill -9`: {acked} acknowledged, {lost} lost, {doubled} doubled, ready after \
             {ready_seconds:.2} s"
        )
    }
}

pub(super) async fn measure(bench: &Bench, load: &Load) -> Result<Killed, Error> {
    let data_dir = bench.folder.join("killed");
    let acked = bench.folder.join("acked");
    let server = Server::start(&bench.icecore, &data_dir, &[]).await?;
    let arguments = SendArgs { acked: Some(acked.clone()), ..load.send_to(&server.grpc) };
    send::run_packed(&arguments, load.packed.clone()).await?;
    server.kill().await?;
    let server = Server::start(&bench.icecore, &data_dir, &[]).await?;
    let url = server.api.clone();
    let found = verify::run(&VerifyArgs { acked, url }).await?;
    let killed = Killed {
        acked: found.acked as u64,
        lost: found.lost.len() as u64,
        doubled: found.doubled.len() as u64,
        ready_seconds: server.ready_after.as_secs_f64(),
    };
    server.kill().await?;
    Ok(killed)
}
