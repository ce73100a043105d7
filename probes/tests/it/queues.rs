//! Brokers of messages: a real one, a real client that writes down what it did, and every operation
//! there once on each side.

use std::path::Path;
use std::process::Command;

use crate::databases::{MESSAGING, PUSHING, Subject, check, server};
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

/// Scenario: nats-server under nats-py: publishing with and without headers and payload, subscriptions
/// by name, pattern and group, requests that are answered, that nobody takes and that nobody answers,
/// a service that refuses, streams and consumers of JetStream with all kinds of acknowledgements,
/// operations that are confirmed one by one, some that are not allowed, wrong credentials, four clients
/// at once, one connection that is older than the agent.
/// Guarantees: a span on each side for each operation and for each message that came, with subject,
/// error and sizes; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn nats() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "listen: 127.0.0.1:{port}\njetstream {{ store_dir: {:?} }}\nauthorization {{ users = [\n\
         {{ user: all, password: pa55word }}\n\
         {{ user: some, password: pa55word, permissions: {{ publish: {{ deny: forbidden }} }} }}\n] }}\n",
        folder.path().join("streams")
    );
    std::fs::write(folder.path().join("server.conf"), config).unwrap();
    let Some(_broker) = server("nats-server", &["-c", "server.conf"], folder.path()) else {
        return;
    };
    let (system, words) = (["nats"; 2], &PUSHING);
    check(&Subject { system, port, client: "nats_client.py", setup: &[], words }).await;
}

/// Scenario: mosquitto under paho-mqtt, versions 3.1.1 and 5: messages of every quality of service, kept
/// ones, by aliases and with properties, subscriptions by pattern, shared and several at once, some that
/// are not allowed, wrong credentials, four clients at once, one connection that is older than the agent.
/// Guarantees: a span on each side for each operation and for each message that came, with topic, error
/// and size, until its handshake is through; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn mqtt() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let (path, passwords) = (folder.path(), folder.path().join("passwords"));
    let mut made = Command::new("mosquitto_passwd");
    if made.arg("-b").arg("-c").arg(&passwords).args(["someone", "pa55word"]).status().is_err() {
        return println!("skipped: mosquitto is not installed");
    }
    std::fs::write(path.join("rules"), "topic deny forbidden\ntopic readwrite #\n").unwrap();
    let config = format!(
        "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\npassword_file {}\nacl_file {}\n\
         max_queued_messages 0\nmax_inflight_messages 0\n",
        passwords.display(),
        path.join("rules").display()
    );
    std::fs::write(path.join("server.conf"), config).unwrap();
    let Some(_broker) = server("mosquitto", &["-c", "server.conf"], path) else { return };
    let (system, words) = (["mqtt"; 2], &PUSHING);
    check(&Subject { system, port, client: "mqtt_client.py", setup: &[], words }).await;
}

/// Scenario: RabbitMQ under pika: exchanges, queues and bindings; messages that are confirmed and not, many
/// before the first confirmation, some that come back or are refused; consumers that acknowledge one by one,
/// several at once, refuse, or do not; messages that are fetched; transactions; channels that the broker
/// closes for all kinds of reasons, wrong credentials, no such host; four clients at once, one connection
/// that is older than the agent.
/// Guarantees: a span on each side for each method that asks or tells something, and for each message, with
/// place, error and size, until it is answered or confirmed; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn amqp() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/rabbitmq.sh");
    if !Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server").exists() {
        return println!("skipped: RabbitMQ is not installed");
    }
    let [daemon, distribution] = [free_port(), free_port()].map(|port| port.to_string());
    let path = folder.path().to_string_lossy();
    let arguments = [&*script.to_string_lossy(), &path, &port.to_string(), &daemon, &distribution];
    let Some(_broker) = server("sh", &arguments, folder.path()) else { return };
    let (system, words) = (["rabbitmq"; 2], &PUSHING);
    check(&Subject { system, port, client: "amqp_client.py", setup: &[], words }).await;
}
