//! What the tests talk to: looked for in the cache folder that `./dev` fills, skipped when absent.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that `./dev` installs into.
pub(crate) fn cache() -> PathBuf {
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    env::var_os("ICECORE_CACHE").map_or_else(|| home.join(".cache/icecore"), PathBuf::from)
}

/// A program of the cache folder; says so and returns `None` where `./dev` has not put it there.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    found(cache().join("bin").join(name), name)
}

/// The Python of the tests.
pub(crate) fn python() -> Option<PathBuf> {
    let packages = cache().join("venv/installed.txt");
    found(packages, "the Python packages").map(|_| cache().join("venv/bin/python"))
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
