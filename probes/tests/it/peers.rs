//! The programs that the agent watches here, and the agent itself.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use icecore_probes::identity::Kubernetes;
use icecore_probes::{BudgetConfig, Config, ErrorKind, Probes};
use prometheus_client::registry::Registry;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A program that ends with the test.
pub(crate) struct Peer(pub(crate) Child);

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The agent, sending to `endpoint`; none, and said so, where this machine does not let it in.
pub(crate) async fn open(
    mut config: Config,
    endpoint: String,
    registry: &mut Registry,
) -> Option<Probes> {
    config.emit.endpoint = endpoint;
    // Without optimisation the agent costs several times as much.
    if config.budget.cpu_percent_max == BudgetConfig::default().cpu_percent_max {
        config.budget.cpu_percent_max = 0;
    }
    config.emit.batch_after = Duration::from_millis(100);
    if config.identity.kubernetes == Kubernetes::InCluster {
        config.identity.kubernetes = Kubernetes::Off;
    }
    match Probes::open(config, registry).await {
        Ok(probes) => Some(probes),
        Err(e) if matches!(e.kind(), ErrorKind::Unprivileged | ErrorKind::Unsupported) => {
            println!("skipped: {e}");
            None
        }
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}

/// Nothing was lost, and every figure is accounted for.
pub(crate) fn check_figures(registry: &Registry) {
    let mut shown = String::new();
    prometheus_client::encoding::text::encode(&mut shown, registry).unwrap();
    let value = |name: &str| {
        let found = shown.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_else(|| panic!("no {name} in {shown}")).trim().parse::<u64>().unwrap()
    };
    assert_eq!(value("icecore_probes_kernel_pieces_total{outcome=\"refused\"}"), 0);
    assert_eq!(value("icecore_probes_kernel_ends_total{outcome=\"refused\"}"), 0);
    assert_eq!(value("icecore_probes_pieces_total{outcome=\"malformed\"}"), 0);
    let submitted = value("icecore_probes_kernel_pieces_total{outcome=\"submitted\"}");
    let followed = value("icecore_probes_pieces_total{outcome=\"followed\"}");
    let ignored = value("icecore_probes_pieces_total{outcome=\"ignored\"}");
    assert_eq!(submitted, followed + ignored);
    let calls =
        |outcome: &str| value(&format!("icecore_probes_calls_total{{outcome=\"{outcome}\"}}"));
    let filtered = [
        "own",
        "not_tcp",
        "peeked",
        "undecided",
        "unnamed",
        "ignored",
        "encrypted",
        "unplaced",
        "untracked",
    ];
    let outcomes: u64 = filtered.iter().chain(&["submitted", "refused"]).map(|it| calls(it)).sum();
    assert_eq!(value("icecore_probes_calls_seen_total"), outcomes);
}

/// A script beside these tests, run by the Python that `./dev` has set up, or else the system's.
pub(crate) fn python(script: &str, arguments: &[String]) -> (Peer, BufReader<ChildStdout>) {
    spawn(python_command(script).args(arguments))
}

/// The same before it is started.
pub(crate) fn python_command(script: &str) -> Command {
    let mut command = Command::new(interpreter());
    command.arg(beside(script));
    command
}

/// Another release of gRPC for Python than the one that it has by itself; none, and said so, where `./dev` did not
/// install it.
pub(crate) fn other_grpc() -> Option<PathBuf> {
    let path = cache().map(|cache| cache.join("grpcio/1.60")).filter(|path| path.exists());
    if path.is_none() {
        println!("skipped: no other release of grpcio");
    }
    path
}

/// The same in a process that begins as another program, which becomes this one when it is written
/// a line, as container runtimes do it.
pub(crate) fn python_when_told(script: &str) -> (Peer, BufReader<ChildStdout>) {
    let mut command = Command::new("sh");
    command.args(["-c", "read told; exec \"$0\" \"$1\""]).arg(interpreter());
    spawn(command.arg(beside(script)))
}

fn beside(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script)
}

/// Starts a program with pipes to and from it.
pub(crate) fn spawn(command: &mut Command) -> (Peer, BufReader<ChildStdout>) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (Peer(child), lines)
}

/// The next line that a peer prints.
pub(crate) fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line
}

fn interpreter() -> PathBuf {
    let ours = cache().map(|cache| cache.join("venv/bin/python")).filter(|path| path.exists());
    ours.unwrap_or_else(|| PathBuf::from("python3"))
}

/// Where `./dev` installs what tests talk to.
fn cache() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/icecore"));
    std::env::var_os("ICECORE_CACHE").map(PathBuf::from).or(home)
}

/// A program that `./dev peers` builds; none, and said so, where it did not.
pub(crate) fn built(name: &str) -> Option<PathBuf> {
    let path = cache().map(|cache| cache.join("bin").join(name)).filter(|path| path.exists());
    if path.is_none() {
        println!("skipped: no {name} (`./dev peers` makes it)");
    }
    path
}

/// Where the packages of that Python are; none where it is the system's.
pub(crate) fn packages() -> Option<PathBuf> {
    let library = interpreter().parent()?.parent()?.join("lib");
    let versions = std::fs::read_dir(library).ok()?.flatten();
    versions.map(|version| version.path().join("site-packages")).find(|path| path.exists())
}

/// A port of loopback that nobody has.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens there.
pub(crate) async fn listening(port: u16) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(tokio::time::Instant::now() < end, "nobody listens at {port}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until something is so.
pub(crate) async fn until(mut met: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE * 2;
    while !met() {
        assert!(tokio::time::Instant::now() < end, "it does not come to that");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A figure of the agent; 0 where it is not there yet.
pub(crate) fn figure(registry: &Registry, name: &str) -> u64 {
    let mut shown = String::new();
    prometheus_client::encoding::text::encode(&mut shown, registry).unwrap();
    let found = shown.lines().find_map(|line| line.strip_prefix(name));
    found.map_or(0, |value| value.trim().parse().unwrap())
}
