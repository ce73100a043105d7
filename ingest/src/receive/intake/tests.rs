//! What happens between the body and the acknowledgement, as far as the wire cannot show it.

use std::time::Duration;

use prost::Message;

use super::super::harness::{Server, client};
use super::*;
use crate::fixtures::request;

/// Scenario: errors of the decoder.
/// Guarantees: faults of the sender are told as such, faults of ours are not blamed on it.
#[test]
fn decode_errors_have_reasons() {
    let refusal = unreadable(check(Signal::Traces, b"junk").unwrap_err());
    assert_eq!(refusal.reason, Reason::Malformed);
    let refusal = unreadable(json_to_protobuf(Signal::Logs, b"[").unwrap_err());
    assert_eq!(refusal.reason, Reason::Malformed);
    let refusal = unreadable(DecodeError::TooLarge { bytes: 1 });
    assert_eq!(refusal.reason, Reason::TooLarge);
}

/// Scenario: senders go away while their requests are under way.
/// Guarantees: no room stays reserved, and the server goes on.
#[tokio::test]
async fn senders_that_go_away_leave_nothing_behind() {
    let server = Server::start(|_| {}).await;
    let body = request(&vec!["a span"; 500]).encode_to_vec();
    let client = client(false);
    let post = || {
        let post = client.post(format!("http://{}/v1/traces", server.http));
        post.header("content-type", "application/x-protobuf").body(body.clone()).send()
    };
    for wait in 0..20 {
        drop(tokio::time::timeout(Duration::from_millis(wait), post()).await);
    }
    assert_eq!(post().await.unwrap().status(), 200);
    for _ in 0..200 {
        if server.metric("icecore_ingest_inflight_bytes") == 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.metric("icecore_ingest_inflight_bytes"), 0.0);
    let rows = server.rows(icecore_store::Table::Spans).await;
    assert_eq!(rows % 500, 0, "whole requests or none");
    assert_eq!(server.drain().await.rows(), rows);
}
