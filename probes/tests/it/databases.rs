//! Databases and caches: a real server, a real client that writes down what it did, and every
//! operation there once on each side.

mod compare;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use icecore_probes::Config;
use icecore_probes::protocol::Statements;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::peers::{Peer, free_port, listening};
use crate::tls::certificate;
use crate::watch::watched;
use compare::{Record, check_spans};

/// What there is to know of a server under test.
pub(crate) struct Subject {
    /// Its name, and that of its protocol where the connection is too old to say which it is.
    pub(crate) system: [&'static str; 2],
    pub(crate) port: u16,
    pub(crate) client: &'static str,
    /// Operations that libraries add by themselves, and which no client writes down.
    pub(crate) setup: &'static [&'static str],
    pub(crate) words: &'static Words,
}

/// Under which names its kind of system tells what a client writes down.
pub(crate) struct Words {
    system: &'static str,
    operation: &'static str,
    text: Option<&'static str>,
    collection: &'static str,
    status: Option<&'static str>,
    /// Operations need not pass in the order in which a client writes them down.
    apart: bool,
}

const DATABASE: Words = Words {
    system: "db.system.name",
    operation: "db.operation.name",
    text: Some("db.query.text"),
    collection: "db.collection.name",
    status: Some("db.response.status_code"),
    apart: false,
};
/// Of databases that work on many requests of a connection at once.
const STREAMS: Words = Words { apart: true, ..DATABASE };
pub(crate) const MESSAGING: Words = Words {
    system: "messaging.system",
    operation: "messaging.operation.name",
    text: None,
    collection: "messaging.destination.name",
    status: None,
    apart: false,
};
/// Of brokers that send messages by themselves.
pub(crate) const PUSHING: Words = Words { apart: true, ..MESSAGING };

/// Scenario: redis-server under redis-py: commands with and without errors, pipelines, transactions,
/// RESP3, subscribers, inline commands, four clients at once, large values, one connection that is
/// older than the agent.
/// Guarantees: a span on each side for each command that a client wrote down, with its text, status,
/// order and sizes; no record is refused; the balance closes.
#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()];
    let Some(_server) = server("redis-server", &arguments, folder.path()) else { return };
    let setup = ["HELLO", "CLIENT"].as_slice();
    let words = &DATABASE;
    check(&Subject { system: ["redis"; 2], port, client: "redis_client.py", setup, words }).await;
}

/// Scenario: PostgreSQL under psycopg, pg8000 and asyncpg: simple and extended queries, prepared ones, also by a flush,
/// pipelines of which one part fails, copies both ways, several statements at once, errors, notices,
/// wishes for encryption that are refused, four clients at once, one connection that is older.
/// Guarantees: a span on each side for each statement, with its text, status and order.
#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    check_postgres(&[]).await;
}

/// Scenario: the same, where the server grants the wish for encryption, so that a connection turns to TLS
/// after its first message.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_turns_to_tls() {
    let folder = tempfile::tempdir().unwrap();
    let Some([certificate, key]) = certificate(folder.path()) else { return };
    let files = [&certificate, &key].map(|path| path.to_string_lossy().into_owned());
    // The server goes on as another user, who must own its key.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    drop(Command::new("chown").arg("postgres").args(&files).status());
    let [certificate, key] = files;
    let settings = [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={certificate}"),
        format!("ssl_key_file={key}"),
    ];
    check_postgres(&settings).await;
}

async fn check_postgres(settings: &[String]) {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let Some(_server) = postgres_server(folder.path(), port, settings) else { return };
    listening(port).await;
    let made = Command::new("psql")
        .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "tester", "postgres"])
        .args(["-c", "CREATE DATABASE shop"])
        .status();
    assert!(made.unwrap().success());
    let (client, words) = ("postgres_client.py", &DATABASE);
    check(&Subject { system: ["postgresql"; 2], port, client, setup: &[], words }).await;
}

/// PostgreSQL does not run as root: then as the user that its package makes.
fn postgres_server(folder: &Path, port: u16, settings: &[String]) -> Option<Peer> {
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else {
        println!("skipped: PostgreSQL is not installed");
        return None;
    };
    let newest = versions.flatten().map(|version| version.path().join("bin")).max().unwrap();
    let data = folder.join("data");
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if root {
        let owned = Command::new("chown").arg("postgres").arg(folder).status().unwrap();
        assert!(owned.success());
    }
    let as_postgres = |program: &str| {
        let program = newest.join(program);
        let mut command = Command::new(if root { Path::new("setpriv") } else { &program });
        if root {
            // In its own place, so that it ends with the test.
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(&program);
        }
        command.arg("-D").arg(&data).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let made = as_postgres("initdb").args(["-U", "tester", "-A", "trust", "--no-sync"]).status();
    assert!(made.unwrap().success());
    let mut server = as_postgres("postgres");
    server.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
    server.args(settings.iter().flat_map(|setting| ["-c", setting]));
    let sockets = format!("unix_socket_directories={}", folder.display());
    Some(Peer(server.args(["-c", &sockets]).spawn().unwrap()))
}

/// Scenario: MariaDB under PyMySQL and mysql-connector: queries, several at once, errors, other
/// databases, large packets and rows, a local file, prepared statements, compressed connections,
/// four clients at once, one connection that is older.
/// Guarantees: a span on each side for each command, with its text, status, order and sizes.
#[tokio::test(flavor = "multi_thread")]
async fn mysql() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    if Command::new("mariadbd").arg("--version").stdout(Stdio::null()).status().is_err() {
        return println!("skipped: MariaDB is not installed");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/mariadb.sh");
    let arguments =
        [&*script.to_string_lossy(), &*folder.path().to_string_lossy(), &port.to_string()];
    let Some(_server) = server("sh", &arguments, folder.path()) else { return };
    listening(port).await;
    let setup = ["SET", "PING", "RESET STATEMENT"].as_slice();
    let (system, words) = (["mariadb", "mysql"], &DATABASE);
    check(&Subject { system, port, client: "mysql_client.py", setup, words }).await;
}

/// Scenario: memcached under pymemcache and by hand: the text protocol with and without replies, meta
/// commands in pipelines with quiet ones, misses, errors of all kinds, four clients at once, one
/// connection that is older.
/// Guarantees: a span on each side for each command, with its text, status, order and sizes.
#[tokio::test(flavor = "multi_thread")]
async fn memcached() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-l", "127.0.0.1", "-U", "0", "-u", "nobody", "-p", &port.to_string()];
    let Some(_server) = server("memcached", &arguments, folder.path()) else { return };
    let (system, client) = (["memcached"; 2], "memcached_client.py");
    check(&Subject { system, port, client, setup: &[], words: &DATABASE }).await;
}

/// Scenario: a server of MongoDB's protocol, which keeps documents in SQLite, under pymongo: documents one by
/// one and many at once, cursors in small batches, indexes, commands that fail as a whole and in part, four
/// clients at once, large documents, one connection that is older.
/// Guarantees: a span on each side for each command, with its collection, status, order and size.
#[tokio::test(flavor = "multi_thread")]
async fn mongodb() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let port_text = port.to_string();
    let arguments =
        ["--db", "memory", "--pid-file", "pid", "--host", "127.0.0.1", "-p", &port_text];
    let Some(_server) = server("nx-27017", &arguments, folder.path()) else { return };
    let setup = ["hello", "isMaster", "ismaster"].as_slice();
    let (system, client, words) = (["mongodb"; 2], "mongodb_client.py", &DATABASE);
    check(&Subject { system, port, client, setup, words }).await;
}

/// Scenario: a database in memory that speaks Cassandra's protocol, under DataStax's drivers for Python
/// and for Node.js: queries, prepared statements and batches, many streams of one connection at once,
/// errors, values of many kilobytes, bodies packed by LZ4, by Snappy and by nothing, one connection that
/// is older, with a statement prepared before.
/// Guarantees: a span on each side for each request, with its text, collection, status and sizes.
#[tokio::test(flavor = "multi_thread")]
async fn cassandra() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let Some(_server) = server("cql-server", &[&port.to_string()], folder.path()) else { return };
    let setup = ["OPTIONS", "STARTUP", "REGISTER"].as_slice();
    let (system, client, words) = (["cassandra"; 2], "cassandra_client.py", &STREAMS);
    check(&Subject { system, port, client, setup, words }).await;
}

/// A server that runs in `folder`; none, and said so, where it is not installed.
pub(crate) fn server(program: &str, arguments: &[&str], folder: &Path) -> Option<Peer> {
    let mut command = Command::new(program);
    let log = std::fs::File::create(folder.join("server.log")).unwrap();
    let child = command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(log);
    match child.stderr(Stdio::null()).spawn() {
        Ok(child) => Some(Peer(child)),
        Err(error) => {
            println!("skipped: {program} cannot be started: {error}");
            None
        }
    }
}

pub(crate) async fn check(subject: &Subject) {
    listening(subject.port).await;
    let mut config = Config::default();
    config.limits.statements = Statements::Whole;
    config.rules.sql = false;
    config.limits.answer_nanos_max = 4_000_000_000;
    let Subject { client, port, .. } = *subject;
    let (arguments, ports) = ([port.to_string()], [port]);
    let watched = watched::<Record>(config, client, &arguments, &ports, 2);
    let Some((records, received, _)) = watched.await else { return };
    assert!(records.len() >= 200, "{} operations", records.len());

    for kind in [SpanKind::Server, SpanKind::Client] {
        check_spans(&received, subject, &records, kind);
    }
    println!("{}: {} operations on both sides", subject.client, records.len());
}
