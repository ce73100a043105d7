//! `kill -9` right after the last acknowledgement, a start on what is left, and the search for
//! every acknowledged span.

use std::path::Path;

use super::load::Load;
use super::report::Killed;
use super::server::Server;
use crate::cli::{SendArgs, VerifyArgs};
use crate::error::Error;
use crate::{send, verify};

pub(super) async fn measure(icecore: &Path, folder: &Path, load: &Load) -> Result<Killed, Error> {
    let data_dir = folder.join("killed");
    let acked = folder.join("acked");
    let server = Server::start(icecore, &data_dir).await?;
    let arguments = SendArgs { acked: Some(acked.clone()), ..load.send_to(&server) };
    send::run_packed(&arguments, load.packed.clone()).await?;
    server.kill().await?;
    let server = Server::start(icecore, &data_dir).await?;
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
