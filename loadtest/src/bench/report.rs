//! The figures of a run, and the table that sets them beside the baselines.

use std::fmt;

use serde::Serialize;

use super::baselines::{BASELINES, OTHERS};
use super::load::LoadFigures;
use super::machine::Machine;
use super::queries::Queried;

/// What it took to take the load in.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Ingested {
    pub(super) acked: u64,
    /// What the sender says, in one line.
    pub(super) summary: String,
    pub(super) ack_seconds: f64,
    pub(super) ack_p50_ms: f64,
    pub(super) ack_p99_ms: f64,
    /// CPU time of the server from before the first request to after the last acknowledgement.
    pub(super) ack_cpu_seconds: f64,
    /// The same until all was flushed and merged and the server idle.
    pub(super) all_cpu_seconds: f64,
    pub(super) settle_seconds: f64,
    pub(super) bucket_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) peak_bytes: u64,
}

/// What was left after `kill -9`.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Killed {
    pub(super) acked: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// From start to readiness, the log of the killed process read back.
    pub(super) ready_seconds: f64,
}

/// A line of the table.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) icecore: String,
    pub(super) must: &'static str,
    pub(super) met: bool,
    pub(super) others: [&'static str; 5],
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(super) machine: Machine,
    pub(super) load: LoadFigures,
    /// CPU time of plain prost decoding of the same bytes: the mean, the least and the most.
    pub(super) prost_seconds: f64,
    pub(super) prost_seconds_range: (f64, f64),
    pub(super) ingested: Ingested,
    pub(super) queried: Queried,
    /// With the queries.
    pub(super) peak_bytes: u64,
    pub(super) killed: Killed,
    pub(super) table: Vec<Row>,
}

impl Report {
    pub(super) fn new(
        machine: Machine,
        load: LoadFigures,
        decodes: &[f64],
        ingested: Ingested,
        queried: Queried,
        peak_bytes: u64,
        killed: Killed,
    ) -> Self {
        let prost_seconds = decodes.iter().sum::<f64>() / decodes.len().max(1) as f64;
        let least = decodes.iter().copied().fold(f64::INFINITY, f64::min);
        let most = decodes.iter().copied().fold(0.0, f64::max);
        let prost_seconds_range = (least, most);
        let table = Vec::new();
        let report = Self {
            machine,
            load,
            prost_seconds,
            prost_seconds_range,
            ingested,
            queried,
            peak_bytes,
            killed,
            table,
        };
        let table = BASELINES.iter().zip(report.ours()).map(|(line, (icecore, met))| Row {
            what: line.what,
            icecore,
            must: line.must,
            met,
            others: line.others,
        });
        Self { table: table.collect(), ..report }
    }

    /// Whether nothing was lost, doubled or answered wrongly. Says nothing of speed.
    pub(crate) const fn whole(&self) -> bool {
        let Queried { counted, trace, search, percentile } = &self.queried;
        let taken = self.ingested.acked == self.load.spans && *counted == self.load.spans;
        let kept = self.killed.lost == 0 && self.killed.doubled == 0;
        let kept = kept && self.killed.acked == self.load.spans;
        taken && kept && trace.whole() && search.whole() && percentile.whole()
    }

    /// Our figure for each baseline, in their order, and whether it is what it must be.
    fn ours(&self) -> [(String, bool); 10] {
        let Queried { counted, trace, search, percentile } = &self.queried;
        let (taken, killed) = (&self.ingested, &self.killed);
        let span = |bytes: u64| bytes as f64 / self.load.spans as f64;
        let units = |seconds: f64| seconds / self.prost_seconds;
        let most =
            |value: f64, max: f64, places: usize| (format!("{value:.places$}"), value <= max);
        let found = killed.acked.saturating_sub(killed.lost);
        let found_share = 100.0 * found as f64 / killed.acked.max(1) as f64;
        let all_found = found == self.load.spans;
        let trace_met = trace.p50_ms <= 3.0 && trace.p99_ms <= 10.0 && trace.cpu_ms <= 3.0;
        let trace = format!("{:.1} / {:.1}; {:.1}", trace.p50_ms, trace.p99_ms, trace.cpu_ms);
        let left_out = taken.acked.saturating_sub(*counted);
        [
            most(units(taken.ack_cpu_seconds), 1.0, 2),
            most(units(taken.all_cpu_seconds), 2.5, 2),
            most(span(taken.bucket_bytes), 45.0, 1),
            most(span(taken.written_bytes), 160.0, 0),
            most(self.peak_bytes as f64 / 1e6, 256.0, 0),
            (format!("{found_share:.3} %"), all_found),
            (trace, trace_met),
            most(search.cpu_ms, 6.0, 1),
            most(percentile.cpu_ms, 15.0, 1),
            (left_out.to_string(), left_out == 0),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, kernel, load_before } = &self.machine;
        let LoadFigures { spans, requests, wire_bytes, traces, seed } = &self.load;
        let (least, most) = self.prost_seconds_range;
        writeln!(f, "# Bench\n")?;
        if cfg!(debug_assertions) {
            writeln!(f, "A debug build measured this: CPU figures say nothing.\n")?;
        }
        writeln!(
            f,
            "{spans} spans of {traces} traces in {requests} requests, {:.0} bytes a span on the \
             wire, seed {seed}; OTLP/gRPC, durable, a local bucket.",
            *wire_bytes as f64 / *spans as f64
        )?;
        writeln!(f, "On {cores} cores of {cpu}, Linux {kernel}, load {load_before} before.")?;
        writeln!(
            f,
            "One prost unit is {:.2} CPU-s a million spans here ({least:.3} to {most:.3} s for \
             this load).\n",
            self.prost_seconds * 1e6 / *spans as f64
        )?;
        self.write_table(f)?;
        self.write_details(f)
    }
}

impl Report {
    fn write_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | Icecore | must be | met | {} |", OTHERS.join(" | "))?;
        writeln!(f, "|---|---|---|---|{}", "---|".repeat(OTHERS.len()))?;
        for Row { what, icecore, must, met, others } in &self.table {
            let met = if *met { "yes" } else { "no" };
            writeln!(f, "| {what} | **{icecore}** | {must} | {met} | {} |", others.join(" | "))?;
        }
        writeln!(
            f,
            "\nThe others were measured once, with the same bytes, on a shared machine of 2 cores \
             under load, at 300,000 spans: CPU is good to about 40 %, wall times are upper bounds. \
             ClickHouse ran without OTLP and HTTP; rotel stores nothing.\n"
        )
    }

    fn write_details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Queried { counted, trace, search, percentile } = &self.queried;
        let (taken, killed) = (&self.ingested, &self.killed);
        writeln!(f, "- sender: {}", taken.summary)?;
        writeln!(
            f,
            "- CPU: {:.2} s to the last acknowledgement, {:.2} s until idle, {:.1} s later",
            taken.ack_cpu_seconds, taken.all_cpu_seconds, taken.settle_seconds
        )?;
        writeln!(
            f,
            "- peak memory: {:.0} MB taking it in, {:.0} MB with the queries",
            taken.peak_bytes as f64 / 1e6,
            self.peak_bytes as f64 / 1e6
        )?;
        writeln!(
            f,
            "- after `kill -9`: {} acknowledged, {} lost, {} doubled, ready after {:.2} s",
            killed.acked, killed.lost, killed.doubled, killed.ready_seconds
        )?;
        writeln!(f, "- counted by SQL: {counted}")?;
        let asked = [("trace by id", trace), ("search", search), ("p99", percentile)];
        for (what, asked) in asked {
            writeln!(
                f,
                "- {what}: {} of {} answers right, p50 {:.1} ms, p99 {:.1} ms, CPU {:.1} ms",
                asked.right, asked.times, asked.p50_ms, asked.p99_ms, asked.cpu_ms
            )?;
        }
        Ok(())
    }
}
