//! The agent beside a real nginx for minutes: that it misses nothing, and holds no more in the end.
//!
//! Invariant: what it holds is looked at after the first tenth of the time, when all that grows with the load has, and at the
//! end of it.

use tokio::time::sleep;

use super::agent::Agent;
use super::nginx::Nginx;
use super::sink::Sink;
use super::{SETTLE, binary, lost, watched};
use crate::bench::report::Measured;
use crate::bench::targets::probes::{HELD, LOST};
use crate::bench::{Bench, usage};
use crate::error::Error;

pub(in super::super) async fn measure(bench: &Bench, measured: &mut Measured) -> Result<(), Error> {
    let Some(nginx) = Nginx::start(&bench.folder).await? else {
        measured.note("left out: there is no nginx here");
        return Ok(());
    };
    let sink = Sink::serve(nginx.port).await?;
    let Some(agent) = Agent::start(binary(bench), &sink, &["--probe-cpu-percent-max=0"]).await?
    else {
        measured.note("left out: probes cannot run here (`icecore doctor` says why)");
        return Ok(());
    };
    sleep(SETTLE).await;
    let lasts = bench.arguments.probes_long_for;
    let pid = agent.pid;
    let early = tokio::spawn(async move {
        sleep(lasts / 10).await;
        usage::resident_bytes(pid)
    });
    let answered = watched(&sink, nginx.port, lasts, measured).await?;
    lost(&agent, &LOST, measured).await?;
    let early = early.await.map_err(Error::Task)?? as f64;
    let held = usage::resident_bytes(pid)? as f64;
    measured.add(&HELD, &[held / early * 100.0]);
    let [early, held] = [early, held].map(|bytes| bytes / 1e6);
    let (requests, per_second, p99) = (answered.requests, answered.per_second, answered.p99_ms);
    measured.note(format!("{requests} requests, {per_second:.0} a second, p99 {p99:.2} ms"));
    measured
        .note(format!("{early:.0} MB resident after a tenth of the time, {held:.0} MB in the end"));
    agent.stop().await
}
