//! What processes use, as they know it of themselves.

use std::io::Write;
use std::time::Duration;

use icecore_probes::Config;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::peers::{line, open, python};
use crate::receiver::{Received, serve, shown};

/// A process as it knows itself.
#[derive(Debug, Deserialize)]
struct Own {
    pid: u32,
    user: f64,
    system: f64,
    resident: f64,
    threads: f64,
    descriptors: f64,
    written: f64,
}

/// Scenario: a process burns CPU in user space and in the kernel, fills memory, writes to a disk, starts
/// threads and opens files, and then rests.
/// Guarantees: its metrics say the same, under the names of the semantic conventions, as does the
/// resource which process it is; the machine's CPUs, memory and interfaces are there.
#[tokio::test(flavor = "multi_thread")]
async fn processes_are_told_as_they_know_themselves() {
    let (mut busy, mut lines) = python("busy.py", &[]);
    let own: Own = serde_json::from_str(&line(&mut lines)).unwrap();
    let stop = CancellationToken::new();
    let (endpoint, received) = serve(stop.clone()).await;
    let mut config = Config::default();
    config.machine.every = Duration::from_millis(100);
    let mut registry = Registry::default();
    let Some(probes) = open(config, endpoint, &mut registry).await else { return };
    let probes_stop = CancellationToken::new();
    let running = tokio::spawn(probes.run(probes_stop.clone()));
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    let found = || value(&received, own.pid, "process.cpu.time", ("cpu.mode", "user")).is_some();
    while !found() && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    probes_stop.cancel();
    running.await.unwrap().unwrap().wait().await;
    busy.0.stdin.take().unwrap().write_all(b"done\n").unwrap();
    check(&own, &received);
    stop.cancel();
}

fn check(own: &Own, received: &Received) {
    let any = ("", "");
    let near = |name: &str, attribute, wanted: f64, slack: f64| {
        let value = value(received, own.pid, name, attribute);
        let value = value.unwrap_or_else(|| panic!("no {name} of {own:?}"));
        assert!((value - wanted).abs() <= slack, "{name} {attribute:?}: {value}, {own:?}");
    };
    near("process.cpu.time", ("cpu.mode", "user"), own.user, 0.1);
    near("process.cpu.time", ("cpu.mode", "system"), own.system, 0.1);
    near("process.memory.usage", any, own.resident, 2e6);
    near("process.thread.count", any, own.threads, 0.0);
    near("process.disk.io", ("disk.io.direction", "write"), own.written, 1e6);
    if value(received, own.pid, "process.unix.file_descriptor.count", any).is_some() {
        near("process.unix.file_descriptor.count", any, own.descriptors, 0.0);
    }
    let machine = |name: &str, attribute| of(received, name, attribute, &|_| true).is_some();
    assert!(machine("system.cpu.time", ("cpu.mode", "idle")));
    assert!(machine("system.memory.usage", ("system.memory.state", "used")));
    assert!(machine("system.network.io", ("network.interface.name", "lo")));
}

fn value(received: &Received, pid: u32, name: &str, attribute: (&str, &str)) -> Option<f64> {
    let pid = pid.to_string();
    of(received, name, attribute, &|resource| {
        shown(resource, "process.pid").as_deref() == Some(&*pid)
            && shown(resource, "process.executable.name").is_some_and(|it| it.starts_with("python"))
    })
}

/// The last value of a metric, in the first series with this attribute.
fn of(
    received: &Received,
    name: &str,
    (key, wanted): (&str, &str),
    resource: &dyn Fn(&[KeyValue]) -> bool,
) -> Option<f64> {
    let mut last = None;
    for of_resource in received.metrics() {
        if !resource(&of_resource.resource.unwrap_or_default().attributes) {
            continue;
        }
        let metrics = of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
        for metric in metrics.filter(|metric| metric.name == name) {
            let Some(Data::Sum(sum)) = metric.data else { panic!("{metric:?}") };
            let has = |attributes: &[KeyValue]| {
                key.is_empty() || shown(attributes, key).as_deref() == Some(wanted)
            };
            let point = sum.data_points.into_iter().find(|point| has(&point.attributes));
            last = point.and_then(|point| point.value).or(last);
        }
    }
    match last? {
        Value::AsDouble(value) => Some(value),
        Value::AsInt(value) => value.to_string().parse().ok(),
    }
}
