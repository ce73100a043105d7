//! `kill -9` at any moment loses nothing that was acknowledged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::icecore::Start;
use crate::otlp::{post_to, request};
use crate::peers;

const KILLS: u64 = 20;
const SENDERS: u64 = 4;
const SPANS: u64 = 25;

/// Scenario: four senders at full speed; the process is killed twenty times, at moments that differ,
/// with flushes and compactions going on.
/// Guarantees: after the last start every span of every acknowledged request is there once, and
/// nothing is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_lose_nothing() {
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let start = Start::new(folder.path())
        .arg("flush-after", "150ms")
        .arg("compaction-files-min", "3")
        .arg("compaction-interval", "1s");
    let mut acknowledged = BTreeSet::new();
    for kill in 0..KILLS {
        let icecore = start.run();
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let first = (kill * SENDERS + sender) * 1_000_000;
                tokio::spawn(send(icecore.http.clone(), first, Arc::clone(&stop)))
            })
            .collect();
        // From hardly begun to several flushes in.
        tokio::time::sleep(Duration::from_millis(60 + kill * 67 % 700)).await;
        icecore.kill();
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            acknowledged.extend(sender.await.unwrap());
        }
    }
    assert!(acknowledged.len() as u64 > KILLS * SPANS, "only {} spans went in", acknowledged.len());
    let icecore = start.run();
    let mut found = BTreeSet::new();
    for row in icecore.sql("SELECT attributes['number'], count(*) FROM spans GROUP BY 1").await {
        assert_eq!(row[1], 1, "span {} is there {} times", row[0], row[1]);
        found.insert(row[0].as_str().unwrap().parse::<u64>().unwrap());
    }
    let lost: Vec<_> = acknowledged.difference(&found).take(10).collect();
    assert!(
        lost.is_empty(),
        "of {} acknowledged spans these are lost: {lost:?}",
        acknowledged.len()
    );
    icecore.stop();
}

/// Sends until told to stop; the numbers of the spans that were acknowledged.
async fn send(http: String, first: u64, stop: Arc<AtomicBool>) -> Vec<u64> {
    let client = reqwest::Client::new();
    let mut acknowledged = Vec::new();
    let mut number = first;
    while !stop.load(Ordering::Relaxed) {
        match post_to(&client, &http, request("crash", number, SPANS)).await {
            Ok(answer) if answer.status().is_success() => {
                acknowledged.extend(number..number + SPANS)
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        number += SPANS;
    }
    acknowledged
}
