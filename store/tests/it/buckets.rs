//! The same suite over every kind of bucket, and the ways in which an open can fail.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use icecore_store::{
    Commit, Error, ErrorKind, S3Config, Secret, Store, StoreRoles, SystemClock, WriterId,
};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::bench::{Bench, check, scrape, writer};
use crate::gate::Gate;
use crate::sample::{HOUR, bodies, commit, logs_at};
use crate::servers::{Server, endpoint};

/// Commits, compacts, collects and restarts over one bucket.
async fn check_bucket(bench: &Bench) {
    let store = bench.open("a").await;
    let me = writer(1);
    store.register_writer(me).await.unwrap();
    let names: Vec<String> = (0..9).map(|turn| format!("n{turn}")).collect();
    for (turn, name) in (0u64..).zip(&names) {
        let rows = commit(me, turn * 10, turn * 10 + 10, HOUR - 1_000_000_000, name, 3);
        store.commit(rows.clone()).await.unwrap();
        store.commit(rows).await.unwrap();
    }
    let parts: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 3)).collect();
    check(&store, &parts).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let report = store.compact().await.unwrap();
    assert_eq!((report.merges, report.files_in), (2, 18));
    check(&store, &parts).await;
    run_loops(&store).await;
    assert_eq!(store.check().await.unwrap().unnamed, 0, "merged files are deleted");
    drop(store);
    let again = bench.open("a").await;
    again.register_writer(me).await.unwrap();
    again.commit(commit(me, 90, 100, HOUR, "after", 2)).await.unwrap();
    let parts = [parts, vec![("after", 2)]].concat();
    check(&again, &parts).await;
    check(&*bench.open("reader").await, &parts).await;
}

/// Lets the loops turn a few times, and drains them.
async fn run_loops(store: &Arc<Store>) {
    let stop = CancellationToken::new();
    let roles = StoreRoles {
        refresh: true,
        filter_traces: true,
        compact: true,
        retain: true,
        collect_garbage: true,
    };
    let running = tokio::spawn(Arc::clone(store).run(roles, stop.clone()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// Scenario: the whole life of a store in a local folder.
/// Guarantees: each row once, through repeats, merges, clean-up, a restart, and a second reader.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_a_bucket() {
    check_bucket(&Bench::folder()).await;
}

/// Scenario: the same on an S3-compatible server that honours create-only puts; two writers.
/// Guarantees: the same; both writers are let in.
#[tokio::test(flavor = "multi_thread")]
async fn an_s3_server_is_a_bucket() {
    let Some(server) = Server::create_only() else { return };
    let bench = Bench::s3(server.s3());
    check_bucket(&bench).await;
    let (store, registry) = bench.try_open("b").await.unwrap();
    store.register_writer(writer(2)).await.unwrap();
    store.commit(commit(writer(2), 0, 10, HOUR, "two", 1)).await.unwrap();
    assert!(store.stats().create_only);
    let scraped = scrape(&registry);
    assert!(scraped.contains("icecore_store_single_writer 0"), "{scraped}");
    let data = server.folder.path().join("core/some/prefix/data/logs/date=2026-11-22/hour=21");
    assert!(data.is_dir(), "paths are laid out as documented");
}

/// Scenario: the same on a server that silently ignores create-only puts; then a second writer.
/// Guarantees: it is found out at open; one writer works, the second is refused by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_overwrites_gets_one_writer() {
    let Some(server) = Server::overwriting() else { return };
    let bench = Bench::s3(server.s3());
    check_bucket(&bench).await;
    let owner = bench.open("a").await;
    owner.register_writer(writer(1)).await.unwrap();
    let (second, registry) = bench.try_open("b").await.unwrap();
    assert!(!second.stats().create_only);
    assert!(scrape(&registry).contains("icecore_store_single_writer 1"));
    let refused = second.register_writer(writer(2)).await.unwrap_err();
    assert!(matches!(refused, Error::Owned { .. }), "{refused}");
    assert!(refused.to_string().contains(&writer(1).to_string()), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Setup);
}

/// The one error of an open that must fail.
async fn refusal(bench: &Bench) -> Error {
    let Err(error) = bench.try_open("a").await else { panic!("{} opened", bench.storage) };
    error
}

/// Scenario: a wrong secret, an unknown key, a bucket that does not exist.
/// Guarantees: the open fails at once with an error that says what to mend, and no secret.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_and_missing_buckets_are_told_apart() {
    let Some(server) = Server::create_only() else { return };
    let wrong = Some(Secret::new("not-the-secret"));
    let wrong_secret = S3Config { secret_access_key: wrong, ..server.s3() };
    let unknown_key = S3Config { access_key_id: Some("AKOTHER".to_owned()), ..server.s3() };
    for s3 in [wrong_secret, unknown_key] {
        let error = refusal(&Bench::s3(s3)).await;
        assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
        assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY"), "{error}");
        assert!(!format!("{error:?}").contains("not-the-secret"));
    }
    let no_key = S3Config { access_key_id: None, secret_access_key: None, ..server.s3() };
    let error = refusal(&Bench::s3(no_key)).await;
    assert_eq!(error.kind(), ErrorKind::Setup, "{error:?}");
    assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error:?}");
    let mut bench = Bench::s3(server.s3());
    bench.storage = Url::parse("s3://nowhere/prefix").unwrap();
    let error = refusal(&bench).await;
    assert!(matches!(error, Error::MissingBucket { .. }), "{error:?}");
}

/// Scenario: nothing listens at the endpoint; storage URLs that cannot be used.
/// Guarantees: a bounded wait, then an error that names the endpoint or the fault.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let s3 = S3Config {
        endpoint: Some(endpoint(port)),
        access_key_id: Some("a".to_owned()),
        secret_access_key: Some(Secret::new("b")),
        ..S3Config::default()
    };
    let error = refusal(&Bench::s3(s3)).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    for (storage, reason) in [
        ("ftp://host/x", "neither file:// nor s3://"),
        ("s3:///x", "names no bucket"),
        ("file:///proc/none/x", "/proc/none/x"),
    ] {
        let mut bench = Bench::folder();
        bench.storage = Url::parse(storage).unwrap();
        let error = refusal(&bench).await;
        assert_eq!(error.kind(), ErrorKind::Setup);
        assert!(error.to_string().contains(reason), "{error}");
    }
}

/// Rows of a thousand letters each that nothing packs.
fn letters(writer: WriterId, turn: u64, rows: u64) -> Commit {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ turn;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + (state % 64) as u8)
    };
    let names: Vec<String> = (0..rows).map(|_| (0..1000).map(|_| letter()).collect()).collect();
    let mut commit = commit(writer, turn * 10, turn * 10 + 10, HOUR, "x", 1);
    // All of one hour.
    let times = (0..names.len() as i64).map(|row| HOUR + row * 1_000_000);
    commit.rows = Arc::new(vec![logs_at(times.collect(), &names)]);
    commit
}

/// Scenario: a merge puts a file of two parts on a server that speaks S3, and the connection breaks amid the second.
/// Guarantees: that part alone is sent again; each row is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_lost_is_sent_again_alone() {
    let Some(server) = Server::create_only() else { return };
    let gate = Gate::open(server.port).await;
    let mut s3 = server.s3();
    s3.endpoint = Some(endpoint(gate.port));
    let bench = Bench::s3(s3);
    let mut config = bench.config("a");
    config.compaction.files_min = 2;
    let mut registry = Registry::default();
    let store = Store::open(config, Arc::new(SystemClock::new()), &mut registry).await.unwrap();
    store.register_writer(writer(1)).await.unwrap();
    for turn in 0..2 {
        store.commit(letters(writer(1), turn, 6000 + turn * 500)).await.unwrap();
    }
    let sent = || {
        let scraped = scrape(&registry);
        let mut lines = scraped.lines();
        let value = lines.find_map(|line| line.strip_prefix("icecore_store_sent_bytes_total "));
        value.unwrap().parse::<u64>().unwrap()
    };
    let before = sent();
    gate.break_at("partNumber=2");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let report = store.compact().await.unwrap();
    assert_eq!((report.merges, report.files_in, gate.has_broken()), (1, 2, true));
    let whole = report.bytes_out;
    let part = 8 << 20;
    assert!(whole > part && whole < 2 * part, "{whole}");
    let again = sent() - before - whole;
    assert!((whole - part..whole).contains(&again), "{again} of {whole} were sent again");
    assert_eq!(bodies(&store, &store.snapshot()).await.len(), 12_500);
}
