//! Reports against an API that answers as Icecore's does.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::acked::AckedFile;
use crate::generate::Signal;

/// Serves `ids` as the spans of run `it's`, and says that there are `count`.
async fn api(ids: &'static [u64], count: usize) -> (SocketAddr, AbortOnDropHandle<()>) {
    let answer = move |headers: HeaderMap, axum::Json(body): axum::Json<Value>| async move {
        assert_eq!(headers["accept"], "application/x-ndjson");
        let query = body["query"].as_str().unwrap().to_owned();
        let (_, range) = query.split_once("WHERE resource['loadtest.run'] = 'it''s'").unwrap();
        if query.contains("count(*)") {
            assert_eq!(range, "");
            return format!("{{\"n\":{count}}}\n");
        }
        let bound = |sign: &str| {
            let (_, rest) = range.split_once(&format!(" AND span_id {sign} '"))?;
            u64::from_str_radix(rest.get(..16)?, 16).ok()
        };
        let (from, to) = (bound(">=").unwrap_or(0), bound("<").unwrap_or(u64::MAX));
        ids.iter()
            .filter(|id| (from..to).contains(id))
            .map(|id| format!("{{\"id\":\"{id:016x}\"}}\n"))
            .collect()
    };
    let routes = Router::new().route("/api/v1/sql", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async move { axum::serve(listener, routes).await.unwrap() };
    (address, AbortOnDropHandle::new(tokio::spawn(serving)))
}

fn acked(path: &Path) {
    let file = AckedFile::create(path, Signal::Traces, "it's").unwrap();
    let ids: Vec<[u8; 8]> = (1_u64..=5).map(u64::to_be_bytes).collect();
    file.add(&ids).unwrap();
}

async fn verify(ids: &'static [u64], count: usize) -> Result<Report, Error> {
    let whole = verify_in(ids, count, RANGE_IDS_MAX).await;
    // Ranges of any size come to the same.
    for ids_max in [1, 2, 5] {
        let parts = verify_in(ids, count, ids_max).await;
        assert_eq!(parts.as_ref().ok(), whole.as_ref().ok(), "{ids_max} ids a range");
    }
    whole
}

async fn verify_in(ids: &'static [u64], count: usize, ids_max: usize) -> Result<Report, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acked");
    acked(&path);
    let (address, _server) = api(ids, count).await;
    let url = format!("http://{address}").parse().unwrap();
    run_in_ranges(&VerifyArgs { acked: path, url }, ids_max).await
}

/// Scenario: all there; all there and one more; one lost; one doubled.
/// Guarantees: only loss and doubles are faults, each named.
#[tokio::test]
async fn loss_and_doubles_are_found() {
    let whole = verify(&[5, 4, 3, 2, 1], 5).await.unwrap();
    assert!(whole.whole());
    let more = verify(&[1, 2, 3, 4, 5, 77], 6).await.unwrap();
    assert!(more.whole());
    assert_eq!(more.unacknowledged, 1);
    let faulty = verify(&[1, 2, 4, 5, 5, 5], 6).await.unwrap();
    assert_eq!((faulty.lost.as_slice(), faulty.doubled.as_slice()), (&[3][..], &[5][..]));
    assert!(!faulty.whole());
    assert!(faulty.to_string().contains("lost 0000000000000003"), "{faulty}");
}

/// Scenario: an answer with fewer rows than were counted, and an API that is not there.
/// Guarantees: an error, not a report of loss.
#[tokio::test]
async fn a_short_answer_is_an_error() {
    assert!(matches!(verify(&[1, 2], 5).await, Err(Error::Short { got: 2, wanted: 5, .. })));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acked");
    acked(&path);
    let url = "http://127.0.0.1:9".parse().unwrap();
    let error = run(&VerifyArgs { acked: path, url }).await.unwrap_err();
    assert!(error.chain().contains("cannot ask"), "{}", error.chain());
}

/// Scenario: five ids, two a range; none at all.
/// Guarantees: ranges meet without a gap, and the outer ones are open.
#[test]
fn ranges_hold_every_id() {
    let ids = [1, 2, 3, 4, 15];
    let conditions = Ids::of(Signal::Traces)
        .ranges(&ids, 2)
        .into_iter()
        .map(|(ids, condition)| (ids.len(), condition));
    let (three, fifteen) = ("'0000000000000003'", "'000000000000000f'");
    let wanted = [
        (2, format!(" AND span_id < {three}")),
        (2, format!(" AND span_id >= {three} AND span_id < {fifteen}")),
        (1, format!(" AND span_id >= {fifteen}")),
    ];
    assert_eq!(conditions.collect::<Vec<_>>(), wanted);
    assert_eq!(Ids::of(Signal::Traces).ranges(&[], 2), [(&[][..], String::new())]);
    assert_eq!(Ids::of(Signal::Traces).ranges(&[1, 2], 2).len(), 1);
}
