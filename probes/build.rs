//! Builds the kernel programs for the BPF target and leaves them where `load.rs` embeds them.
//!
//! The kernel programs are a workspace of their own, built by another tool chain: one whose
//! library for `bpfel-unknown-none` comes ready (Debian's `rustc-web` with
//! `libstd-rust-web-dev-bpf`), or a nightly with `rust-src`. Nothing of the outer build's
//! environment reaches the inner one, or its flags would be used for the wrong target.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "bpfel-unknown-none";
const PROGRAM: &str = "icecore-probes";
/// What the inner build may know of the outer one.
const KEPT: [&str; 12] = [
    "HOME",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "TMPDIR",
    "LANG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "no_proxy",
];

fn main() -> Result<(), Box<dyn Error>> {
    for variable in ["ICECORE_SKIP_EBPF", "ICECORE_EBPF_CARGO", "ICECORE_EBPF_TOOLCHAIN"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    for input in ["ebpf/src", "ebpf/Cargo.toml", "ebpf/Cargo.lock", "events/src", "build.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let object = out.join("probes.bpf.o");
    if env::var_os("ICECORE_SKIP_EBPF").is_some_and(|value| value != "0") {
        remove(&object)?;
        return Ok(std::fs::write(object, [])?);
    }
    let target_dir = out.join("ebpf");
    build(&tool_chain()?, &target_dir)?;
    remove(&object)?;
    std::fs::copy(target_dir.join(TARGET).join("release").join(PROGRAM), object)?;
    Ok(())
}

/// What is built may be hard-linked from elsewhere: it is replaced, never written over.
fn remove(object: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(object) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A cargo that can build for the BPF target.
struct ToolChain {
    cargo: PathBuf,
    rustc: Option<PathBuf>,
    /// `core` is not there ready made and has to be built.
    build_core: bool,
    rustup: Option<String>,
}

fn tool_chain() -> Result<ToolChain, Box<dyn Error>> {
    if let Some(cargo) = env::var_os("ICECORE_EBPF_CARGO") {
        let cargo = PathBuf::from(cargo);
        let rustc = Some(cargo.with_file_name("rustc"));
        return Ok(ToolChain { cargo, rustc, build_core: false, rustup: None });
    }
    let system = Path::new("/usr/bin/rustc");
    if has_ready_core(system) {
        let cargo = system.with_file_name("cargo");
        return Ok(ToolChain {
            cargo,
            rustc: Some(system.into()),
            build_core: false,
            rustup: None,
        });
    }
    let name = env::var("ICECORE_EBPF_TOOLCHAIN").unwrap_or_else(|_| "nightly".to_owned());
    if has_core_source(&name) {
        let cargo = PathBuf::from("cargo");
        return Ok(ToolChain { cargo, rustc: None, build_core: true, rustup: Some(name) });
    }
    Err("no tool chain for the kernel programs was found: run `./dev setup`, or install \
         `rustc-web cargo-web libstd-rust-web-dev-bpf` (Debian), or \
         `rustup toolchain install nightly --component rust-src`, and `cargo install bpf-linker`; \
         ICECORE_SKIP_EBPF=1 builds an agent that cannot probe"
        .into())
}

/// The compiler's own folder holds a library for the BPF target.
fn has_ready_core(rustc: &Path) -> bool {
    let output = Command::new(rustc)
        .env_remove("RUSTC_WRAPPER")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let Ok(output) = output else { return false };
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let Ok(entries) = folder.read_dir() else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore"))
}

/// A rustup tool chain has the sources that `-Z build-std` needs.
fn has_core_source(name: &str) -> bool {
    let output = Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]).output();
    let Ok(output) = output else { return false };
    let root = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    output.status.success() && root.join("lib/rustlib/src/rust/library/core").is_dir()
}

fn build(tools: &ToolChain, target_dir: &Path) -> Result<(), Box<dyn Error>> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let flags = format!(
        "-Clinker=bpf-linker -Clink-arg=--btf -Cdebuginfo=2 --cfg=bpf_target_arch=\"{arch}\""
    );
    let mut command = match &tools.rustup {
        Some(name) => {
            let mut command = Command::new("rustup");
            command.args(["run", name, "cargo"]);
            command
        }
        None => Command::new(&tools.cargo),
    };
    command.env_clear().envs(KEPT.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command.env("PATH", path(tools)).env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", target_dir);
    if let Some(rustc) = &tools.rustc {
        // The library of maps and helpers uses features that are not stable, and the programs one: instructions of this target.
        command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "aya_ebpf,icecore_probes");
    }
    command.current_dir(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("ebpf"));
    command.args(["build", "--locked", "--release", "--target", TARGET]);
    if tools.build_core {
        command.args(["-Z", "build-std=core"]);
    }
    let output = command.output().map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let hint =
        if said.contains("bpf-linker") { " (is bpf-linker installed? `./dev setup`)" } else { "" };
    Err(format!("the kernel programs do not build{hint}:\n{said}").into())
}

/// The tool chain's own folder comes first, or rustup's shims would answer in its place.
fn path(tools: &ToolChain) -> OsString {
    let mut folders: Vec<PathBuf> = Vec::new();
    if tools.rustup.is_none() {
        folders.extend(tools.cargo.parent().map(Path::to_path_buf));
    }
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    if let Some(home) = env::var_os("CARGO_HOME") {
        folders.push(Path::new(&home).join("bin"));
    }
    if let Some(home) = env::var_os("HOME") {
        folders.push(Path::new(&home).join(".cargo/bin"));
    }
    env::join_paths(folders).unwrap_or_default()
}
