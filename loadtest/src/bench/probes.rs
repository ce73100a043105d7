//! The agent beside a real nginx: what it costs, what it takes from the requests that it looks at, and that it
//! misses none.
//!
//! Invariant: requests leave at a fixed rate, whatever became of the one before, and their times count from when
//! they were due; the rate is the same with and without the agent, and without it is measured before and after.

mod agent;
mod http;
pub(super) mod long;
mod nginx;
mod sink;

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::api::Metrics;
use super::report::Measured;
use super::targets::Target;
use super::targets::probes::{
    BUDGET, COST, COUNTED, IDLE, LOST, RATE, START, TAIL, WITHIN, WITHIN_LOST,
};
use super::{Bench, usage};
use crate::error::Error;
use agent::Agent;
use http::Answered;
use nginx::Nginx;
use sink::{Come, Sink};

/// Requests a second.
const PER_SECOND: u64 = 5_000;
/// What an agent that was just started still does is not what it does when idle; and the histograms of what was
/// asked so far have come by then.
const SETTLE: Duration = Duration::from_secs(12);
/// The budget of the last stretch, in hundredths of a CPU, and how long it has to find its level.
const PERCENT: f64 = 5.0;
const LEVEL_WITHIN: Duration = Duration::from_secs(15);
/// Looks for a moment in which no call is under way.
const LOOKS_MAX: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(super) async fn measure(bench: &Bench, measured: &mut Measured) -> Result<(), Error> {
    let Some(nginx) = Nginx::start(&bench.folder).await? else {
        measured.note("left out: there is no nginx here");
        return Ok(());
    };
    let lasts = bench.arguments.probes_for;
    let before = http::run(nginx.port, PER_SECOND, lasts).await?;
    let sink = Sink::serve(nginx.port).await?;
    let Some(agent) = Agent::start(binary(bench), &sink, &["--probe-cpu-percent-max=0"]).await?
    else {
        measured.note("left out: probes cannot run here (`icecore doctor` says why)");
        return Ok(());
    };
    starts(bench, &agent, &sink, measured).await?;
    idle(&agent, lasts, measured).await?;
    bench.tell("everything is told");
    let with = whole(&agent, &sink, nginx.port, lasts, measured).await?;
    agent.stop().await?;
    let after = http::run(nginx.port, PER_SECOND, lasts).await?;
    compare(&before, &with, &after, measured);
    bench.tell("as much as the budget allows is told");
    budget(bench, nginx.port, lasts, measured).await
}

/// A node needs the agent alone, which may be built without all else.
fn binary(bench: &Bench) -> &Path {
    bench.arguments.agent.as_ref().unwrap_or(&bench.icecore)
}

/// From the start of the agent to its first span, and from that of a program to its first.
async fn starts(
    bench: &Bench,
    agent: &Agent,
    sink: &Sink,
    measured: &mut Measured,
) -> Result<(), Error> {
    let first = sink.first_span(|| http::ask(sink.port)).await?;
    let agent_seconds = first.duration_since(agent.began).as_secs_f64();
    let began = Instant::now();
    let Some(other) = Nginx::start(&bench.folder.join("other")).await? else { return Ok(()) };
    let spans = sink.watch(other.port);
    let first = spans.first_span(|| http::ask(other.port)).await?;
    let program_seconds = first.duration_since(began).as_secs_f64();
    measured.add(&START, &[agent_seconds, program_seconds]);
    Ok(())
}

async fn idle(agent: &Agent, lasts: Duration, measured: &mut Measured) -> Result<(), Error> {
    sleep(SETTLE).await;
    let (began, before) = (Instant::now(), agent.used().await?);
    sleep(lasts).await;
    let used = agent.used().await? - before;
    let percent = used / began.elapsed().as_secs_f64() * 100.0;
    measured.add(&IDLE, &[percent, usage::resident_bytes(agent.pid)? as f64 / 1e6]);
    Ok(())
}

/// Requests of which each is counted and told, from both ends.
async fn watched(
    sink: &Sink,
    port: u16,
    lasts: Duration,
    measured: &mut Measured,
) -> Result<Answered, Error> {
    let then = sink.come();
    let answered = http::run(port, PER_SECOND, lasts).await?;
    let come = sink.settled(answered.requests, then).await;
    let [served, asked] = come.missed(answered.requests);
    let missed = 2.0 * answered.requests as f64 - come.spans as f64;
    measured.add(&COUNTED, &[served, asked, missed]);
    Ok(answered)
}

/// Both ends of each request are told.
async fn whole(
    agent: &Agent,
    sink: &Sink,
    port: u16,
    lasts: Duration,
    measured: &mut Measured,
) -> Result<Answered, Error> {
    let used = agent.used().await?;
    let answered = watched(sink, port, lasts, measured).await?;
    let used = agent.used().await? - used;
    measured.add(&COST, &[used * 1e6 / answered.requests as f64]);
    // Behind the cost: each look at the figures costs the agent as much as a thousand requests.
    let page = lost(agent, &LOST, measured).await?;
    measured.note(format!(
        "{:.0} ns a call in the kernel; {:.1} % of a CPU in all, {:.0} MB resident",
        page.sum("icecore_probes_kernel_nanoseconds_per_call"),
        used / lasts.as_secs_f64() * 100.0,
        usage::resident_bytes(agent.pid)? as f64 / 1e6,
    ));
    Ok(answered)
}

/// What found no room, and how far the balance is from closing. A call in the very moment of a look has no
/// outcome yet: then it is looked at again.
async fn lost(
    agent: &Agent,
    target: &'static Target,
    measured: &mut Measured,
) -> Result<Metrics, Error> {
    let mut looks = 0;
    loop {
        let page = agent.metrics().await?;
        let refused = page.sum_of("icecore_probes_kernel_pieces_total", "refused");
        let [calls, records] = open(&page);
        looks += 1;
        if looks == LOOKS_MAX || calls == 0.0 && records == 0.0 {
            measured.add(target, &[refused, calls, records]);
            return Ok(page);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Calls that were seen and have no outcome, and pieces that were put into the ring and have none.
fn open(page: &Metrics) -> [f64; 2] {
    let (seen, calls) = ("icecore_probes_calls_seen_total", "icecore_probes_calls_total");
    let (put, read) = ("icecore_probes_kernel_pieces_total", "icecore_probes_pieces_total");
    let calls = page.sum(seen) - page.sum(calls);
    [calls.abs(), (page.sum_of(put, "submitted") - page.sum(read)).abs()]
}

/// The requests with the agent beside those before and after it.
fn compare(before: &Answered, with: &Answered, after: &Answered, measured: &mut Measured) {
    let mean = |of: fn(&Answered) -> f64| f64::midpoint(of(before), of(after));
    measured.add(&RATE, &[with.per_second / mean(|one| one.per_second) * 100.0]);
    let (p50, p99) = (mean(|one| one.p50_ms), mean(|one| one.p99_ms));
    let more = |with: f64, without: f64| (with / without - 1.0) * 100.0;
    measured.add(&TAIL, &[more(with.p99_ms, p99), more(with.p50_ms, p50)]);
    measured.note(format!(
        "p50 / p99 in ms, before: {:.2} / {:.2}, with the agent: {:.2} / {:.2}, after: {:.2} / {:.2}",
        before.p50_ms, before.p99_ms, with.p50_ms, with.p99_ms, after.p50_ms, after.p99_ms
    ));
}

/// The same requests with the budget that ships, averaged over a shorter time so that it is soon used up.
async fn budget(
    bench: &Bench,
    port: u16,
    lasts: Duration,
    measured: &mut Measured,
) -> Result<(), Error> {
    let sink = Sink::serve(port).await?;
    let Some(agent) = Agent::start(binary(bench), &sink, &["--probe-cpu-window=2s"]).await? else {
        return Ok(());
    };
    let first = http::run(port, PER_SECOND, LEVEL_WITHIN).await?;
    let (began, used, spans) = (Instant::now(), agent.used().await?, sink.spans());
    let second = http::run(port, PER_SECOND, lasts).await?;
    let used = (agent.used().await? - used) / began.elapsed().as_secs_f64() * 100.0;
    let told = sink.spans() - spans;
    let requests = first.requests + second.requests;
    let [served, asked] = sink.settled(requests, Come::default()).await.missed(requests);
    measured.add(&BUDGET, &[used, used / PERCENT]);
    let share = told as f64 / 2.0 / second.requests as f64 * 100.0;
    measured.add(&WITHIN, &[served, asked, share]);
    lost(&agent, &WITHIN_LOST, measured).await?;
    agent.stop().await
}

#[cfg(test)]
mod tests;
