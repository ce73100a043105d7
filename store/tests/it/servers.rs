//! S3-compatible servers as child processes on loopback, ended when dropped.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use icecore_store::{S3Config, Secret};
use tempfile::TempDir;
use url::Url;

/// The key that every server here accepts.
pub(crate) const KEY: &str = "AKTEST";
/// The secret that goes with it.
pub(crate) const SECRET: &str = "secretkey123";

/// A server with a bucket called `core`.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it is on loopback.
    pub(crate) port: u16,
    /// Where it keeps its objects.
    pub(crate) folder: TempDir,
}

impl Server {
    /// One that honours create-only puts; `None`, said aloud, where it is not installed.
    pub(crate) fn create_only() -> Option<Self> {
        let program = find(&["bin/s3s-fs"], "s3s-fs")?;
        Some(Self::start(|folder, port| {
            let mut command = Command::new(&program);
            let port = port.to_string();
            command.args(["--host", "127.0.0.1", "--port", &port, "--access-key", KEY]);
            command.args(["--secret-key", SECRET]).arg(folder);
            command
        }))
    }

    /// One that overwrites whatever it is asked to create.
    pub(crate) fn overwriting() -> Option<Self> {
        let program = find(&["venv/bin/rclone", "bin/rclone"], "rclone")?;
        Some(Self::start(|folder, port| {
            let mut command = Command::new(&program);
            command.args(["serve", "s3"]).arg(folder);
            command.args(["--addr", &format!("127.0.0.1:{port}")]);
            command.args(["--auth-key", &format!("{KEY},{SECRET}"), "--config", "/dev/null"]);
            command
        }))
    }

    fn start(command: impl Fn(&Path, u16) -> Command) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("core")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = command(folder.path(), port);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { child: command.spawn().unwrap(), port, folder };
        server.wait_until_up();
        server
    }

    #[expect(clippy::disallowed_methods, reason = "a child process keeps its own time")]
    fn wait_until_up(&self) {
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server on port {} did not come up", self.port);
    }

    /// How to reach it with the right key.
    pub(crate) fn s3(&self) -> S3Config {
        S3Config {
            endpoint: Some(endpoint(self.port)),
            region: None,
            access_key_id: Some(KEY.to_owned()),
            secret_access_key: Some(Secret::new(SECRET)),
            session_token: None,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The URL of a port on this machine.
pub(crate) fn endpoint(port: u16) -> Url {
    Url::parse(&format!("http://127.0.0.1:{port}")).unwrap()
}

/// A program in the cache folder, or on the path.
fn find(cached: &[&str], name: &str) -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/icecore"));
    let cache = std::env::var_os("ICECORE_CACHE").map(PathBuf::from).or_else(home);
    let cached = cache.into_iter().flat_map(|cache| cached.iter().map(move |p| cache.join(p)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name)).collect::<Vec<_>>();
    let found = cached.chain(on_path).find(|program| program.is_file());
    if found.is_none() {
        println!("skipped: {name} is not installed; `./dev test` installs it");
    }
    found
}
