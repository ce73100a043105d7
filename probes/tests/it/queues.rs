//! Brokers of messages: a real one, a real client that writes down what it did, and every operation
//! there once on each side.

use crate::databases::{MESSAGING, Subject, check, server};
use crate::peers::free_port;

/// Scenario: the broker Tansu under kafka-python: producers by single records, in batches and
/// compressed (without acknowledgement not: Tansu answers where no answer is wanted), requests before the answers to those before them, consumers by group and
/// without, topics made and deleted twice, offsets out of range, four clients at once, one connection
/// that is older than the agent.
/// Guarantees: a span on each side for each request of the library, its own among them, with topic,
/// error, order and sizes; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn kafka() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("tcp://127.0.0.1:{port}");
    let arguments = ["broker", "--storage-engine", "memory://tansu/", "--listener-url", &url];
    let arguments = [arguments.as_slice(), &["--advertised-listener-url", &url]].concat();
    let Some(_broker) = server("tansu", &arguments, folder.path()) else { return };
    let (system, words) = (["kafka"; 2], &MESSAGING);
    check(&Subject { system, port, client: "kafka_client.py", setup: &[], words }).await;
}
