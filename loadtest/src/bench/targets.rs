//! What is measured, what it must come to, and what others need for the same.
//!
//! The figures of the others were measured once, on a shared machine of 2 cores under load, with
//! the same bytes: 300,000 spans by OTLP/gRPC, a local bucket, medians of three rounds. CPU is good
//! to about 40 %, wall times are upper bounds. ClickHouse ran within the process that asked it,
//! without any OTLP or HTTP work; rotel is a collector that stores nothing.

use super::report::Row;

/// Columns of the table of the engine, in order.
pub(super) const OTHERS: [&str; 5] =
    ["VictoriaTraces", "Tempo 3.0", "Tempo 2.10", "ClickHouse 26.9", "rotel"];

/// Where a figure must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// Anywhere: it is told because it explains another.
    Told,
}

use Bound::{AtLeast, AtMost, Told};

impl Bound {
    /// A figure that is no number is nowhere.
    pub(super) fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
            Self::Told => true,
        }
    }
}

/// One line of a table.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) what: &'static str,
    /// One for each figure of the line, in order.
    pub(super) bounds: &'static [Bound],
    /// The bounds in words; empty where all of them are told only.
    pub(super) must: &'static str,
    /// What others need: by [`OTHERS`] for the engine, else with their names.
    pub(super) others: &'static [&'static str],
}

impl Target {
    /// The line of a run.
    pub(super) fn row(&'static self, figures: &[f64]) -> Row {
        Row { target: self, figures: figures.to_vec() }
    }
}

const fn target(
    what: &'static str,
    bounds: &'static [Bound],
    must: &'static str,
    others: &'static [&'static str],
) -> Target {
    Target { what, bounds, must, others }
}

/// The standard load of spans.
pub(super) mod engine {
    use super::{AtLeast, AtMost, Target, target};

    pub(in super::super) static ACK_CPU: Target = target(
        "CPU to acknowledgement, prost units",
        &[AtMost(1.0)],
        "<= 1.0",
        &["12", "9", "7", "3 (insert alone)", "1.5"],
    );
    pub(in super::super) static ALL_CPU: Target = target(
        "CPU in all, until idle, prost units",
        &[AtMost(2.5)],
        "<= 2.5",
        &["16", "24", "unstable", "6", "-"],
    );
    pub(in super::super) static STORED: Target = target(
        "bytes a span in the bucket",
        &[AtMost(45.0)],
        "<= 45, below 40 is a record",
        &["97 (80 at 1 million)", "140", "140", "78", "-"],
    );
    pub(in super::super) static WRITTEN: Target = target(
        "bytes written to disk a span, in all",
        &[AtMost(160.0)],
        "<= 160",
        &["98", "500", "359", "-", "-"],
    );
    pub(in super::super) static MEMORY: Target = target(
        "peak memory, MB, with the queries",
        &[AtMost(256.0)],
        "<= 256",
        &["243", "1,900", "870", "-", "50-85"],
    );
    pub(in super::super) static KEPT: Target = target(
        "acknowledged spans found after `kill -9` at once, %",
        &[AtLeast(100.0)],
        "100",
        &["0", "0", "0", "-", "-"],
    );
    pub(in super::super) static TRACE: Target = target(
        "trace by id, p50 / p99 / CPU, ms",
        &[AtMost(3.0), AtMost(10.0), AtMost(3.0)],
        "<= 3 / 10 / 3",
        &["5.9 / 17.5 / 5.9", "123 / 268 / 58", "96 / 425 / 79", "62 / 124 / 71", "-"],
    );
    pub(in super::super) static SEARCH: Target = target(
        "search by service and duration, CPU ms",
        &[AtMost(6.0)],
        "<= 6",
        &["22", "24", "32", "8", "-"],
    );
    pub(in super::super) static PERCENTILE: Target = target(
        "p99 duration by service and operation, all spans, CPU ms",
        &[AtMost(15.0)],
        "<= 15",
        &["210", "120 (on 78 % of the spans)", "none", "32", "-"],
    );
    pub(in super::super) static LEFT_OUT: Target = target(
        "acknowledged spans left out of SQL without a word",
        &[AtMost(0.0)],
        "none",
        &["none", "145,529 of 1,000,000", "-", "-", "-"],
    );
}

pub(super) static FLAT: Target = target(
    "peak memory, MB, at 300,000 / 1 million spans, with the queries",
    &[AtMost(256.0), AtMost(256.0)],
    "<= 256, flat",
    &["VictoriaTraces 243 / 259", "Tempo 3.0 1,900 / 4,100", "Tempo 2.10 870 / 2,700"],
);

/// Data points and log records.
pub(super) mod signals {
    use super::{AtMost, Target, Told, target};

    pub(in super::super) static POINT_BYTES: Target = target(
        "bytes a data point in the bucket",
        &[AtMost(3.5)],
        "<= 3.5 for 10,000 series at 15 s",
        &["VictoriaMetrics 3.1"],
    );
    pub(in super::super) static POINTS_CPU: Target = target(
        "CPU to acknowledgement / in all, prost units",
        &[AtMost(1.0), AtMost(1.0)],
        "<= 1.0",
        &["VictoriaMetrics 2.0 CPU-s a million", "Prometheus 8.4 CPU-s"],
    );
    pub(in super::super) static POINTS_SECONDS: Target =
        target("CPU to acknowledgement / in all, s a million data points", &[Told, Told], "", &[]);
    pub(in super::super) static RECORD_BYTES: Target =
        target("bytes a log record in the bucket", &[Told], "", &[]);
    pub(in super::super) static RECORDS_CPU: Target =
        target("CPU to acknowledgement / in all, prost units", &[Told, Told], "", &[]);
    pub(in super::super) static FOUND: Target =
        target("acknowledged items lost / doubled", &[AtMost(0.0), AtMost(0.0)], "none", &[]);
}

/// Load for a long time.
pub(super) mod sustained {
    use super::{AtLeast, AtMost, Target, Told, target};

    pub(in super::super) static RATE: Target =
        target("spans stored a second: peak / kept up for the whole time", &[Told, Told], "", &[]);
    pub(in super::super) static KEPT_UP: Target =
        target("share of the rate that was asked for, %", &[AtLeast(99.0)], ">= 99", &[]);
    pub(in super::super) static GROWTH: Target = target(
        "memory of its own in the last sixth, % of that in the second, medians / peak, % of that in the first",
        &[AtMost(105.0), Told],
        "<= 105: no growth",
        &[],
    );
    pub(in super::super) static MEMORY: Target =
        target("peak memory, MB", &[AtMost(256.0)], "<= 256", &[]);
    pub(in super::super) static SLOWEST: Target =
        target("slowest request, s", &[AtMost(1.0)], "<= 1", &[]);
    pub(in super::super) static SEEN: Target = target(
        "acknowledgement to a live row's answer by SQL, p50 / most, s",
        &[AtMost(1.0), AtMost(1.0)],
        "<= 1",
        &[],
    );
    pub(in super::super) static QUERY_COST: Target = target(
        "throughput lost to a query over the last minute, at full rate, %",
        &[AtMost(10.0)],
        "<= 10",
        &[],
    );
    pub(in super::super) static QUERY_TIME: Target =
        target("such a query, p50 / most, s", &[Told, Told], "", &[]);
}

/// A store of many hours.
pub(super) mod large {
    use super::{AtLeast, AtMost, Target, Told, target};

    pub(in super::super) static SPANS: Target =
        target("million spans stored and counted by SQL", &[Told], "", &[]);
    pub(in super::super) static RATE: Target = target(
        "taken in flat out: thousand spans / s, CPU-s a million in all",
        &[Told, Told],
        "",
        &[],
    );
    pub(in super::super) static STORED: Target =
        target("bytes a span in the bucket, files", &[AtMost(45.0), Told], "<= 45", &[]);
    pub(in super::super) static MEMORY: Target =
        target("peak memory, MB, taking it in", &[AtMost(256.0)], "<= 256", &[]);
    pub(in super::super) static TRACE: Target =
        target("trace by id, p50 / p99 / CPU, ms", &[Told, AtMost(30.0), Told], "p99 <= 30", &[]);
    pub(in super::super) static COLD_GETS: Target = target(
        "requests to the bucket for a cold trace, mean / most",
        &[Told, AtMost(3.0)],
        "<= 3",
        &[],
    );
    pub(in super::super) static INDEX: Target =
        target("index on disk, MB", &[AtMost(64.0)], "<= 64", &[]);
    pub(in super::super) static START: Target = target(
        "start with a whole / a deleted index, s",
        &[AtMost(1.0), AtMost(60.0)],
        "<= 1 / 60",
        &[],
    );
    pub(in super::super) static FIRST_ROW: Target = target(
        "search by service, duration and one hour: first row, p50 / p99, ms",
        &[AtMost(50.0), Told],
        "<= 50",
        &[],
    );
    pub(in super::super) static SEARCH_SHARE: Target = target(
        "the same, all rows: time / that of DuckDB",
        &[AtMost(1.0 / 3.0)],
        "<= 0.33",
        &["DuckDB 1"],
    );
    pub(in super::super) static COUNT_SHARE: Target = target(
        "count by service over 24 h: time / that of DuckDB",
        &[AtMost(1.0)],
        "<= 0.33, or 1 where nothing can be left out",
        &["DuckDB 1"],
    );
    pub(in super::super) static PERCENTILE_SHARE: Target = target(
        "p99 by service over 24 h: time / that of DuckDB",
        &[AtMost(1.0)],
        "<= 0.33, or 1 where nothing can be left out",
        &["DuckDB 1"],
    );
    pub(in super::super) static REMOTE_REQUESTS: Target = target(
        "bucket of 50 ms a request: requests a file, search / p99 over 24 h",
        &[AtMost(10.0), AtMost(10.0)],
        "<= 10",
        &[],
    );
    pub(in super::super) static REMOTE_WAVES: Target = target(
        "waves of requests a query, search / p99 over 24 h / cold trace",
        &[AtMost(3.0), AtMost(3.0), Told],
        "<= 3",
        &[],
    );
    pub(in super::super) static REMOTE_TIME: Target =
        target("time there, s: search / p99 over 24 h / cold trace", &[Told, Told, Told], "", &[]);
    pub(in super::super) static AGREED: Target =
        target("answers that agree with DuckDB's, %", &[AtLeast(100.0)], "100", &[]);
}

/// `icecore store compact` on many small files.
pub(super) mod compact {
    use super::{AtMost, Target, Told, target};

    pub(in super::super) static MEMORY: Target =
        target("peak memory of compaction, MB", &[AtMost(256.0)], "<= 256", &[]);
    pub(in super::super) static WORK: Target = target(
        "files in / out; MB in / out; CPU-s a million rows",
        &[Told, Told, Told, Told, Told],
        "",
        &[],
    );
    pub(in super::super) static WHOLE: Target =
        target("rows lost by it", &[AtMost(0.0)], "none", &[]);
}

/// `icecore probe` beside nginx, at 5,000 requests a second.
pub(super) mod probes {
    use super::{AtLeast, AtMost, Target, Told, target};

    pub(in super::super) static COST: Target = target(
        "CPU of agent and kernel programs a request, both sides traced, microseconds",
        &[AtMost(12.0)],
        "<= 12",
        &[],
    );
    pub(in super::super) static COUNTED: Target = target(
        "requests missed in the histograms of server / of client / in spans of both",
        &[AtMost(0.0), AtMost(0.0), AtMost(0.0)],
        "none",
        &[],
    );
    pub(in super::super) static LOST: Target = target(
        "pieces that found no room / calls / pieces without an outcome",
        &[AtMost(0.0), AtMost(0.0), AtMost(0.0)],
        "none",
        &[],
    );
    pub(in super::super) static HELD: Target = target(
        "resident memory in the end, % of that after a tenth of the time",
        &[AtMost(110.0)],
        "no growth",
        &[],
    );
    pub(in super::super) static IDLE: Target = target(
        "idle agent: % of a core / MB resident",
        &[AtMost(0.3), AtMost(60.0)],
        "<= 0.3 / 60",
        &[],
    );
    pub(in super::super) static START: Target = target(
        "to the first span, s: from the start of the agent / of a program",
        &[AtMost(2.0), AtMost(2.0)],
        "<= 2",
        &[],
    );
    pub(in super::super) static RATE: Target = target(
        "rate of nginx with the agent, % of that without",
        &[AtLeast(99.0)],
        "unchanged",
        &[],
    );
    pub(in super::super) static TAIL: Target = target(
        "p99 / p50 of a request with the agent, % more than without",
        &[AtMost(10.0), Told],
        "p99 <= 10",
        &[],
    );
    pub(in super::super) static BUDGET: Target = target(
        "with the budget of 5 %: CPU used, % of a core / of the budget",
        &[Told, AtMost(1.1)],
        "within it",
        &[],
    );
    pub(in super::super) static WITHIN: Target = target(
        "the same: requests missed in the histograms of server / of client / % with spans",
        &[AtMost(0.0), AtMost(0.0), Told],
        "none",
        &[],
    );
    pub(in super::super) static WITHIN_LOST: Target = target(
        "the same: pieces that found no room / calls / pieces without an outcome",
        &[AtMost(0.0), AtMost(0.0), AtMost(0.0)],
        "none",
        &[],
    );
}
