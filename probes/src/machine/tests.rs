//! Readings in, metrics out.

use super::*;
use crate::emit::Emitter;
use crate::identity::{self, IdentityConfig, Kubernetes};
use crate::pipeline::PipelineConfig;

/// Scenario: this machine, where two processes may have metrics of their own, read twice.
/// Guarantees: the two that hold the most have them; what the others hold is in one series, and they
/// are counted.
#[tokio::test]
async fn the_smallest_are_summed_up() {
    let mut registry = Registry::default();
    let no_cluster = IdentityConfig { kubernetes: Kubernetes::Off, ..IdentityConfig::default() };
    let (identity, _task) = identity::open(no_cluster, &mut registry).await.unwrap();
    let (emitter, _items) = Emitter::to_queue(10);
    let mut pipeline = Pipeline::new(PipelineConfig::default(), identity, emitter, &mut registry);
    let metrics = ReadingMetrics::new(&mut registry);
    let read = reader(PathBuf::from("/proc"), 2);
    let first = read().unwrap();
    let reading = read().unwrap();
    [&first, &reading].into_iter().for_each(|one| metrics.show(one));
    assert_eq!(reading.shown.len(), 2);
    let least = reading.shown.iter().map(|usage| usage.resident_bytes).min().unwrap();
    assert!(reading.others.iter().all(|usage| usage.resident_bytes <= least));
    let now = 2_000_000_000_000_000_000;
    let told = reading.tell_processes(&reading.shown, now, &mut pipeline);
    let largest = format!("AsInt({})", reading.shown[0].resident_bytes);
    assert!(told.len() == 2 && format!("{:?}", told[0]).contains(&largest), "{told:?}");
    let told = reading.tell_machine(now, &pipeline.host());
    let held: u64 = reading.others.iter().map(|usage| usage.resident_bytes).sum();
    let shown = format!("{:?}", told[1]);
    let overflow = shown.contains("otel.metric.overflow");
    assert!(overflow && shown.contains(&format!("AsInt({held})")), "{shown}");
    let mut figures = String::new();
    prometheus_client::encoding::text::encode(&mut figures, &registry).unwrap();
    let summed = first.others.len() + reading.others.len();
    assert!(figures.contains("icecore_probes_processes_shown 2"), "{figures}");
    let line = format!("icecore_probes_processes_summed_total {summed}");
    assert!(figures.contains(&line), "{figures}");
}
