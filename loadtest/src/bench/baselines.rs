//! What others need for the same, and what Icecore must reach.
//!
//! Measured once, on a shared machine of 2 cores under load, with the same bytes: 300,000 spans by
//! OTLP/gRPC, a local bucket, medians of three rounds. CPU is good to about 40 %, wall times are
//! upper bounds. ClickHouse ran within the process that asked it, without any OTLP or HTTP work;
//! rotel is a collector that stores nothing.

/// Columns of the table, in order.
pub(super) const OTHERS: [&str; 5] =
    ["VictoriaTraces", "Tempo 3.0", "Tempo 2.10", "ClickHouse 26.9", "rotel"];

/// One line of the table.
#[derive(Debug)]
pub(super) struct Baseline {
    pub(super) what: &'static str,
    pub(super) others: [&'static str; 5],
    pub(super) must: &'static str,
}

const fn line(what: &'static str, others: [&'static str; 5], must: &'static str) -> Baseline {
    Baseline { what, others, must }
}

pub(super) const BASELINES: [Baseline; 10] = [
    line(
        "CPU to acknowledgement, prost units",
        ["12", "9", "7", "3 (insert alone)", "1.5"],
        "<= 1.0",
    ),
    line("CPU in all, until idle, prost units", ["16", "24", "unstable", "6", "-"], "<= 2.5"),
    line(
        "bytes a span in the bucket",
        ["97 (80 at 1 million)", "140", "140", "78", "-"],
        "<= 45, below 40 is a record",
    ),
    line("bytes written to disk a span, in all", ["98", "500", "359", "-", "-"], "<= 160"),
    line(
        "peak memory, MB, at 300,000 / 1 million spans",
        ["243 / 259", "1,900 / 4,100", "870 / 2,700", "-", "50-85"],
        "<= 256, flat",
    ),
    line(
        "acknowledged spans found after `kill -9` at once",
        ["0 %", "0 %", "0 %", "-", "-"],
        "100 %",
    ),
    line(
        "trace by id, p50 / p99 ms; CPU ms",
        ["5.9 / 17.5; 5.9", "123 / 268; 58", "96 / 425; 79", "62 / 124; 71", "-"],
        "<= 3 / 10; <= 3",
    ),
    line("search by service and duration, CPU ms", ["22", "24", "32", "8", "-"], "<= 6"),
    line(
        "p99 duration by service and operation, all spans, CPU ms",
        ["210", "120 (on 78 % of the spans)", "none", "32", "-"],
        "<= 15",
    ),
    line(
        "acknowledged spans left out of SQL without a word",
        ["none", "145,529 of 1,000,000", "-", "-", "-"],
        "none",
    ),
];
