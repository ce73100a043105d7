//! Commands and flags. No logic but what turns them into plans.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use url::Url;

use crate::generate::{Plan, Signal};

/// Deterministic, realistic OTLP load for Icecore, and the proof that none of it was lost.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what the load is like.
    Describe(Load),
    /// Write small requests of all signals to a folder, as seeds for the decoder's fuzz target: a byte
    /// that says which signal, and the message.
    Corpus(CorpusArgs),
    /// Send the load.
    Send(SendArgs),
    /// Check by SQL that every acknowledged item is there exactly once.
    Verify(VerifyArgs),
    /// Start an Icecore of its own, measure it under the standard load, and set the figures
    /// beside those of others and those to reach.
    Bench(BenchArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// The same seed and run name make the same load.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Name of the run: SQL finds it as `resource['loadtest.run']`. Made from the time where
    /// none is given.
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// What to send.
    #[arg(long, value_enum, default_value_t = Signal::Traces)]
    pub(crate) signal: Signal,
    /// Spans, data points or log records in all.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) items: u64,
    /// Items a second of the time that the load tells of. With a rate, that rate.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) density: u64,
    /// Series that data points are of. Each has one every 15 seconds where the density is a
    /// fifteenth of this.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) series: u64,
    /// When the load begins, in nanoseconds since 1970; by default so that it ends about now, or
    /// begins now where there is a rate.
    #[arg(long)]
    pub(crate) start_nanos: Option<u64>,
}

impl Load {
    /// The plan of a load that is sent as fast as it goes.
    pub(crate) fn plan(&self) -> Plan {
        self.plan_at(0)
    }

    /// The plan of a load that is sent at `rate` items a second, or flat out at 0.
    pub(crate) fn plan_at(&self, rate: u64) -> Plan {
        let now = now_nanos();
        let density = if rate > 0 { rate } else { self.density.max(1) };
        let length = u128::from(self.items) * 1_000_000_000 / u128::from(density);
        let length = if rate > 0 { 0 } else { u64::try_from(length).unwrap_or(u64::MAX) };
        Plan {
            seed: self.seed,
            run: self.run.clone().unwrap_or_else(|| format!("{:x}", now / 1_000_000)),
            signal: self.signal,
            items: self.items,
            start_nanos: self.start_nanos.unwrap_or_else(|| now.saturating_sub(length)),
            items_per_second: density,
            series: self.series.max(1),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CorpusArgs {
    /// Made where it is not there.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Requests of each signal.
    #[arg(long, default_value_t = 20)]
    pub(crate) requests: u64,
    /// Items of a request.
    #[arg(long, default_value_t = 12)]
    pub(crate) items: u64,
}

/// The wire protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// How requests are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(crate) const fn encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(crate) load: Load,
    /// OTLP endpoint.
    #[arg(long, default_value = "http://127.0.0.1:4317")]
    pub(crate) endpoint: Url,
    #[arg(long, value_enum, default_value_t = Protocol::Grpc)]
    pub(crate) protocol: Protocol,
    #[arg(long, value_enum, default_value_t = Compression::None)]
    pub(crate) compression: Compression,
    /// Items a second; 0 sends flat out.
    #[arg(long, default_value_t = 0)]
    pub(crate) rate: u64,
    /// Requests on their way at a time.
    #[arg(long, default_value_t = 8)]
    pub(crate) in_flight: usize,
    /// Requests that are made and packed ahead; bounds memory at about 600 kB each.
    #[arg(long, default_value_t = 64)]
    pub(crate) ahead: usize,
    /// Make and pack the whole load before the first request leaves.
    #[arg(long)]
    pub(crate) preload: bool,
    /// Where to record the ids of acknowledged items.
    #[arg(long)]
    pub(crate) acked: Option<PathBuf>,
    /// A request that was refused for so long, with leave to retry, is given up.
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub(crate) give_up_after: Duration,
    /// One attempt may take so long, in seconds.
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// Send again also where the connection broke before the answer came. The server may have
    /// stored such a request already, so spans may then be there twice, and rightly so.
    #[arg(long)]
    pub(crate) retry_uncertain: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArgs {
    /// What `send --acked` wrote.
    #[arg(long)]
    pub(crate) acked: PathBuf,
    /// Icecore's query API.
    #[arg(long, default_value = "http://127.0.0.1:7070")]
    pub(crate) url: Url,
}

/// What the bench can measure, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// The standard load: what it costs to take in and to ask, and what `kill -9` leaves.
    Engine,
    /// Peak memory at 300,000 and at a million spans.
    Flat,
    /// Data points of many series: their size, and what taking them in costs.
    Metrics,
    /// The same of log records.
    Logs,
    /// 60 % of the peak rate for a while; live rows by SQL; queries at full rate.
    Sustained,
    /// Many hours of spans: look-ups, searches and sums beside DuckDB, also over a slow bucket.
    Large,
    /// `icecore store compact` on many small files.
    Compact,
    /// `icecore probe` beside an nginx: what it costs, and that it misses nothing. Needs root.
    Probes,
    /// The same for minutes: that no request is missed, and that its memory does not grow.
    ProbesLong,
}

impl Part {
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Engine => "The engine under the standard load",
            Self::Flat => "Memory",
            Self::Metrics => "Metrics",
            Self::Logs => "Logs",
            Self::Sustained => "Sustained load and live rows",
            Self::Large => "A store of many hours",
            Self::Compact => "Compaction alone",
            Self::Probes => "The probes beside nginx",
            Self::ProbesLong => "The probes beside nginx, for a long time",
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArgs {
    /// The parts to measure, with commas between; all of them by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
    /// How often each part is measured: the table gives the median, the least and the most, which
    /// is how much this machine can be trusted.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=20))]
    pub(crate) runs: u64,
    /// The binary to measure. By default the `icecore` beside this one.
    #[arg(long)]
    pub(crate) icecore: Option<PathBuf>,
    /// The binary to measure beside nginx: the agent, built without all else. By default the same as for all
    /// other parts.
    #[arg(long)]
    pub(crate) agent: Option<PathBuf>,
    /// Spans of the standard load. They are made and packed before anything is timed, in about 700
    /// bytes of memory each.
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) spans: u64,
    /// Spans of the larger load that memory is compared at.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) flat_spans: u64,
    /// Data points and log records of their parts.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) points: u64,
    /// Series that the data points are of, one point each every 15 seconds.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) series: u64,
    /// How long the sustained load lasts, in seconds.
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub(crate) sustained_for: Duration,
    /// Spans of the large store, over 24 hours of their own time. Half a kilobyte each is sent.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) large_spans: u64,
    /// Where the large store is made, and kept; one that is there already is measured as it is.
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
    /// Spans that are merged where compaction is measured alone.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) compact_spans: u64,
    /// How long each stretch of requests beside the probes lasts, in seconds.
    #[arg(long, default_value = "20", value_parser = seconds)]
    pub(crate) probes_for: Duration,
    /// How long requests last where the probes are watched for a long time, in seconds.
    #[arg(long, default_value = "600", value_parser = seconds)]
    pub(crate) probes_long_for: Duration,
    /// What each request to the slow bucket waits, in milliseconds.
    #[arg(long, default_value_t = 50)]
    pub(crate) latency_ms: u64,
    /// A folder with `venv/bin/python` (with duckdb) and `bin/s3s-fs`: what `./dev` installs. What
    /// is not there is left out, and named.
    #[arg(long, env = "ICECORE_CACHE")]
    pub(crate) cache: Option<PathBuf>,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where `bench.json` and `bench.md` are written, and where the data is while it is measured:
    /// what disk this is on decides how long acknowledgements take.
    #[arg(long, default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// A part is given up after so many seconds a run, what a load is to last for not counted.
    #[arg(long, default_value = "1800", value_parser = seconds)]
    pub(crate) give_up_after: Duration,
}

impl BenchArgs {
    /// The parts to measure, in order.
    pub(crate) fn parts(&self) -> Vec<Part> {
        if self.only.is_empty() { Part::value_variants().to_vec() } else { self.only.clone() }
    }

    /// The folder of what `./dev` installs.
    pub(crate) fn cache(&self) -> PathBuf {
        let home = || std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from);
        self.cache.clone().unwrap_or_else(|| home().join(".cache/icecore"))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for the time")]
pub(crate) fn now_nanos() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}
