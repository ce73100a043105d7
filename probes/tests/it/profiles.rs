//! What programs do, as they know it of themselves.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use icecore_probes::Config;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::peers::{Peer, line, open};
use crate::receiver::{Received, serve, shown};

/// Samples of a program that are waited for, and how long.
const SAMPLES: i64 = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// A stack as a receiver sees it: `function@mapping` of each frame, innermost first.
#[derive(Debug)]
struct Seen {
    stack: Vec<String>,
    count: i64,
}

/// Starts a compiler or whatever else makes a program; none, and said so, where it is not installed.
pub(crate) fn made(dir: &Path, command: &str, arguments: &[&str]) -> Option<PathBuf> {
    let made = Command::new(command).args(arguments).current_dir(dir).output();
    let Ok(made) = made else {
        println!("skipped: no {command}");
        return None;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(dir.join("busy"))
}

pub(crate) fn source(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name).display().to_string()
}

fn started(program: &Path, arguments: &[&str], dir: &Path) -> (Peer, u32) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).stdout(Stdio::piped());
    let mut child = Peer(command.spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap());
    assert_eq!(line(&mut lines), "ready\n");
    let pid = child.0.id();
    (child, pid)
}

/// Profiles a program until there are enough samples of it: those of the process, and what the agent tells
/// of itself. None where the machine does not let the agent in.
async fn profiled(pid: u32, config: Config) -> Option<(Vec<Seen>, String)> {
    let stop = CancellationToken::new();
    let (endpoint, received) = serve(stop.clone()).await;
    let mut registry = Registry::default();
    let probes = open(config, endpoint, &mut registry).await?;
    let probes_stop = CancellationToken::new();
    let running = tokio::spawn(probes.run(probes_stop.clone()));
    let end = tokio::time::Instant::now() + PATIENCE;
    while total(&of(&received, pid)) < SAMPLES && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    probes_stop.cancel();
    running.await.unwrap().unwrap().wait().await;
    stop.cancel();
    let mut figures = String::new();
    prometheus_client::encoding::text::encode(&mut figures, &registry).unwrap();
    Some((of(&received, pid), figures))
}

/// Quick, so that tests need not wait.
pub(crate) fn quick() -> Config {
    let mut config = Config::default();
    config.profile.hertz = 99;
    config.profile.every = Duration::from_millis(500);
    config.profile.cpu_percent_max = 100;
    // The machine may be busy with more than this, and the agent wait for its turn.
    config.profile.ring_bytes = 64 << 20;
    config
}

fn total(seen: &[Seen]) -> i64 {
    seen.iter().map(|one| one.count).sum()
}

/// All samples of a process.
fn of(received: &Received, pid: u32) -> Vec<Seen> {
    received.profiles().iter().flat_map(|request| of_request(request, pid)).collect()
}

fn of_request(request: &ExportProfilesServiceRequest, pid: u32) -> Vec<Seen> {
    let dictionary = request.dictionary.as_ref().unwrap();
    let at = |index: i32| usize::try_from(index).unwrap();
    let text = |index: i32| dictionary.string_table[at(index)].clone();
    let frame = |index: &i32| {
        let location = &dictionary.location_table[at(*index)];
        let mapping = &dictionary.mapping_table[at(location.mapping_index)];
        let function = location.lines.last().map_or_else(String::new, |line| {
            text(dictionary.function_table[at(line.function_index)].name_strindex)
        });
        format!("{function}@{}", text(mapping.filename_strindex))
    };
    let mut seen = Vec::new();
    for profile in &request.resource_profiles {
        let resource = profile.resource.clone().unwrap_or_default().attributes;
        if shown(&resource, "process.pid").as_deref() != Some(&*pid.to_string()) {
            continue;
        }
        let samples = profile.scope_profiles[0].profiles[0].samples.iter();
        seen.extend(samples.map(|sample| {
            let stack = &dictionary.stack_table[at(sample.stack_index)].location_indices;
            // Each point of time counts one.
            let points = i64::try_from(sample.timestamps_unix_nano.len()).unwrap();
            let count = sample.values.iter().sum::<i64>() + points;
            Seen { stack: stack.iter().map(frame).collect(), count }
        }));
    }
    seen
}

/// The share of samples of which this is true.
fn share(seen: &[Seen], is: impl Fn(&[String]) -> bool) -> f64 {
    let wanted = seen.iter().filter(|one| is(&one.stack)).map(|one| one.count).sum::<i64>();
    f64::from(i32::try_from(wanted).unwrap()) / f64::from(i32::try_from(total(seen)).unwrap())
}

/// The hot function is in nearly all stacks, below it its callers up to `outermost`, and the agent's figures
/// add up.
fn check(seen: &[Seen], figures: &str, hot: &str, callers: &[&str]) {
    let taken = total(seen);
    assert!(taken >= SAMPLES, "only {taken} samples: {figures}");
    let has_hot = |stack: &[String]| stack.iter().any(|frame| frame.starts_with(hot));
    let whole = |stack: &[String]| {
        let mut rest = stack.iter().skip_while(|frame| !frame.starts_with(hot)).skip(1);
        callers.iter().all(|caller| rest.any(|frame| frame.starts_with(caller)))
    };
    let (hot_share, whole_share) = (share(seen, has_hot), share(seen, whole));
    println!(
        "{hot} in {hot_share:.3} of {taken} samples, with all its callers in {whole_share:.3}"
    );
    assert!(hot_share >= 0.9, "{hot}: {hot_share} of {seen:#?}");
    assert!(whole_share >= 0.9, "{callers:?}: {whole_share} of {seen:#?}");
    check_figures(figures);
}

/// Every sample that was taken is counted under one outcome, and what was made of them was sent.
fn check_figures(figures: &str) {
    let value = |name: &str| {
        let found = figures.lines().find_map(|line| line.strip_prefix(name));
        found.map_or(0, |value| value.trim().parse::<u64>().unwrap())
    };
    let outcome = |outcome: &str| {
        value(&format!("icecore_probes_profile_samples_total{{outcome=\"{outcome}\"}}"))
    };
    let outcomes = ["whole", "cut", "lost", "kernel", "shed", "refused", "malformed"];
    let all: u64 = outcomes.iter().map(|it| outcome(it)).sum();
    assert_eq!(value("icecore_probes_profile_samples_taken_total"), all, "{figures}");
    // On a busy machine the agent may wait longer for its turn than the ring holds: that is counted.
    assert_eq!(outcome("malformed"), 0, "{figures}");
    assert!(value("icecore_probes_emitted_profiles_total{outcome=\"sent\"}") > 0, "{figures}");
}

/// Scenario: a C program without frame pointers burns a CPU some calls deep.
/// Guarantees: at least 90 % of its samples name the hot function with all of its callers up to `main`, and
/// what was loaded before; every sample is accounted for.
#[tokio::test(flavor = "multi_thread")]
async fn a_c_program_without_frame_pointers() {
    let dir = tempfile::tempdir().unwrap();
    let source = source("busy.c");
    let arguments = ["-O2", "-fomit-frame-pointer", "-o", "busy", &source];
    let Some(program) = made(dir.path(), "cc", &arguments) else { return };
    let (_peer, pid) = started(&program, &[], dir.path());
    let Some((seen, figures)) = profiled(pid, quick()).await else { return };
    let callers = ["middle@busy", "middle@busy", "outer@busy", "main@busy", "@libc.so.6"];
    check(&seen, &figures, "hot@busy", &callers[..4]);
}

/// Scenario: the same program stripped of all names.
/// Guarantees: its stacks are as whole: each frame is there with its file, one for each function.
#[tokio::test(flavor = "multi_thread")]
async fn a_stripped_program_has_whole_stacks() {
    let dir = tempfile::tempdir().unwrap();
    let source = source("busy.c");
    let arguments = ["-O2", "-fomit-frame-pointer", "-s", "-o", "busy", &source];
    let Some(program) = made(dir.path(), "cc", &arguments) else { return };
    let (_peer, pid) = started(&program, &[], dir.path());
    let Some((seen, figures)) = profiled(pid, quick()).await else { return };
    check(&seen, &figures, "@busy", &["@busy"; 5]);
    let leaves = share(&seen, |stack| stack.iter().filter(|frame| *frame == "@busy").count() == 8);
    assert!(leaves >= 0.9, "hot, middle four times, outer, main and the start: {seen:#?}");
    assert!(seen.len() < 20, "addresses of a function are not told apart: {seen:#?}");
}

/// Scenario: a Rust program burns a CPU in a method of a generic type, on a thread of its own.
/// Guarantees: as for C, with names as people write them.
#[tokio::test(flavor = "multi_thread")]
async fn a_rust_program() {
    let dir = tempfile::tempdir().unwrap();
    let source = source("busy.rs");
    let arguments = ["-O", "--edition", "2021", "-o", "busy", &source];
    let Some(program) = made(dir.path(), "rustc", &arguments) else { return };
    let (_peer, pid) = started(&program, &[], dir.path());
    let Some((seen, figures)) = profiled(pid, quick()).await else { return };
    let middle = "<busy::Worker<u32>>::middle";
    let hot = seen.iter().flat_map(|one| &one.stack).find(|frame| frame.contains("hot"));
    let (hot, middle) = match hot.map(String::as_str) {
        Some("busy::Worker<T>::hot@busy") => ("busy::Worker<T>::hot@", "busy::Worker<T>::middle@"),
        _ => ("<busy::Worker<u32>>::hot@", middle),
    };
    check(&seen, &figures, hot, &[middle, middle, middle, middle]);
}

/// Scenario: a Go program burns a CPU in a method, some calls deep, whose tables are packed.
/// Guarantees: as for C.
#[tokio::test(flavor = "multi_thread")]
async fn a_go_program() {
    let dir = tempfile::tempdir().unwrap();
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/icecore"));
    let cache = std::env::var_os("ICECORE_CACHE").map(PathBuf::from).or(home).unwrap_or_default();
    let program = cache.join("bin/busy-go");
    if !program.exists() {
        return println!("skipped: no {} (`./dev peers` makes it)", program.display());
    }
    let (_peer, pid) = started(&program, &[], dir.path());
    let Some((seen, figures)) = profiled(pid, quick()).await else { return };
    let middle = "main.(*worker).middle@";
    let callers = [middle, middle, middle, middle, "main.main@", "runtime.main@"];
    check(&seen, &figures, "main.(*worker).hot@", &callers);
}

/// Scenario: JavaScript that is compiled while it runs, by a Node.js that writes down where.
/// Guarantees: the function is named in at least 90 % of the samples.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_program() {
    let dir = tempfile::tempdir().unwrap();
    if Command::new("node").arg("--version").output().is_err() {
        return println!("skipped: no node");
    }
    let script = source("busy.js");
    let arguments = ["--perf-basic-prof", "--no-turbo-inlining", &script];
    let (_peer, pid) = started(Path::new("node"), &arguments, dir.path());
    let Some((seen, figures)) = profiled(pid, quick()).await else { return };
    let is_hot = |stack: &[String]| stack.iter().any(|frame| frame.contains("hot "));
    let hot = share(&seen, is_hot);
    println!("hot in {hot:.3} of {} samples", total(&seen));
    assert!(hot >= 0.9, "{seen:#?} {figures}");
    let below = share(&seen, |stack| stack.iter().any(|frame| frame.ends_with("@node")));
    assert!(below >= 0.9, "the stack goes on into the program: {seen:#?}");
}

/// Scenario: a program that runs in the kernel most of the time.
/// Guarantees: stacks begin in the kernel, by name, and go on in the program.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("zeros.sh");
    std::fs::write(&program, "echo ready; exec cat /dev/zero > /dev/null").unwrap();
    let (_peer, pid) = started(Path::new("sh"), &["zeros.sh"], dir.path());
    let Some((seen, figures)) = profiled(pid, quick()).await else { return };
    let kernel = share(&seen, |stack| {
        let first = stack.first().is_some_and(|frame| frame.ends_with("@[kernel]"));
        let named =
            stack.iter().any(|frame| frame.contains("read") && frame.ends_with("@[kernel]"));
        let program = stack.iter().any(|frame| frame.ends_with("@cat") || frame.contains("@libc"));
        first && named && program
    });
    println!("from the kernel into the program: {kernel:.3} of {} samples", total(&seen));
    assert!(kernel >= 0.5, "{seen:#?}");
    check_figures(&figures);
}

/// Scenario: a ring that is too small for a moment's samples, and a share of a CPU that is next to nothing.
/// Guarantees: samples without room are counted as refused, and what was not looked at as shed; the process
/// of those is still told, so that no CPU time is missing that reached the agent.
#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let source = source("busy.c");
    let Some(program) = made(dir.path(), "cc", &["-O2", "-o", "busy", &source]) else { return };
    let (_peer, pid) = started(&program, &[], dir.path());
    let mut config = quick();
    config.profile.hertz = 1_000;
    config.profile.cpu_percent_max = 1;
    config.profile.ring_bytes = 64 << 10;
    let Some((seen, figures)) = profiled(pid, config).await else { return };
    let value = |outcome: &str| {
        let name = format!("icecore_probes_profile_samples_total{{outcome=\"{outcome}\"}} ");
        let line = figures.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |value| value.parse::<u64>().unwrap())
    };
    let outcomes = ["whole", "cut", "lost", "kernel", "shed", "refused", "malformed"];
    let taken = figures
        .lines()
        .find_map(|line| line.strip_prefix("icecore_probes_profile_samples_taken_total "));
    let all: u64 = outcomes.iter().map(|outcome| value(outcome)).sum();
    assert_eq!(taken.unwrap().parse::<u64>().unwrap(), all, "{figures}");
    assert!(value("shed") + value("refused") > 0, "{figures}");
    let shed = seen.iter().filter(|one| one.stack == ["[not unwound]@"]).count();
    assert!(shed > 0 || value("shed") == 0, "{figures}");
}
