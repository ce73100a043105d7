//! What a hostile or broken sender gets, and that nobody else notices.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::icecore::{Icecore, Start};
use crate::otlp::{post, request};
use crate::peers;

struct Case {
    name: &'static str,
    path: &'static str,
    content_type: &'static str,
    encoding: Option<&'static str>,
    body: Vec<u8>,
    status: u16,
}

impl Case {
    fn new(name: &'static str, body: Vec<u8>, status: u16) -> Self {
        let (path, content_type) = ("/v1/traces", "application/x-protobuf");
        Self { name, path, content_type, encoding: None, body, status }
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn cases() -> Vec<Case> {
    let good = request("hostile", 0, 3);
    let bomb = gzip(&vec![0; 160 << 20]);
    assert!(bomb.len() < 2 << 20);
    vec![
        Case::new("malformed protobuf", b"\x0a\xff\xff\xff\xff\x0f".to_vec(), 400),
        Case::new("protobuf cut short", good[..good.len() - 3].to_vec(), 400),
        Case { content_type: "text/plain", ..Case::new("wrong content type", good.clone(), 415) },
        Case {
            content_type: "application/json",
            ..Case::new("JSON that is none", b"{\"resourceSpans\":".to_vec(), 400)
        },
        Case { path: "/v1/nothing", ..Case::new("unknown path", good.clone(), 404) },
        Case {
            encoding: Some("gzip"),
            ..Case::new("broken gzip", b"not gzip at all".to_vec(), 400)
        },
        Case {
            encoding: Some("zstd"),
            ..Case::new("broken zstd", b"not zstd at all".to_vec(), 400)
        },
        Case { encoding: Some("br"), ..Case::new("unknown encoding", good, 415) },
        Case { encoding: Some("gzip"), ..Case::new("zip bomb", bomb, 413) },
        Case::new("100 MB body", vec![0x0a; 100_000_000], 413),
    ]
}

/// Scenario: malformed, mistyped, misplaced, oversized and exploding requests.
/// Guarantees: each gets the OTLP/HTTP error that fits, memory stays bounded, nothing of it is
/// stored, and the next good request is taken.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_get_the_right_error() {
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let icecore = Start::new(folder.path()).run();
    for case in cases() {
        let client = reqwest::Client::new();
        let mut request = client.post(format!("{}{}", icecore.http, case.path));
        request = request.header("content-type", case.content_type);
        if let Some(encoding) = case.encoding {
            request = request.header("content-encoding", encoding);
        }
        match request.body(case.body).send().await {
            Ok(answer) => assert_eq!(answer.status().as_u16(), case.status, "{}", case.name),
            // A server may answer and close before it has read all of a body that is too large.
            Err(error) => {
                assert!(case.status == 413 && error.is_request(), "{}: {error}", case.name)
            }
        }
        assert!(
            post(&icecore.http, request_of(case.name)).await.status().is_success(),
            "after {}",
            case.name
        );
    }
    let memory = resident_bytes(&icecore);
    assert!(memory < 700 << 20, "{memory} bytes resident");
    let stored = icecore.count("SELECT count(*) FROM spans").await;
    assert_eq!(stored, 2 * i64::try_from(cases().len()).unwrap());
    let metrics = icecore.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("icecore_ingest_"), "{metrics}");
}

fn request_of(name: &str) -> Vec<u8> {
    request(name, 7, 2)
}

fn resident_bytes(icecore: &Icecore) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", icecore.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Scenario: statements that would write, read files, or are none; unknown columns and paths.
/// Guarantees: an error with code, message and hint, and the service goes on.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_queries_get_the_right_error() {
    let _held = peers::noisy().await;
    let folder = tempfile::tempdir().unwrap();
    let icecore = Start::new(folder.path()).run();
    for query in [
        "SELEC 1",
        "SELECT nothing FROM spans",
        "SELECT * FROM nowhere",
        "DROP TABLE spans",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/icecore-must-not-write.csv'",
        "SELECT * FROM '/etc/passwd'",
        "SET datafusion.execution.batch_size = 1",
        "",
    ] {
        let answer: Value = icecore.post_sql(query).await;
        let message = answer["error"]["message"].as_str();
        assert!(message.is_some_and(|text| !text.is_empty()), "`{query}` answered {answer}");
    }
    let (code, _, errors) = icecore.client(&["sql", "SELECT service_nam FROM spans"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("service_name"), "{errors}");
    assert_eq!(icecore.client(&["trace", "00000000000000000000000000000001"]).0, Some(3));
    assert_eq!(icecore.client(&["trace", "xyz"]).0, Some(2));
    assert_eq!(icecore.client(&["nonsense"]).0, Some(2));
    assert_eq!(icecore.get("/api/v1/nothing").await.status(), 404);
    assert_eq!(icecore.count("SELECT 1").await, 1);
}
