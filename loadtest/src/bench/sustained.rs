//! Load for a while: what full rate is and what a query over the last minute takes of it; then 60 %
//! of that rate, with an eye on memory, on the slowest request, and on how soon SQL sees a row.
//!
//! Invariant: a rate is of rows that were stored. What was acknowledged and only waits longer at the
//! end than at the beginning is not counted, so that nobody is fast on credit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::api::Api;
use super::known::hex;
use super::load::{self, Load, of_density, standard};
use super::queries::within;
use super::report::Measured;
use super::server::Server;
use super::targets::sustained::{
    GROWTH, KEPT_UP, MEMORY, QUERY_COST, QUERY_TIME, RATE, SEEN, SLOWEST,
};
use super::{Bench, usage};
use crate::cli::{self, Compression, Protocol, SendArgs};
use crate::error::Error;
use crate::generate::{Request, Signal, Stamp, requests};
use crate::send::{self, Packed, Summary};

/// Spans that are made before, and sent again and again as new ones.
const POOL_SPANS: u64 = 150_000;

/// Of the peak.
const SHARE: f64 = 0.6;

/// Requests that are stamped ahead of the sender.
const AHEAD: usize = 16;

/// A dashboard's pause between two looks at the last minute.
const QUERY_EVERY: Duration = Duration::from_secs(5);

const LAST_MINUTE: &str = "SELECT service_name, count(*), approx_percentile_cont(duration_ns, 0.99) \
    FROM spans WHERE start_time >= now() - INTERVAL '1 minute' GROUP BY service_name";

/// Rows that are acknowledged and not stored, and files that are named.
const WAITING: &str = "icecore_ingest_live_rows";
const FILES: &str = "icecore_store_files";

/// How often a row is sent and looked for.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

const LOOK_AT_MEMORY_EVERY: Duration = Duration::from_millis(500);

/// A row that SQL does not see for so long is taken for lost.
const UNSEEN_MAX: Duration = Duration::from_secs(20);

pub(super) async fn measure(bench: &Bench, measured: &mut Measured) -> Result<(), Error> {
    let pool = Pool::make(bench.arguments.seed).await?;
    let lasts = bench.arguments.sustained_for;
    let peak = full_rate(bench, &pool, lasts, measured).await?;
    kept_up(bench, &pool, peak * SHARE, lasts, measured).await?;
    measured.rows.push(RATE.row(&[peak, peak * SHARE]));
    // The rates explain all else.
    measured.rows.rotate_right(1);
    Ok(())
}

/// Flat out, with queries, and flat out again: the peak, and what the queries took of it.
async fn full_rate(
    bench: &Bench,
    pool: &Arc<Pool>,
    lasts: Duration,
    measured: &mut Measured,
) -> Result<f64, Error> {
    let server = Server::start(&bench.icecore, &bench.folder.join("full-rate"), &[]).await?;
    let each = (lasts / 4).clamp(Duration::from_secs(2), Duration::from_secs(30));
    // Files, caches and the log are as they will be before anything counts.
    pool.feed(&server, 0, each / 2).await?;
    bench.tell(&format!("flat out, three times {} s", each.as_secs()));
    let api = Api::new(&server.api)?;
    let first = pool.stretch(&server, &api, each).await?;
    let asked = AbortOnDropHandle::new(tokio::spawn(ask_until(Api::new(&server.api)?, each)));
    let disturbed = pool.stretch(&server, &api, each).await?;
    let Asked { mut took, partial } = asked.await.map_err(Error::Task)??;
    let again = pool.stretch(&server, &api, each).await?;
    server.kill().await?;
    let peak = f64::midpoint(first.rate(), again.rate());
    measured.add(&QUERY_COST, &[100.0 * (1.0 - disturbed.rate() / peak)]);
    let most = within(&mut took, 100).as_secs_f64();
    measured.add(&QUERY_TIME, &[within(&mut took, 50).as_secs_f64(), most]);
    for (what, stretch) in
        [("flat out", &first), ("with a query every 5 s", &disturbed), ("flat out again", &again)]
    {
        measured.note(format!("{what}: {stretch}"));
        measured.check(stretch.summary.complete(), || format!("{what}: {stretch}"));
    }
    measured.note(format!("{} queries over the last minute", took.len()));
    measured
        .check(partial == 0, || format!("{partial} of these queries had only a part of the rows"));
    Ok(peak)
}

/// Queries over the last minute.
#[derive(Debug, Default)]
struct Asked {
    took: Vec<Duration>,
    /// Those whose answer said that it is not whole.
    partial: usize,
}

async fn ask_until(api: Api, lasts: Duration) -> Result<Asked, Error> {
    let end = Instant::now() + lasts;
    let mut asked = Asked::default();
    while Instant::now() < end {
        let began = Instant::now();
        let answer = api.sql(LAST_MINUTE).await?;
        asked.took.push(began.elapsed());
        let whole = answer["stats"]["incomplete"].as_array().is_some_and(Vec::is_empty);
        asked.partial += usize::from(!whole);
        sleep_until((began + QUERY_EVERY).min(end)).await;
    }
    Ok(asked)
}

/// The sustained load.
async fn kept_up(
    bench: &Bench,
    pool: &Arc<Pool>,
    wanted: f64,
    lasts: Duration,
    measured: &mut Measured,
) -> Result<(), Error> {
    let server = Server::start(&bench.icecore, &bench.folder.join("sustained"), &[]).await?;
    bench.tell(&format!("{wanted:.0} spans a second for {} s", lasts.as_secs()));
    let pid = server.pid;
    let held = AbortOnDropHandle::new(tokio::spawn(memory_of_sixths(pid, lasts)));
    let probe = Probe { api: Api::new(&server.api)?, grpc: server.grpc.clone() };
    let seen = AbortOnDropHandle::new(tokio::spawn(probe.run_until(Instant::now() + lasts)));
    let summary = pool.feed(&server, super::settle::whole(wanted), lasts).await?;
    let (mut seen, unseen) = seen.await.map_err(Error::Task)??;
    let sixths = held.await.map_err(Error::Task)??;
    let [first, second, .., last] = &sixths;
    let peak = usage::peak_bytes(pid)? as f64;
    let own_peak = last.peak_so_far;
    server.kill().await?;
    measured.add(&KEPT_UP, &[100.0 * rate(&summary) / wanted]);
    measured.add(&MEMORY, &[peak / 1e6]);
    let of = |now: f64, before: f64| 100.0 * now / before.max(1.0);
    measured.add(&GROWTH, &[of(last.median, second.median), of(own_peak, first.peak_so_far)]);
    measured.add(&SLOWEST, &[summary.within(1.0).as_secs_f64()]);
    let median = within(&mut seen, 50).as_secs_f64();
    measured.add(&SEEN, &[median, within(&mut seen, 100).as_secs_f64()]);
    measured.note(format!("sustained for {:.0} s: {summary}", summary.elapsed.as_secs_f64()));
    let all = |of: fn(&Memory) -> f64| {
        let megabytes = |sixth| format!("{:.0}", of(sixth) / 1e6);
        sixths.iter().map(megabytes).collect::<Vec<_>>().join(", ")
    };
    measured.note(format!(
        "median memory of each sixth, MB: {}; pages of files beside it: {}",
        all(|sixth| sixth.median),
        all(|sixth| sixth.files)
    ));
    measured.note(format!("{} rows sent alone and looked for by SQL", seen.len()));
    measured.check(summary.complete(), || format!("sustained: {summary}"));
    measured.check(unseen == 0, || format!("{unseen} acknowledged rows were not seen by SQL"));
    Ok(())
}

/// What a server holds, in bytes, apart from pages of files.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    /// In a sixth of the time.
    median: f64,
    /// From the start to the end of it.
    peak_so_far: f64,
    /// Median of the pages of files that are resident beside it.
    files: f64,
}

/// Memory by sixths of a time. A peak is where a merge, a flush and a query fall together, and the
/// longer the time the more of them do; what grows shows in the medians.
async fn memory_of_sixths(pid: u32, lasts: Duration) -> Result<[Memory; 6], Error> {
    let began = Instant::now();
    let mut sixths = [Memory::default(); 6];
    let mut peak_so_far = 0.0_f64;
    for (sixth, end) in sixths.iter_mut().zip(1..) {
        let (mut own, mut files) = (Vec::new(), Vec::new());
        while began.elapsed() < lasts * end / 6 {
            let now = usage::own_bytes(pid)?;
            files.push(usage::resident_bytes(pid)?.saturating_sub(now));
            own.push(now);
            peak_so_far = peak_so_far.max(now as f64);
            sleep(LOOK_AT_MEMORY_EVERY).await;
        }
        *sixth = Memory { median: median(own), peak_so_far, files: median(files) };
    }
    Ok(sixths)
}

fn median(mut bytes: Vec<u64>) -> f64 {
    bytes.sort_unstable();
    bytes.get(bytes.len() / 2).copied().unwrap_or_default() as f64
}

/// A load without a pause, and how many rows more waited after it than before.
#[derive(Debug)]
struct Stretch {
    summary: Summary,
    waiting_more: f64,
    files: (f64, f64),
}

impl Stretch {
    /// Rows stored a second.
    fn rate(&self) -> f64 {
        let seconds = self.summary.elapsed.as_secs_f64().max(1e-9);
        (self.summary.acked as f64 - self.waiting_more) / seconds
    }
}

impl fmt::Display for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { summary, waiting_more, files: (before, after) } = self;
        let stored = self.rate();
        write!(
            f,
            "{summary} stored={stored:.0}/s waiting_more={waiting_more:.0} files={before:.0}..{after:.0}"
        )
    }
}

fn rate(summary: &Summary) -> f64 {
    summary.acked as f64 / summary.elapsed.as_secs_f64().max(1e-9)
}

/// Requests that are stamped as they are sent.
#[derive(Debug)]
struct Pool {
    load: cli::Load,
    stamps: Vec<Stamp>,
}

impl Pool {
    async fn make(seed: u64) -> Result<Arc<Self>, Error> {
        let load = Load::make(standard(Signal::Traces, POOL_SPANS, seed)).await?;
        let stamps = load.packed.iter().filter_map(|one| Stamp::new(load::message(one))).collect();
        Ok(Arc::new(Self { load: load.load, stamps }))
    }

    /// Sends for a while, at a rate or flat out.
    async fn feed(
        self: &Arc<Self>,
        server: &Server,
        rate: u64,
        lasts: Duration,
    ) -> Result<Summary, Error> {
        let (queue, taken) = mpsc::channel(AHEAD);
        let (pool, end) = (Arc::clone(self), Instant::now() + lasts);
        let stamping = tokio::task::spawn_blocking(move || pool.stamp_until(end, &queue));
        let arguments = SendArgs { rate, ..load::send_to(&server.grpc, self.load.clone()) };
        let summary = send::run_queue(&arguments, taken).await?;
        stamping.await.map_err(Error::Task)?;
        Ok(summary)
    }

    /// Sends flat out for a while, and sees what is left to do of it.
    async fn stretch(
        self: &Arc<Self>,
        server: &Server,
        api: &Api,
        lasts: Duration,
    ) -> Result<Stretch, Error> {
        let before = api.metrics().await?;
        let summary = self.feed(server, 0, lasts).await?;
        let after = api.metrics().await?;
        let waiting_more = after.sum(WAITING) - before.sum(WAITING);
        let files = (before.sum(FILES), after.sum(FILES));
        Ok(Stretch { summary, waiting_more, files })
    }

    fn stamp_until(&self, end: Instant, queue: &mpsc::Sender<Packed>) {
        // Rounds of several calls must differ, and the clock does.
        let first = cli::now_nanos();
        for round in first.. {
            for stamp in &self.stamps {
                if Instant::now() >= end {
                    return;
                }
                let (message, ids) = stamp.stamped(round, cli::now_nanos());
                let request =
                    Request { ids, ..Request::of(Signal::Traces, message, stamp.spans()) };
                let packed = Packed::new(request, Protocol::Grpc, Compression::None);
                if queue.blocking_send(packed).is_err() {
                    return;
                }
            }
        }
    }
}

/// Sends a trace by itself and looks for it.
#[derive(Debug)]
struct Probe {
    api: Api,
    grpc: url::Url,
}

impl Probe {
    /// How long each acknowledged trace took to be seen, and how many never were.
    async fn run_until(self, end: Instant) -> Result<(Vec<Duration>, u64), Error> {
        let (mut seen, mut unseen) = (Vec::new(), 0);
        for number in 0.. {
            let began = Instant::now();
            if began >= end {
                break;
            }
            match self.once(number).await? {
                Look::Seen(after) => seen.push(after),
                Look::Unseen => unseen += 1,
                Look::Refused => {}
            }
            sleep_until((began + PROBE_EVERY).min(end)).await;
        }
        Ok((seen, unseen))
    }

    async fn once(&self, seed: u64) -> Result<Look, Error> {
        // So few a second that the first trace is over before the next begins.
        let load = of_density(Signal::Traces, 30, seed, 1);
        let Some(request) = requests(&load.plan()).next() else { return Ok(Look::Refused) };
        let Some(first) = request.begun.first() else { return Ok(Look::Refused) };
        let query =
            format!("SELECT count(*) FROM spans WHERE trace_id = '{}'", hex(&first.trace_id));
        let packed = Packed::new(request, Protocol::Grpc, Compression::None);
        let summary = send::run_packed(&load::send_to(&self.grpc, load), vec![packed]).await?;
        if !summary.complete() {
            return Ok(Look::Refused);
        }
        let acked = Instant::now();
        while acked.elapsed() < UNSEEN_MAX {
            if self.api.number(&query).await? > 0 {
                return Ok(Look::Seen(acked.elapsed()));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(Look::Unseen)
    }
}

/// What became of a trace that was sent alone.
#[derive(Debug)]
enum Look {
    Seen(Duration),
    Unseen,
    /// Nothing was acknowledged, so nothing is to be seen.
    Refused,
}
