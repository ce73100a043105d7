//! What the tests talk to: looked for in the cache folder that `./dev` fills, skipped when absent.

use std::env;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::icecore::PATIENCE;

/// Tests that make traffic share it, tests that listen to the whole machine want it alone.
static TRAFFIC: RwLock<()> = RwLock::const_new(());

/// Held while a test makes traffic.
pub(crate) async fn noisy() -> RwLockReadGuard<'static, ()> {
    TRAFFIC.read().await
}

/// Held while a test counts what the kernel saw: nobody else of this binary makes traffic.
pub(crate) async fn quiet() -> RwLockWriteGuard<'static, ()> {
    TRAFFIC.write().await
}

/// A server that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens on the port.
pub(crate) async fn listening(port: u16) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(tokio::time::Instant::now() < end, "nobody listens on {port}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The folder that `./dev` installs into.
pub(crate) fn cache() -> PathBuf {
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    env::var_os("ICECORE_CACHE").map_or_else(|| home.join(".cache/icecore"), PathBuf::from)
}

/// A program of the cache folder; says so and returns `None` where `./dev` has not put it there.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    found(cache().join("bin").join(name), name)
}

/// The load generator of this workspace, which is built beside this test.
pub(crate) fn loadtest() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_icecore")).with_file_name("icecore-loadtest");
    found(beside, "the load generator")
}

/// The Python of the tests.
pub(crate) fn python() -> Option<PathBuf> {
    let packages = cache().join("venv/installed.txt");
    found(packages, "the Python packages").map(|_| cache().join("venv/bin/python"))
}

/// The Python of the tests where it also has the engines that take long to install.
pub(crate) fn heavy_python() -> Option<PathBuf> {
    let packages = cache().join("venv/installed-readers.txt");
    found(packages, "chdb and pyspark").map(|_| cache().join("venv/bin/python"))
}

/// A program that a Python package brought along.
pub(crate) fn python_program(name: &str) -> Option<PathBuf> {
    found(cache().join("venv/bin").join(name), name)
}

/// Node.js with the folder that has its packages.
pub(crate) fn node() -> Option<PathBuf> {
    found(cache().join("node/installed.json"), "the Node.js packages").map(|_| cache().join("node"))
}

/// Whether this process may load eBPF programs.
pub(crate) fn root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    let root = output.stdout == b"0\n";
    if !root {
        skip("not root: eBPF programs cannot be loaded");
    }
    root
}

/// Says that a test was not run, and why.
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// A script of ours in a language of the peers.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scripts").join(name)
}

fn found(path: PathBuf, what: &str) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    skip(&format!("{what} not installed; `./dev test` and `./dev peers` install it"));
    None
}
