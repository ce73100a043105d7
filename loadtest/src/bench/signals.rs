//! Data points and log records: their size in the bucket, what taking them in costs, and whether
//! each of them is there once.

use super::load::{Load, Unit, of_density, standard};
use super::report::Measured;
use super::server::Server;
use super::targets::signals::{
    FOUND, POINT_BYTES, POINTS_CPU, POINTS_SECONDS, RECORD_BYTES, RECORDS_CPU,
};
use super::{Bench, ingest};
use crate::cli::{self, Part, VerifyArgs};
use crate::error::Error;
use crate::generate::{COLLECTED_EVERY_SECONDS, Signal};
use crate::verify;

pub(super) async fn measure(
    bench: &Bench,
    part: Part,
    measured: &mut Measured,
) -> Result<(), Error> {
    let metrics = part == Part::Metrics;
    let load = Load::make(plan(bench, metrics)).await?;
    let mut decodes = load.prost_seconds().await?;
    let acked = bench.folder.join("acked");
    let server = Server::start(&bench.icecore, &bench.folder.join("signals"), &[]).await?;
    let ingested = ingest::measure(&server, &load, Some(acked.clone())).await?;
    decodes.extend(load.prost_seconds().await?);
    let unit = Unit::of(&decodes);
    let found = verify::run(&VerifyArgs { acked, url: server.api.clone() }).await?;
    server.kill().await?;

    let items = load.items as f64;
    let (ack, all) = (ingested.ack_cpu_seconds, ingested.all_cpu_seconds);
    let units = [ack / unit.mean, all / unit.mean];
    let bytes = ingested.bucket_bytes as f64 / items;
    if metrics {
        measured.add(&POINT_BYTES, &[bytes]);
        measured.add(&POINTS_CPU, &units);
        measured.add(&POINTS_SECONDS, &[ack * 1e6 / items, all * 1e6 / items]);
    } else {
        measured.add(&RECORD_BYTES, &[bytes]);
        measured.add(&RECORDS_CPU, &units);
    }
    measured.add(&FOUND, &[found.lost.len() as f64, found.doubled.len() as f64]);
    measured.note(load.describe());
    measured.note(unit.describe(load.items));
    ingested.describe().into_iter().for_each(|note| measured.note(note));
    measured.check(found.whole() && found.acked as u64 == load.items, || found.to_string());
    Ok(())
}

fn plan(bench: &Bench, metrics: bool) -> cli::Load {
    let cli::BenchArgs { points, series, seed, .. } = bench.arguments;
    if metrics {
        // A density below one point a second would be no load at all.
        let density = (series / COLLECTED_EVERY_SECONDS).max(1);
        cli::Load { series, ..of_density(Signal::Metrics, points, seed, density) }
    } else {
        standard(Signal::Logs, points, seed)
    }
}
