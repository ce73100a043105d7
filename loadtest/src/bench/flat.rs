//! Peak memory at two sizes: a load three times as large must not take more.

use super::known::Known;
use super::load::{Load, standard};
use super::report::Measured;
use super::server::Server;
use super::{Bench, ingest, queries, targets, usage};
use crate::error::Error;
use crate::generate::Signal;

pub(super) async fn measure(bench: &Bench, measured: &mut Measured) -> Result<(), Error> {
    let mut peaks = Vec::new();
    for spans in [bench.arguments.spans, bench.arguments.flat_spans] {
        let load = Load::make(standard(Signal::Traces, spans, bench.arguments.seed)).await?;
        let known = Known::of(&load).await?;
        let data_dir = bench.folder.join(format!("flat-{spans}"));
        let server = Server::start(&bench.icecore, &data_dir, &[]).await?;
        let ingested = ingest::measure(&server, &load, None).await?;
        let queried = queries::measure(&server, &known).await?;
        let peak = usage::peak_bytes(server.pid)? as f64 / 1e6;
        server.kill().await?;
        peaks.push(peak);
        measured.note(format!(
            "{spans} spans: {:.0} MB taking them in, {peak:.0} MB with the queries, {:.1} bytes a \
             span in the bucket, {:.2} CPU-s a million in all; {}",
            ingested.peak_bytes as f64 / 1e6,
            ingested.bucket_bytes as f64 / spans as f64,
            ingested.all_cpu_seconds * 1e6 / spans as f64,
            ingested.summary
        ));
        measured.check(queried.counted == spans, || {
            format!("of {spans} spans SQL counts {}", queried.counted)
        });
    }
    measured.add(&targets::FLAT, &peaks);
    Ok(())
}
