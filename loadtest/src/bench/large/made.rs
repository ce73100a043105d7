//! Makes the large store by sending it, and keeps beside it what is known of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::interval;
use tokio_util::task::AbortOnDropHandle;

use super::super::known::hex;
use super::super::load::{of_density, send_to};
use super::super::server::Server;
use super::super::{Bench, settle, usage, write};
use crate::cli::{Compression, Protocol};
use crate::error::Error;
use crate::generate::{Plan, Signal, requests};
use crate::send::{self, Packed};

/// What the load tells of: a day.
const SECONDS: u64 = 24 * 3_600;

/// Traces that are asked for by id.
const TRACES: u64 = 200;

/// Spans of a trace, about.
const SPANS_PER_TRACE: u64 = 17;

/// Requests that are made and packed ahead.
const AHEAD: usize = 64;

const TELL_EVERY: Duration = Duration::from_secs(10);

/// A large store, and what making it took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) spans: u64,
    pub(super) start_nanos: u64,
    pub(super) end_nanos: u64,
    /// Some traces, with the number of their spans.
    pub(super) asked: Vec<(String, u64)>,
    pub(super) summary: String,
    /// Spans a second.
    pub(super) rate: f64,
    pub(super) cpu_seconds: f64,
    pub(super) settle_seconds: f64,
    pub(super) bucket_bytes: u64,
    pub(super) files: u64,
    pub(super) peak_bytes: u64,
}

/// The store of a folder; made where there is none.
pub(super) async fn made(bench: &Bench, folder: &Path) -> Result<Made, Error> {
    let path = folder.join("large.json");
    let failed = |action| {
        let path = path.clone();
        move |source| Error::File { action, path, source }
    };
    if path.exists() {
        let text = std::fs::read_to_string(&path).map_err(failed("read"))?;
        bench.tell(&format!("the store in `{}` is there already", folder.display()));
        return serde_json::from_str(&text).map_err(Error::Json);
    }
    std::fs::create_dir_all(folder).map_err(failed("make"))?;
    let made = make(bench, folder).await?;
    write(&path, &serde_json::to_string(&made).map_err(Error::Json)?)?;
    Ok(made)
}

async fn make(bench: &Bench, folder: &Path) -> Result<Made, Error> {
    let spans = bench.arguments.large_spans;
    let density = spans.div_ceil(SECONDS).max(1);
    let load = of_density(Signal::Traces, spans, bench.arguments.seed, density);
    let plan = load.plan();
    let start_nanos = plan.start_nanos;
    let end_nanos = start_nanos + spans * 1_000_000_000 / density;
    let server = Server::start(&bench.icecore, &folder.join("data"), &[]).await?;
    let (queue, taken) = mpsc::channel(AHEAD);
    let sent = Arc::new(AtomicU64::new(0));
    let told = AbortOnDropHandle::new(tokio::spawn(tell(bench.began, spans, Arc::clone(&sent))));
    let making = tokio::task::spawn_blocking(move || feed(&plan, &queue, &sent));
    let summary = send::run_queue(&send_to(&server.grpc, load), taken).await?;
    let asked = making.await.map_err(Error::Task)?;
    drop(told);
    bench.tell(&format!("{summary}; waiting until it is idle"));
    let settled = settle::wait(&server, spans).await?;
    let made = Made {
        spans,
        start_nanos,
        end_nanos,
        asked,
        rate: summary.acked as f64 / summary.elapsed.as_secs_f64().max(1e-9),
        summary: summary.to_string(),
        cpu_seconds: settled.cpu_seconds,
        settle_seconds: settled.after.as_secs_f64(),
        bucket_bytes: settled.bucket_bytes,
        files: settled.files,
        peak_bytes: usage::peak_bytes(server.pid)?,
    };
    server.kill().await?;
    Ok(made)
}

/// Makes the load, and gives the traces that can be asked for.
fn feed(plan: &Plan, queue: &mpsc::Sender<Packed>, sent: &AtomicU64) -> Vec<(String, u64)> {
    let every = (plan.items / SPANS_PER_TRACE / TRACES).max(1);
    let (mut traces, mut candidates) = (0, Vec::new());
    let mut last_nanos = plan.start_nanos;
    for mut request in requests(plan) {
        for begun in request.begun.drain(..) {
            if traces % every == 0 {
                candidates.push((hex(&begun.trace_id), begun.spans, begun.end_nanos));
            }
            traces += 1;
            last_nanos = last_nanos.max(begun.end_nanos);
        }
        sent.fetch_add(request.items, Ordering::Relaxed);
        let packed = Packed::new(request, Protocol::Grpc, Compression::None);
        if queue.blocking_send(packed).is_err() {
            break;
        }
    }
    // Spans leave in the order of their end: of what ends last some are beyond the load.
    let whole = last_nanos.saturating_sub((last_nanos - plan.start_nanos) / 50);
    let whole = candidates.into_iter().filter(|(_, _, end)| *end < whole);
    whole.map(|(id, spans, _)| (id, spans)).collect()
}

async fn tell(began: tokio::time::Instant, spans: u64, sent: Arc<AtomicU64>) {
    use std::io::Write as _;
    let mut tick = interval(TELL_EVERY);
    loop {
        tick.tick().await;
        let (seconds, sent) = (began.elapsed().as_secs(), sent.load(Ordering::Relaxed));
        drop(writeln!(std::io::stderr(), "[{seconds:>5} s] {sent} of {spans} spans on their way"));
    }
}
