//! Ingest as a whole: opened, run, drained.
//!
//! Invariant: both ports are bound, and every row that the log had is live or in the store, before
//! the first request is served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use icecore_store::{Clock, Feed, Flush as FlushPort, LiveRows, Store};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, Durability};
use crate::error::Error;
use crate::flush::{Flush, FlushParts, FlushSettings, Sink};
use crate::live::{Blocks, BlocksSettings, Live, LiveService};
use crate::log::{Append, LogFolder, Packer, Tail, Writer, WriterSettings};
use crate::metrics::{LookMetrics, Metrics};
use crate::pace::{Pace, PaceSettings};
use crate::receive::{Intake, ServeSettings, grpc_router, http_router, serve};
use crate::replay;

/// The longest that rows wait for a flush while their senders wait for it.
const AWAITED_AFTER: Duration = Duration::from_millis(500);

/// OTLP receivers, the write-ahead log, live rows and the flush.
#[derive(Debug)]
pub struct Ingest {
    config: Config,
    cors_origins: Vec<HeaderValue>,
    grpc: (TcpListener, SocketAddr),
    http: (TcpListener, SocketAddr),
    /// Where live rows are served, if they are.
    remote: Option<(TcpListener, SocketAddr)>,
    intake: Arc<Intake>,
    live: Arc<Blocks>,
    looks: LookMetrics,
    tail: Arc<Tail>,
    flush: Flush,
    log_thread: LogThread,
    ready: watch::Sender<bool>,
}

/// The thread that writes the log. It ends when nobody can append any more.
#[derive(Debug)]
struct LogThread {
    ended: oneshot::Receiver<()>,
    /// Keeps other processes out of the folder until the thread has ended.
    _folder: LogFolder,
}

impl Ingest {
    /// Checks the settings, recovers the log, brings rows that the store does not have back to
    /// life, and binds both ports. Nothing is served before [`Self::run`].
    pub async fn open(
        config: Config,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        Self::open_with(config, store, clock, registry).await
    }

    /// As [`Self::open`], over whatever takes the flushes.
    pub(crate) async fn open_with(
        config: Config,
        sink: Arc<dyn Sink>,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        config.check()?;
        let cors_origins = origins(&config.cors_origins)?;
        let metrics = Metrics::new(registry);
        let folder = open_folder(&config, &clock).await?;
        let writer = folder.writer;
        let registered = sink.register_writer(writer).await;
        registered.map_err(|source| store_error("register the writer", source))?;
        let covered = sink.covered_to(writer).unwrap_or_default();
        let recovered = folder.recover(covered).await?;
        metrics.log.recovered(recovered.frames, &recovered.damage);
        let (next, segments) = (recovered.next, folder.segments(recovered));
        info!(%writer, next = next.0, covered = covered.0, "the log is open");

        let packer = Arc::new(Packer::default());
        let (own_packer, log_metrics) = (Arc::clone(&packer), metrics.log.clone());
        let tail = Arc::new(Tail::new(writer, Arc::clone(&segments), own_packer, log_metrics));
        let settings = blocks_settings(&config);
        let (own_tail, own_clock) = (Arc::clone(&tail), Arc::clone(&clock));
        let pace = Pace::new(pace_settings(&config), Arc::clone(&clock), metrics.pace.clone());
        let (pace, live_metrics) = (Arc::new(pace), metrics.clone());
        let live = Arc::new(Blocks::new(settings, own_tail, own_clock, pace, live_metrics));
        let parts = FlushParts {
            sink,
            writer,
            live: Arc::clone(&live),
            segments: Arc::clone(&segments),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
        };
        let flush = Flush::new(flush_settings(&config), parts, covered);
        replay::replay(&tail, &live, covered).await?;

        let grpc = bind("OTLP/gRPC", config.grpc_addr).await?;
        let http = bind("OTLP/HTTP", config.http_addr).await?;
        let remote = match config.live_addr {
            Some(addr) => Some(bind("live rows over Arrow Flight", addr).await?),
            None => None,
        };
        let log = Writer::new(writer_settings(&config), segments, next, clock, metrics.log.clone());
        let (appends, queue) = mpsc::channel(config.log_queue_max);
        let log_thread = LogThread { ended: spawn_log(log, queue)?, _folder: folder };
        let looks = metrics.looks.clone();
        let intake = Arc::new(Intake::new(
            &config,
            Arc::clone(&live),
            packer,
            appends,
            flush.covered(),
            metrics,
        ));
        let ready = watch::Sender::new(false);
        Ok(Self {
            config,
            cors_origins,
            grpc,
            http,
            remote,
            intake,
            live,
            looks,
            tail,
            flush,
            log_thread,
            ready,
        })
    }

    /// Where OTLP/gRPC is served.
    #[must_use]
    pub const fn grpc_addr(&self) -> SocketAddr {
        self.grpc.1
    }

    /// Where OTLP/HTTP is served.
    #[must_use]
    pub const fn http_addr(&self) -> SocketAddr {
        self.http.1
    }

    /// Where live rows are served to other processes, if they are.
    #[must_use]
    pub fn live_addr(&self) -> Option<SocketAddr> {
        self.remote.as_ref().map(|(_, addr)| *addr)
    }

    /// The rows that are acknowledged and perhaps not yet in the store.
    #[must_use]
    pub fn live_rows(&self) -> Arc<dyn LiveRows> {
        Arc::new(Live(Arc::clone(&self.live)))
    }

    /// A way to bring acknowledged rows into the store before their time.
    #[must_use]
    pub fn flush(&self) -> Arc<dyn FlushPort> {
        Arc::new(self.flush.now())
    }

    /// The acknowledged requests, for forwarding.
    #[must_use]
    pub fn feed(&self) -> Arc<dyn Feed> {
        Arc::clone(&self.tail) as Arc<dyn Feed>
    }

    /// Whether requests are being served.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Serves until `stop`, then drains: no new requests, those in flight are finished, the rows
    /// are flushed as far as `drain_timeout` allows. What is not flushed stays in the log.
    ///
    /// # Errors
    /// When the log's thread ends by itself, which is a fault of ours.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let Self { config, cors_origins, grpc, http, remote, intake, live, looks, .. } = self;
        let (mut flush, log_thread, ready) = (self.flush, self.log_thread, self.ready);
        // Flushing goes on while requests are drained: some may wait for it.
        let (serving, flushing) = (CancellationToken::new(), CancellationToken::new());
        let router = grpc_router(Arc::clone(&intake));
        let settings = serve_settings(&config, true);
        let grpc = tokio::spawn(serve(grpc.0, router, settings, serving.clone()));
        let router = http_router(intake, &cors_origins);
        let settings = serve_settings(&config, false);
        let http = tokio::spawn(serve(http.0, router, settings, serving.clone()));
        // Live rows are served until there are none.
        let looking = CancellationToken::new();
        let service = LiveService::new(live, config.looks_max, config.decode_threads, looks);
        let remote = remote.map(|(listener, _)| {
            let settings = serve_settings(&config, true);
            tokio::spawn(serve(listener, service.router(), settings, looking.clone()))
        });
        let flush_stop = flushing.clone();
        let flush = tokio::spawn(async move {
            flush.run(&flush_stop).await;
            flush
        });
        ready.send_replace(true);

        let mut log_ended = log_thread.ended;
        let broke = tokio::select! {
            () = stop.cancelled() => false,
            _ = &mut log_ended => true,
        };
        ready.send_replace(false);
        serving.cancel();
        let served = tokio::join!(grpc, http);
        drop(served);
        if !broke {
            // The routers held the last way to append: the thread writes what it has and ends.
            drop(log_ended.await);
        }
        flushing.cancel();
        drain(flush, &config).await?;
        looking.cancel();
        if let Some(serving) = remote {
            drop(serving.await);
        }
        if broke { Err(Error::LogStopped) } else { Ok(()) }
    }
}

/// Takes the flush back from its task, which finishes the commit it is at, and flushes the rest.
async fn drain(mut flush: JoinHandle<Flush>, config: &Config) -> Result<(), Error> {
    let Ok(joined) = tokio::time::timeout(config.drain_timeout, &mut flush).await else {
        warn!("a flush did not end in time: its rows stay in the log");
        flush.abort();
        return Ok(());
    };
    joined.map_err(|source| Error::Stopped { part: "flush", source })?.drain().await;
    Ok(())
}

async fn open_folder(config: &Config, clock: &Arc<dyn Clock>) -> Result<LogFolder, Error> {
    let (path, clock) = (config.log_dir.clone(), Arc::clone(clock));
    let opened = tokio::task::spawn_blocking(move || LogFolder::open(&path, clock.as_ref())).await;
    opened.map_err(|source| Error::Stopped { part: "recovery", source })?
}

async fn bind(
    protocol: &'static str,
    addr: SocketAddr,
) -> Result<(TcpListener, SocketAddr), Error> {
    let bind_error = |source| Error::Bind { protocol, addr, source };
    let listener = TcpListener::bind(addr).await.map_err(bind_error)?;
    let bound = listener.local_addr().map_err(bind_error)?;
    Ok((listener, bound))
}

/// Runs the log's writer on a thread of its own: it waits for the disk most of the time.
fn spawn_log(
    writer: Writer,
    queue: mpsc::Receiver<Append>,
) -> Result<oneshot::Receiver<()>, Error> {
    let (tell, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("icecore-log".to_owned()).spawn(move || {
        writer.run(queue);
        drop(tell);
    });
    match thread {
        Ok(_) => Ok(ended),
        Err(source) => Err(Error::Thread { source }),
    }
}

/// Who may send from a browser, as headers have it.
pub(crate) fn origins(texts: &[String]) -> Result<Vec<HeaderValue>, Error> {
    let parse = |text: &String| {
        HeaderValue::from_str(text).map_err(|error| Error::Config {
            setting: "cors_origins",
            why: format!("holds `{text}`: {error}"),
        })
    };
    texts.iter().map(parse).collect()
}

fn writer_settings(config: &Config) -> WriterSettings {
    WriterSettings {
        // Under `bucket` the sender waits for more than the disk.
        sync: config.durability == Durability::Disk,
        segment_bytes_max: config.segment_bytes_max,
        log_bytes_max: config.log_bytes_max,
        sync_bytes_max: config.sync_bytes_max,
    }
}

const fn blocks_settings(config: &Config) -> BlocksSettings {
    BlocksSettings { flush_bytes: config.flush_bytes, cache_bytes_max: config.live_cache_bytes_max }
}

const fn pace_settings(config: &Config) -> PaceSettings {
    PaceSettings {
        paced_from_bytes: config.paced_from_bytes,
        flush_bytes: config.flush_bytes,
        wait_max: config.paced_wait_max,
    }
}

/// Under [`Durability::Bucket`] senders wait for the flush, so that it never waits long for them.
fn flush_settings(config: &Config) -> FlushSettings {
    let awaited = config.durability == Durability::Bucket;
    FlushSettings {
        flush_after: config.flush_after.min(if awaited { AWAITED_AFTER } else { Duration::MAX }),
        flush_retry_max: config.flush_retry_max,
        drain_timeout: config.drain_timeout,
    }
}

const fn serve_settings(config: &Config, http2_only: bool) -> ServeSettings {
    ServeSettings {
        http2_only,
        connections_max: config.connections_max,
        streams_max: config.streams_max,
        drain_timeout: config.drain_timeout,
    }
}

/// An error of the store while ingest starts.
pub(crate) fn store_error(doing: &'static str, source: icecore_store::Error) -> Error {
    Error::Store { doing, source: Box::new(source) }
}

#[cfg(test)]
mod tests;
