//! `icecore probe` with the settings it ships with, sending to a sink.
//!
//! Invariant: it ends with the value.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::sink::Sink;
use crate::bench::api::{Api, Metrics};
use crate::bench::server::quiet;
use crate::bench::usage;
use crate::error::Error;

const READY_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
    pub(super) pid: u32,
    api: Api,
    /// When it was started.
    pub(super) began: Instant,
}

impl Agent {
    /// None where it ends at once, as it does where the machine lets no probes in.
    pub(super) async fn start(
        icecore: &Path,
        sink: &Sink,
        flags: &[&str],
    ) -> Result<Option<Self>, Error> {
        let port =
            |source| Error::File { action: "find a port for", path: "icecore".into(), source };
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let url = format!("http://{}", address.map_err(port)?);
        let failed = |source| Error::Spawn { path: icecore.to_owned(), source };
        let mut command = quiet(icecore, "probe");
        command.arg(format!("--http-addr={}", url.trim_start_matches("http://")));
        command.arg(format!("--probe-endpoint={}", sink.endpoint)).args(["--log=warn"]).args(flags);
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        let began = Instant::now();
        let mut child = command.spawn().map_err(failed)?;
        let Some(pid) = child.id() else { return Ok(None) };
        let wrong = |error: url::ParseError| Error::Endpoint {
            url: url.clone(),
            reason: error.to_string(),
        };
        let api = Api::new(&url.parse::<Url>().map_err(wrong)?)?;
        let ready = async {
            loop {
                if api
                    .metrics()
                    .await
                    .is_ok_and(|page| page.sum("icecore_probes_spans_share") > 0.0)
                {
                    return Ok(true);
                }
                if child.try_wait().map_err(failed)?.is_some() {
                    return Ok(false);
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let ready = timeout(READY_WITHIN, ready).await;
        match ready {
            Ok(Ok(true)) => Ok(Some(Self { child, pid, api, began })),
            Ok(Ok(false)) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::NotReady { path: icecore.to_owned(), said: String::new() }),
        }
    }

    /// CPU seconds so far, those of its kernel programs in other processes included.
    pub(super) async fn used(&self) -> Result<f64, Error> {
        let page = self.metrics().await?;
        let kernel = page.sum_of("icecore_probes_cpu_microseconds_total", "kernel");
        Ok(usage::cpu_seconds(self.pid)? + kernel / 1e6)
    }

    pub(super) async fn metrics(&self) -> Result<Metrics, Error> {
        self.api.metrics().await
    }

    pub(super) async fn stop(mut self) -> Result<(), Error> {
        self.child.kill().await.map_err(Error::Kill)
    }
}
