//! The standard load: what it costs to take in and to ask, and what `kill -9` leaves of it.

use super::known::Known;
use super::load::{Load, Unit, standard};
use super::queries::Queried;
use super::report::Measured;
use super::server::Server;
use super::targets::engine::{
    ACK_CPU, ALL_CPU, KEPT, LEFT_OUT, MEMORY, PERCENTILE, SEARCH, STORED, TRACE, WRITTEN,
};
use super::{Bench, ingest, kill, queries, usage};
use crate::error::Error;
use crate::generate::Signal;

const OF_OTHERS: &str = "the others were measured once, with the same bytes, on a shared machine \
    of 2 cores under load, at 300,000 spans: CPU is good to about 40 %, wall times are upper \
    bounds; ClickHouse ran without OTLP and HTTP; rotel stores nothing";

pub(super) async fn measure(bench: &Bench, measured: &mut Measured) -> Result<(), Error> {
    let (spans, seed) = (bench.arguments.spans, bench.arguments.seed);
    let load = Load::make(standard(Signal::Traces, spans, seed)).await?;
    let known = Known::of(&load).await?;
    let mut decodes = load.prost_seconds().await?;

    let server = Server::start(&bench.icecore, &bench.folder.join("measured"), &[]).await?;
    let ingested = ingest::measure(&server, &load, None).await?;
    let queried = queries::measure(&server, &known).await?;
    let peak_bytes = usage::peak_bytes(server.pid)?;
    server.kill().await?;

    // Once more, so that a machine that became slower meanwhile is seen in both.
    decodes.extend(load.prost_seconds().await?);
    let unit = Unit::of(&decodes);
    let killed = kill::measure(bench, &load).await?;

    let span = |bytes: u64| bytes as f64 / load.items as f64;
    measured.add(&ACK_CPU, &[ingested.ack_cpu_seconds / unit.mean]);
    measured.add(&ALL_CPU, &[ingested.all_cpu_seconds / unit.mean]);
    measured.add(&STORED, &[span(ingested.bucket_bytes)]);
    measured.add(&WRITTEN, &[span(ingested.written_bytes)]);
    measured.add(&MEMORY, &[peak_bytes as f64 / 1e6]);
    let found = killed.acked.saturating_sub(killed.lost);
    measured.add(&KEPT, &[100.0 * found as f64 / killed.acked.max(1) as f64]);
    let Queried { counted, trace, search, percentile } = &queried;
    measured.add(&TRACE, &[trace.p50_ms, trace.p99_ms, trace.cpu_ms]);
    measured.add(&SEARCH, &[search.cpu_ms]);
    measured.add(&PERCENTILE, &[percentile.cpu_ms]);
    measured.add(&LEFT_OUT, &[ingested.acked.saturating_sub(*counted) as f64]);

    measured.note(format!("{}; {} traces", load.describe(), known.traces));
    measured.note(unit.describe(load.items));
    measured.note(OF_OTHERS);
    ingested.describe().into_iter().for_each(|note| measured.note(note));
    measured.note(killed.describe());
    let asked = [("trace by id", trace), ("search", search), ("p99", percentile)];
    for (what, asked) in asked {
        measured.note(asked.describe(what));
        measured.check(asked.whole(), || asked.describe(what));
    }
    let taken = ingested.acked == load.items && *counted == load.items;
    measured.check(taken, || {
        format!("of {} spans {} acknowledged, {counted} counted by SQL", load.items, ingested.acked)
    });
    measured.check(killed.whole(load.items), || killed.describe());
    Ok(())
}
