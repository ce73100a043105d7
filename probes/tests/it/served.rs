//! Which request the CPUs worked for, against what the server has written down.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command};
use std::time::Duration;

use icecore_probes::Config;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::peers::{Peer, line, open, python, spawn, until};
use crate::profiles::{made, quick, source};
use crate::receiver::{Received, serve, shown, text};
use crate::requests::of_ports;

const CONNECTIONS: usize = 8;
const REQUESTS: usize = 120;
const MILLIS: usize = 20;
/// The functions of the server that work for requests, and the one that does not.
const WORKS: [&str; 5] = ["alpha", "beta", "gamma_", "delta", "nobody"];

/// A line of the server.
#[derive(Debug)]
struct Done {
    name: String,
    first: u64,
    last: u64,
}

/// A stack of the server, each time that it was seen, and the trace and span that it is said to be of. Where no time
/// is told, how often.
#[derive(Debug)]
struct Sample {
    /// The first of the functions above that is in it.
    work: Option<&'static str>,
    link: Option<(Vec<u8>, Vec<u8>)>,
    times: Vec<u64>,
    count: usize,
}

/// What came of a server under load.
#[derive(Debug, Default)]
struct Verdict {
    right: usize,
    wrong: usize,
    /// In the functions that work for requests, and without one.
    unlinked: usize,
    nobody: usize,
    /// Of the request that takes seconds.
    long: usize,
}

fn server(folder: &Path, arguments: &[&str]) -> Option<(Peer, BufReader<ChildStdout>, u16)> {
    let source = source("served.c");
    let flags = ["-O2", "-fomit-frame-pointer", "-pthread", "-o", "busy", &source];
    let program = made(folder, "cc", &flags)?;
    let (peer, mut lines) = spawn(Command::new(program).args(arguments));
    let port = line(&mut lines).trim().parse().unwrap();
    Some((peer, lines, port))
}

fn done(lines: BufReader<ChildStdout>) -> HashMap<usize, Done> {
    let read = |line: String| {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, number, _, first, last] = words[..] else { panic!("{line}") };
        let (first, last) = (first.parse().unwrap(), last.parse().unwrap());
        (number.parse().unwrap(), Done { name: name.to_owned(), first, last })
    };
    lines.lines().map(|line| read(line.unwrap())).collect()
}

fn samples(request: &ExportProfilesServiceRequest, pid: u32) -> Vec<Sample> {
    let dictionary = request.dictionary.as_ref().unwrap();
    let at = |index: i32| usize::try_from(index).unwrap();
    let function = |index: &i32| {
        let line = dictionary.location_table[at(*index)].lines.last()?;
        let name = at(dictionary.function_table[at(line.function_index)].name_strindex);
        WORKS.into_iter().find(|work| *work == dictionary.string_table[name])
    };
    let mut samples = Vec::new();
    for profile in &request.resource_profiles {
        let resource = profile.resource.clone().unwrap_or_default().attributes;
        if shown(&resource, "process.pid").as_deref() != Some(&*pid.to_string()) {
            continue;
        }
        samples.extend(profile.scope_profiles[0].profiles[0].samples.iter().map(|sample| {
            let stack = &dictionary.stack_table[at(sample.stack_index)].location_indices;
            let link = dictionary.link_table[at(sample.link_index)].clone();
            let times = sample.timestamps_unix_nano.clone();
            let count = times.len() + usize::try_from(sample.values.iter().sum::<i64>()).unwrap();
            let link = (sample.link_index > 0).then_some((link.trace_id, link.span_id));
            Sample { work: stack.iter().find_map(function), link, times, count }
        }));
    }
    samples
}

/// Holds each sample that names a request against what its thread was doing then, as the server knows it.
fn judge(received: &Received, (pid, port): (u32, u16), done: &HashMap<usize, Done>) -> Verdict {
    let mut paths = HashMap::new();
    for span in of_ports(received, &[port]) {
        if span.kind() == SpanKind::Server {
            let path = text(&span, "url.path").unwrap().to_owned();
            paths.insert((span.trace_id, span.span_id), path);
        }
    }
    let mut verdict = Verdict::default();
    let all = received.profiles();
    for Sample { work, link, times, count } in all.iter().flat_map(|it| samples(it, pid)) {
        let Some(link) = link else {
            verdict.nobody += if work == Some("nobody") { count } else { 0 };
            verdict.unlinked += if work.is_some_and(|it| it != "nobody") { count } else { 0 };
            continue;
        };
        let path = paths.get(&link).unwrap_or_else(|| panic!("no span of {link:?} was sent"));
        let number: usize = path.split('/').nth(2).unwrap().parse().unwrap();
        let Done { name, first, last } = &done[&number];
        for time in times {
            // Two clocks are read, one after the other.
            let during = (first - 1_000_000..last + 1_000_000).contains(&time);
            let right = work.is_none_or(|work| work == name && during);
            *if right { &mut verdict.right } else { &mut verdict.wrong } += 1;
            verdict.long += usize::from(right && number == REQUESTS - 1);
        }
    }
    verdict
}

/// A server, a client, the agent. None, and said so, where the machine does not let it in.
async fn served(arguments: &[&str], config: Config) -> Option<(Verdict, String)> {
    let folder = tempfile::tempdir().unwrap();
    let (peer, lines, port) = server(folder.path(), arguments)?;
    let pid = peer.0.id();
    let stop = CancellationToken::new();
    let (endpoint, received) = serve(stop.clone()).await;
    let mut registry = Registry::default();
    let probes = open(config, endpoint, &mut registry).await?;
    let probes_stop = CancellationToken::new();
    let running = tokio::spawn(probes.run(probes_stop.clone()));
    let written = tokio::task::spawn_blocking(|| done(lines));
    let arguments = [usize::from(port), CONNECTIONS, REQUESTS, MILLIS].map(|it| it.to_string());
    let (mut client, _out) = python("served_client.py", &arguments);
    let ended = tokio::task::spawn_blocking(move || client.0.wait()).await.unwrap().unwrap();
    assert!(ended.success());
    let servers =
        || of_ports(&received, &[port]).iter().filter(|it| it.kind() == SpanKind::Server).count();
    until(|| servers() == CONNECTIONS * REQUESTS).await;
    // Nothing more is held of the last request than of all that goes on here.
    tokio::time::sleep(Duration::from_secs(4)).await;
    probes_stop.cancel();
    running.await.unwrap().unwrap().wait().await;
    stop.cancel();
    drop(peer);
    let written = written.await.unwrap();
    assert_eq!(written.len(), CONNECTIONS * REQUESTS);
    let mut figures = String::new();
    prometheus_client::encoding::text::encode(&mut figures, &registry).unwrap();
    Some((judge(&received, (pid, port), &written), figures))
}

/// Every sample is counted once by what is known of its request.
fn check_figures(figures: &str) {
    let sum = |name: &str| {
        let lines = figures.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let gone = ["unwanted", "refused", "malformed"].map(|outcome| {
        sum(&format!("icecore_probes_profile_samples_total{{outcome=\"{outcome}\"}}"))
    });
    let followed = sum("icecore_probes_profile_samples_total") - gone.iter().sum::<u64>();
    assert_eq!(sum("icecore_probes_profile_links_total"), followed, "{figures}");
}

/// Scenario: a server with a thread for each connection, under load: eight threads at a time work for requests, each
/// in the function that the request names, one for nobody; the last request takes longer than samples wait at first.
/// Guarantees: no sample has the trace of a request that its thread did not serve at that moment; nearly all that
/// worked for a request lead to its span, also those of the long one.
#[tokio::test(flavor = "multi_thread")]
async fn work_leads_to_its_request() {
    let Some((verdict, figures)) = served(&[], quick()).await else { return };
    println!("{verdict:?}");
    let Verdict { right, wrong, unlinked, nobody, long } = verdict;
    assert_eq!(wrong, 0);
    assert!(right > 200 && nobody > 20 && long > 50, "{verdict:?} {figures}");
    assert!(unlinked * 10 < right, "{verdict:?} {figures}");
    check_figures(&figures);
}

/// Scenario: the same, but whoever reads a request hands it over to another thread, and works for nobody.
/// Guarantees: no sample has a trace.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_handed_over_is_nobodys() {
    let Some((verdict, figures)) = served(&["hands-over"], quick()).await else { return };
    println!("{verdict:?}");
    let Verdict { right, wrong, unlinked, nobody, .. } = verdict;
    assert_eq!((right, wrong), (0, 0), "{figures}");
    assert!(unlinked > 200 && nobody > 20, "{verdict:?} {figures}");
    check_figures(&figures);
}

/// Scenario: nothing is to wait for requests.
/// Guarantees: no sample has a trace, and none waits.
#[tokio::test(flavor = "multi_thread")]
async fn samples_need_not_be_tied() {
    let mut config = quick();
    config.profile.link_wait = Duration::ZERO;
    let Some((verdict, figures)) = served(&[], config).await else { return };
    assert_eq!((verdict.right, verdict.wrong), (0, 0), "{figures}");
    assert!(verdict.unlinked > 200, "{verdict:?} {figures}");
    check_figures(&figures);
}
