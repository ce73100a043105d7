//! The files of a store behind an S3 server that answers each request late, with every request
//! counted on its way.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::Bench;
use super::api::{Api, spans};
use super::server::{Flag, Server};
use super::settle;
use crate::error::Error;
use crate::fault::SlowProxy;

const KEY: &str = "AKBENCH";
const SECRET: &str = "secretkey123";

const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// Waves of requests are what is looked at here, and not how fast the server of the test reads its
/// folder.
const PATIENCE_SECONDS: u64 = 600;

/// Requests for files of rows have this in their path.
const DATA: &str = "/data/";

/// An Icecore that reads a store over a slow bucket.
#[derive(Debug)]
pub(super) struct Remote {
    proxy: SlowProxy,
    server: Server,
    api: Api,
    _s3: Child,
}

/// The bucket's name, and the folder of it in that of the store.
const BUCKET: &str = "bucket";

/// Whether what is fetched is kept on local disk: without, each question is one to the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageCache {
    Off,
    On,
}

impl PageCache {
    const fn setting(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
        }
    }
}

/// What one question took.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) seconds: f64,
    pub(super) rows: u64,
    pub(super) requests: usize,
    pub(super) waves: usize,
    /// Files that requests were made for, and the most that were made for one.
    pub(super) files: usize,
    pub(super) most_a_file: usize,
}

impl Asked {
    pub(super) fn requests_a_file(&self) -> f64 {
        self.requests as f64 / self.files.max(1) as f64
    }

    pub(super) fn describe(&self) -> String {
        let Self { seconds, rows, requests, waves, files, most_a_file } = self;
        format!(
            "{seconds:.2} s, {rows} rows, {requests} requests for {files} files (at most \
             {most_a_file} a file) in {waves} waves"
        )
    }
}

impl Remote {
    /// `None` where s3s-fs is not installed.
    pub(super) async fn start(
        bench: &Bench,
        data_dir: &Path,
        page_cache: PageCache,
    ) -> Result<Option<Self>, Error> {
        let program = bench.arguments.cache().join("bin/s3s-fs");
        if !program.exists() {
            return Ok(None);
        }
        let failed = |source| Error::Spawn { path: program.clone(), source };
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = port.map_err(failed)?;
        put_etags(data_dir).map_err(failed)?;
        // The store's folder has one called `bucket`, which is the bucket's name.
        let s3 = Command::new(&program)
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--access-key", KEY, "--secret-key", SECRET])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        listening(address).await?;
        let latency = Duration::from_millis(bench.arguments.latency_ms);
        let proxy = SlowProxy::start(address, latency).await.map_err(failed)?;
        let flags = [
            Flag::Setting(format!("--storage=s3://{BUCKET}")),
            Flag::Setting(format!("--s3-endpoint=http://{}", proxy.address)),
            Flag::Setting("--compaction=false".to_owned()),
            Flag::Setting(format!("--page-cache={}", page_cache.setting())),
            Flag::Setting(format!("--query-timeout={PATIENCE_SECONDS}s")),
            Flag::Variable("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            Flag::Variable("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ];
        let server = Server::start(&bench.icecore, &bench.folder.join("remote"), &flags).await?;
        let api = Api::new(&server.api)?;
        settle::know_traces(&api).await?;
        Ok(Some(Self { proxy, server, api, _s3: s3 }))
    }

    pub(super) async fn sql(&self, query: &str) -> Result<Asked, Error> {
        self.asked(async {
            let answer = self.api.sql(query).await?;
            Ok(answer["rows"].as_array().map_or(0, |rows| rows.len() as u64))
        })
        .await
    }

    pub(super) async fn trace(&self, id: &str) -> Result<Asked, Error> {
        self.asked(async {
            let trace: Value = self.api.trace(id).await?;
            Ok(spans(&trace))
        })
        .await
    }

    async fn asked(&self, rows: impl Future<Output = Result<u64, Error>>) -> Result<Asked, Error> {
        self.proxy.forget();
        let began = Instant::now();
        let rows = rows.await?;
        let seconds = began.elapsed().as_secs_f64();
        let tally = self.proxy.gets(DATA);
        Ok(Asked {
            seconds,
            rows,
            requests: tally.requests,
            waves: tally.waves,
            files: tally.paths.len(),
            most_a_file: tally.paths.values().copied().max().unwrap_or(0),
        })
    }

    pub(super) async fn stop(self) -> Result<(), Error> {
        self.server.kill().await
    }
}

/// Leaves beside the bucket what a `PUT` of each file would have left: its ETag. The server reads a
/// whole file for each request of a part of it otherwise, to sum it up.
fn put_etags(data_dir: &Path) -> io::Result<()> {
    let bucket = data_dir.join(BUCKET);
    let mut folders = vec![bucket.join("data")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let (path, about) = (entry.path(), entry.metadata()?);
            if about.is_dir() {
                folders.push(path);
            } else if let Ok(key) = path.strip_prefix(&bucket) {
                let name = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
                let key = key.as_os_str().as_encoded_bytes();
                let (of, key) = (name(BUCKET.as_bytes()), name(key));
                // Files never change, so that anything of their own will do.
                let etag = format!(r#"{{"e_tag":"{:032x}"}}"#, about.len());
                let beside = format!(".bucket-{of}.object-{key}.internal.json");
                std::fs::write(data_dir.join(beside), etag)?;
            }
        }
    }
    Ok(())
}

async fn listening(address: SocketAddr) -> Result<(), Error> {
    let began = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        if began.elapsed() > LISTENS_WITHIN {
            return Err(Error::Peer { name: "s3s-fs", said: "it does not listen".to_owned() });
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
