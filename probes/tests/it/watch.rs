//! A client that does its work while the agent watches.

use std::io::{BufReader, Read, Write};
use std::process::ChildStdout;
use std::time::Duration;

use icecore_probes::{Config, RungChoice};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::peers::{PATIENCE, Peer, check_figures, line, open, python};
use crate::receiver::{Received, serve};
use crate::requests::of_ports;

/// The longest that a client may take: many times what any of them takes.
const CLIENT_TAKES_MAX: Duration = Duration::from_secs(300);

/// The agent as it is set by default, on one rung.
pub(crate) fn on(rung: RungChoice) -> Config {
    let mut config = Config::default();
    config.capture.rung = rung;
    config
}

/// Starts a client, has it go on once the agent watches, and waits until so many spans of servers at
/// these ports are there for each thing that it wrote down: what it wrote, what was received, and the
/// agent's own figures, which say that nothing was lost. None, and said so, where something is not
/// installed or not allowed here.
pub(crate) async fn watched<T: for<'a> Deserialize<'a>>(
    config: Config,
    client: &str,
    arguments: &[String],
    ports: &[u16],
    spans_each: usize,
) -> Option<(Vec<T>, Received, Registry)> {
    watched_peer(config, python(client, arguments), ports, spans_each).await
}

/// The same of a client that was started, whatever it is written in.
pub(crate) async fn watched_peer<T: for<'a> Deserialize<'a>>(
    mut config: Config,
    client: (Peer, BufReader<ChildStdout>),
    ports: &[u16],
    spans_each: usize,
) -> Option<(Vec<T>, Received, Registry)> {
    let (mut client, mut lines) = client;
    let first = line(&mut lines);
    if first.starts_with("missing") {
        println!("skipped: {}", first.trim());
        return None;
    }
    assert_eq!(first, "ready\n");
    // Whatever else the machine does while this runs has its place beside it: tests run side by side, each with an agent that
    // is not optimised and sees what passes in all of them.
    config.capture.data_ring_bytes = 256 << 20;
    config.budget.memory_bytes_max = 1 << 30;
    let stop = CancellationToken::new();
    let (endpoint, received) = serve(stop.clone()).await;
    let mut registry = Registry::default();
    let probes = open(config, endpoint, &mut registry).await?;
    let probes_stop = CancellationToken::new();
    let running = tokio::spawn(probes.run(probes_stop.clone()));
    client.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut output = String::new();
    let output = tokio::task::spawn_blocking(move || {
        lines.read_to_string(&mut output).map(|_| output).unwrap()
    });
    let output = tokio::time::timeout(CLIENT_TAKES_MAX, output).await.expect("a client hangs");
    let rows: Vec<T> = serde_json::from_str(&output.unwrap()).unwrap();
    let end = tokio::time::Instant::now() + PATIENCE;
    let some = || of_ports(&received, ports).len();
    while some() < spans_each * rows.len() && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    probes_stop.cancel();
    running.await.unwrap().unwrap().wait().await;
    stop.cancel();
    // What the kernel had no room for is not there to be compared with anything.
    check_figures(&registry);
    Some((rows, received, registry))
}
