//! The end of the agent while much is hooked.

use std::process::Command;
use std::time::Duration;

use icecore_probes::Config;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::peers::{built, check_figures, line, open, spawn};
use crate::receiver::serve;
use crate::tls::certificate;

/// Programs with a TLS library each, beside those of the system; the kernel takes several seconds to take the probes off.
const PROGRAMS: usize = 2;
/// What the emitter may take.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Scenario: the agent has probes on the functions of two programs by Go, and is stopped.
/// Guarantees: what was seen is sent, and the balance closed, before the kernel has taken all of the probes off; in the
/// end none is left.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_does_not_wait_for_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(pair), Some(program)) = (certificate(folder.path()), built("tls-go-1.27")) else {
        return;
    };
    let serving = |index: usize| {
        let own = folder.path().join(index.to_string());
        std::fs::copy(&program, &own).unwrap();
        let (peer, mut lines) = spawn(Command::new(own).arg("serve").args(&pair));
        line(&mut lines);
        peer
    };
    let _peers: Vec<_> = (0..PROGRAMS).map(serving).collect();
    let stop = CancellationToken::new();
    let (endpoint, _received) = serve(stop.clone()).await;
    let mut registry = Registry::default();
    let mut config = Config::default();
    // Whatever else the machine does while this runs has its place beside it.
    config.capture.data_ring_bytes = 64 << 20;
    let Some(probes) = open(config, endpoint, &mut registry).await else { return };
    let probes_stop = CancellationToken::new();
    let running = tokio::spawn(probes.run(probes_stop.clone()));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    probes_stop.cancel();
    let off = running.await.unwrap().unwrap();
    let sent = began.elapsed();
    check_figures(&registry);
    off.wait().await;
    println!("all was sent after {sent:?}, and all probes were off after {:?}", began.elapsed());
    assert!(sent < STOPS_WITHIN, "the end took {sent:?}");
    stop.cancel();
}
