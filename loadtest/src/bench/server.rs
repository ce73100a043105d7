//! An `icecore run` with the settings it ships with, on ports of its own, without probes.
//!
//! Invariant: it does not outlive the value.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::error::Error;

/// A start reads a log of some hundred megabytes at most.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Lines that an error quotes of what the server said last.
const SAID_MAX: usize = 20;

/// Between two looks for files to merge.
pub(super) const COMPACTION_INTERVAL: Duration = Duration::from_secs(5);

/// What a server is started with besides.
#[derive(Debug, Clone)]
pub(super) enum Flag {
    /// `--name=value`.
    Setting(String),
    /// A variable of the environment.
    Variable(&'static str, String),
}

#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) pid: u32,
    pub(super) grpc: Url,
    pub(super) api: Url,
    pub(super) data_dir: std::path::PathBuf,
    pub(super) ready_after: Duration,
}

impl Server {
    /// Starts one, with more flags, and waits until it is ready.
    pub(super) async fn start(
        icecore: &Path,
        data_dir: &Path,
        flags: &[Flag],
    ) -> Result<Self, Error> {
        let spawned = command(icecore, data_dir, flags).spawn();
        let began = Instant::now();
        let mut child =
            spawned.map_err(|source| Error::Spawn { path: icecore.to_owned(), source })?;
        let mut said = Vec::new();
        let ports = async {
            let mut lines = BufReader::new(child.stderr.take()?).lines();
            let ports = ports(&mut lines, &mut said).await?;
            // Nobody reads on, but a full pipe would stop the server.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            Some(ports)
        };
        let ports = timeout(READY_WITHIN, ports).await.ok().flatten();
        let (Some((grpc, api)), Some(pid)) = (ports, child.id()) else {
            let from = said.len().saturating_sub(SAID_MAX);
            let said = said.split_off(from).join("\n");
            return Err(Error::NotReady { path: icecore.to_owned(), said });
        };
        let (ready_after, data_dir) = (began.elapsed(), data_dir.to_owned());
        Ok(Self { child, pid, grpc, api, data_dir, ready_after })
    }

    /// `kill -9`.
    pub(super) async fn kill(mut self) -> Result<(), Error> {
        self.child.kill().await.map_err(Error::Kill)
    }
}

/// Settings are those that ship, but for ports, probes, and a shorter wait between compactions, so
/// that the run ends soon; a compaction that finds nothing to merge costs next to nothing.
fn command(icecore: &Path, data_dir: &Path, flags: &[Flag]) -> Command {
    let mut command = quiet(icecore, "run");
    let interval = format!("--compaction-interval={}s", COMPACTION_INTERVAL.as_secs());
    command
        .args(["--probes=false", "--log-format=json", &interval])
        .args(["--otlp-grpc-addr=127.0.0.1:0", "--otlp-http-addr=127.0.0.1:0"])
        .args(["--http-addr=127.0.0.1:0", "--grpc-addr=", "--data-dir"])
        .arg(data_dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for flag in flags {
        match flag {
            Flag::Setting(text) => command.arg(text),
            Flag::Variable(name, value) => command.env(name, value),
        };
    }
    command
}

/// A command of the binary, with no settings of whoever started the bench.
pub(super) fn quiet(icecore: &Path, name: &str) -> Command {
    let mut command = Command::new(icecore);
    command.arg(name).stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ICECORE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Follows the log until the server is ready; `None` where it ends before.
async fn ports(
    lines: &mut Lines<BufReader<ChildStderr>>,
    said: &mut Vec<String>,
) -> Option<(Url, Url)> {
    let (mut grpc, mut api) = (None, None);
    while let Ok(Some(line)) = lines.next_line().await {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        let fields = &event["fields"];
        let url = |name: &str| format!("http://{}", fields[name].as_str()?).parse().ok();
        match fields["message"].as_str() {
            Some("receiving OTLP") => grpc = url("grpc"),
            Some("answering SQL; the page is at /") => api = url("address"),
            Some("ready") => return grpc.zip(api),
            _ => {}
        }
        said.push(line);
    }
    None
}
