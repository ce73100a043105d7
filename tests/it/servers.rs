//! The bucket on real S3-compatible servers: one that keeps create-only puts, one that ignores them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::icecore::Start;
use crate::otlp::{post, request};
use crate::peers::{self, Running, free_port, listening};

const KEY: &str = "AKTEST";
const SECRET: &str = "secretkey123";

/// An S3-compatible server.
pub(crate) struct Server {
    _running: Running,
    port: u16,
}

impl Server {
    async fn start(command: &mut Command, port: u16) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { _running: Running(child), port };
        listening(port).await;
        server
    }

    /// How an Icecore over it is started.
    pub(crate) fn client(&self, data_dir: &Path) -> Start {
        Start::new(data_dir)
            .arg("storage", "s3://tele/some/prefix")
            .arg("s3-endpoint", &format!("http://127.0.0.1:{}", self.port))
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
    }
}

/// One that keeps create-only puts; none where it is not installed.
pub(crate) async fn s3s_fs(folder: &Path) -> Option<Server> {
    let program = peers::program("s3s-fs")?;
    std::fs::create_dir_all(folder.join("tele")).unwrap();
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--access-key", KEY, "--secret-key", SECRET]).arg(folder);
    Some(Server::start(&mut command, port).await)
}

async fn rclone(folder: &Path) -> Option<Server> {
    let program = peers::python_program("rclone")?;
    std::fs::create_dir_all(folder.join("tele")).unwrap();
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["serve", "s3"]).arg(folder).args(["--addr", &format!("127.0.0.1:{port}")]);
    command.args(["--auth-key", &format!("{KEY},{SECRET}")]);
    Some(Server::start(&mut command, port).await)
}

/// Sends, kills, starts again, and starts anew on the bucket alone: every span once each time.
async fn check_line(server: &Server) {
    let folder = tempfile::tempdir().unwrap();
    let start = server.client(folder.path());
    let icecore = start.run();
    for number in 0..20 {
        assert!(post(&icecore.http, request("s3", number * 50, 50)).await.status().is_success());
    }
    assert_eq!(icecore.count("SELECT count(*) FROM spans").await, 1000);
    icecore.kill();
    let icecore = start.run();
    assert_eq!(icecore.count("SELECT count(DISTINCT span_id) FROM spans").await, 1000);
    assert_eq!(icecore.count("SELECT count(*) FROM spans").await, 1000);
    icecore.stop();
    let elsewhere = tempfile::tempdir().unwrap();
    let icecore = server.client(elsewhere.path()).run();
    assert_eq!(icecore.count("SELECT count(*) FROM spans WHERE service_name = 's3'").await, 1000);
    icecore.stop();
}

/// Scenario: the line over a server that keeps create-only puts; then with a wrong secret.
/// Guarantees: all spans once, whatever is restarted; the wrong secret is told at start in words.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_keeps_create_only_puts() {
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = s3s_fs(folder.path()).await else { return };
    check_line(&server).await;
    let data = tempfile::tempdir().unwrap();
    let wrong = server.client(data.path()).env("AWS_SECRET_ACCESS_KEY", "not-the-secret");
    let (code, said) = wrong.refused();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("AWS_SECRET_ACCESS_KEY") && !said.contains("not-the-secret"), "{said}");
}

/// Scenario: the line over a server that answers create-only puts with success and overwrites.
/// Guarantees: it is found out at start; one writer works; a second writer is refused in words.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_ignores_create_only_puts() {
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = rclone(folder.path()).await else { return };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let icecore = server.client(one.path()).run();
    let metrics = icecore.get("/metrics").await.text().await.unwrap();
    let gauge =
        metrics.lines().find(|line| line.contains("single_writer") && !line.starts_with('#'));
    assert!(gauge.is_some_and(|line| line.ends_with(" 1")), "{gauge:?}");
    let (code, said) = server.client(two.path()).refused();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("one writer only"), "{said}");
    icecore.stop();
    check_line(&server).await;
}
