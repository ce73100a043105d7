//! A running `icecore`, on ports of its own, over a folder that goes with the test.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

/// How long anything that must happen may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One process of `icecore run`, or of one role; killed when dropped. What it does not serve is empty.
pub(crate) struct Icecore {
    child: Child,
    pub(crate) grpc: String,
    pub(crate) http: String,
    pub(crate) api: String,
    /// Where Arrow Flight SQL is answered.
    pub(crate) flight: String,
    /// The port of the PostgreSQL wire protocol.
    pub(crate) postgres: String,
    /// Where live rows are served to other processes.
    pub(crate) live: String,
}

/// How to start one.
#[derive(Clone)]
pub(crate) struct Start {
    role: &'static str,
    pub(crate) data_dir: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Start {
    /// Over `data_dir`, with probes off: most tests send their own data.
    pub(crate) fn new(data_dir: &Path) -> Self {
        let args = ["--probes=false", "--flush-after", "1s"].map(str::to_owned).into();
        Self { role: "run", data_dir: data_dir.to_owned(), args, env: Vec::new() }
    }

    /// One role in place of all.
    pub(crate) fn role(self, role: &'static str) -> Self {
        Self { role, ..self }
    }

    /// With one more flag.
    pub(crate) fn arg(mut self, name: &str, value: &str) -> Self {
        self.args.push(format!("--{name}={value}"));
        self
    }

    /// With a variable in the environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_icecore"));
        command
            .arg(self.role)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--otlp-grpc-addr=127.0.0.1:0", "--otlp-http-addr=127.0.0.1:0"])
            .args(["--http-addr=127.0.0.1:0", "--grpc-addr=127.0.0.1:0", "--pg-addr=127.0.0.1:0"])
            .args(["--live-addr=127.0.0.1:0", "--log-format=json"])
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn run(&self) -> Icecore {
        let mut child = self.command().spawn().unwrap();
        let (tell, told) = mpsc::sync_channel(64);
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            let echo = std::env::var_os("ICECORE_TEST_LOG").is_some();
            for line in lines.map_while(Result::ok) {
                if echo {
                    eprintln!("{line}");
                }
                // After the start nobody listens; reading on keeps the pipe from filling.
                drop(tell.try_send(line));
            }
        });
        let (mut grpc, mut http) = (String::new(), String::new());
        let (mut api, mut flight, mut postgres) = (String::new(), String::new(), String::new());
        let mut live = String::new();
        let mut seen = Vec::new();
        loop {
            let line = told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                drop(child.kill());
                panic!("icecore did not become ready; it said:\n{}", seen.join("\n"))
            });
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let field = |name: &str| event["fields"][name].as_str().unwrap_or_default().to_owned();
            match event["fields"]["message"].as_str() {
                Some("receiving OTLP") => (grpc, http) = (field("grpc"), field("http")),
                Some("answering SQL; the page is at /") => {
                    api = format!("http://{}", field("address"))
                }
                Some("serving live rows to queries of other processes") => live = field("address"),
                Some("answering Arrow Flight SQL") => {
                    flight = format!("grpc://{}", field("address"));
                }
                Some("answering the PostgreSQL wire protocol") => {
                    postgres = field("address").rsplit(':').next().unwrap_or_default().to_owned();
                }
                Some("ready") => break,
                _ => {}
            }
            seen.push(line);
        }
        let (grpc, http) = (format!("http://{grpc}"), format!("http://{http}"));
        Icecore { child, grpc, http, api, flight, postgres, live }
    }

    /// Runs `icecore store …` on its bucket.
    pub(crate) fn store(&self, args: &[&str]) -> std::process::Output {
        let settings = self.args.iter().filter(|arg| arg.starts_with("--s"));
        Command::new(env!("CARGO_BIN_EXE_icecore"))
            .arg("store")
            .args(args)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(settings)
            .envs(self.env.iter().cloned())
            .output()
            .unwrap()
    }

    /// Starts it where it must refuse; gives back what it said on its way out and its exit code.
    pub(crate) fn refused(&self) -> (Option<i32>, String) {
        let output = self.command().output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Icecore {
    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has drained.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "icecore ended with {status}");
    }

    /// Runs `icecore` as a client of this one.
    pub(crate) fn client(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_icecore"))
            .args(args)
            .env("ICECORE_URL", &self.api)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// The rows of a query.
    pub(crate) async fn sql(&self, query: &str) -> Vec<Vec<Value>> {
        let answer = self.post_sql(query).await;
        let rows = answer["rows"].as_array();
        let rows = rows.unwrap_or_else(|| panic!("`{query}` answered {answer}"));
        rows.iter().map(|row| row.as_array().unwrap().clone()).collect()
    }

    /// The one number that a query answers.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        self.sql(query).await[0][0].as_i64().unwrap()
    }

    /// The whole answer of a query.
    pub(crate) async fn post_sql(&self, query: &str) -> Value {
        let url = format!("{}/api/v1/sql", self.api);
        let request = reqwest::Client::new().post(url).json(&json!({ "query": query }));
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Waits until a query that counts answers at least `wanted`, then gives what it answered.
    pub(crate) async fn wait_for(&self, query: &str, wanted: i64) -> i64 {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let count = self.count(query).await;
            if count >= wanted || tokio::time::Instant::now() > end {
                return count;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A path of the query API.
    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::get(format!("{}{path}", self.api)).await.unwrap()
    }
}

impl Drop for Icecore {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
