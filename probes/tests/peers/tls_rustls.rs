//! A server and clients that speak HTTP/1.1 and HTTP/2 inside rustls, on the threads of tokio and without it.
//!
//! ```text
//! tls-rustls serve CERTIFICATE KEY       prints the port of 127.0.0.1 on which it serves
//! tls-rustls ask COUNT PORT...           sends so many requests over each connection, and prints what it did, as JSON
//! ```
//!
//! The record of a request is [number, port, method, path, status, request bytes, response bytes, start, end, TLS version
//! or null, server name or null, port of the client]. The number stands in the query. No two answers over different
//! connections are of one size. Two connections are opened and used before "ready" is printed; the rest waits for
//! a line on standard input.

use std::io::{BufRead as _, Read as _, Write};
use std::net::TcpStream as BlockingStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, client, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Connections of each kind.
const CONNECTIONS: usize = 16;
/// Of those of HTTP/1.1, such as are opened before.
const OLD: usize = 2;
/// Requests at a time over a connection of HTTP/2.
const AT_A_TIME: usize = 4;
/// Further bytes of some answers and questions: several records, and more than a socket takes at once.
const LONG: [usize; 4] = [0, 0, 40_000, 400_000];

type Rows = Arc<Mutex<Vec<Value>>>;

/// Does what it is told, and prints there.
pub(crate) fn run(arguments: &[String], output: &mut dyn Write) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(3).enable_all().build().unwrap();
    match arguments.first().map(String::as_str) {
        Some("serve") => runtime.block_on(serve(&arguments[1], &arguments[2], output)),
        Some("ask") => {
            let ports = arguments[2..].iter().map(|port| port.parse().unwrap()).collect();
            runtime.block_on(ask(arguments[1].parse().unwrap(), ports, output));
        }
        _ => panic!("{arguments:?}"),
    }
}

async fn serve(certificate: &str, key: &str, output: &mut dyn Write) {
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    writeln!(output, "{}", listener.local_addr().unwrap().port()).unwrap();
    output.flush().unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
            let builder = Builder::new(TokioExecutor::new());
            drop(builder.serve_connection(stream, service_fn(answer)).await);
        });
    }
}

/// `/answer/BYTES/STATUS`
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
    let path = request.uri().path().to_owned();
    drop(request.into_body().collect().await);
    let mut words = path.split('/').skip(2).map(|word| word.parse::<usize>().unwrap());
    let bytes = vec![b'r'; words.next().unwrap()];
    let status = u16::try_from(words.next().unwrap()).unwrap();
    Ok(Response::builder().status(status).body(Full::new(bytes.into())).unwrap())
}

/// What a connection is like.
#[derive(Clone, Copy)]
struct Kind {
    index: usize,
    port: u16,
    second: bool,
    version: &'static SupportedProtocolVersion,
}

impl Kind {
    fn config(self) -> ClientConfig {
        let suites = ring::default_provider().cipher_suites.into_iter();
        // Each of those that a version has in turn, for a certificate as it is here.
        let fits = |name: String| !name.contains("_RSA_");
        let fitting = suites.filter(|one| one.version() == self.version);
        let fitting: Vec<_> = fitting.filter(|one| fits(format!("{:?}", one.suite()))).collect();
        let cipher_suites = vec![fitting[self.index / 4 % fitting.len()]];
        let provider = CryptoProvider { cipher_suites, ..ring::default_provider() };
        let config = ClientConfig::builder_with_provider(Arc::new(provider));
        let config = config.with_protocol_versions(&[self.version]).unwrap().dangerous();
        let config = config.with_custom_certificate_verifier(Arc::new(Anybody));
        let mut config = config.with_no_client_auth();
        config.alpn_protocols =
            vec![if self.second { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        config
    }

    fn version(self) -> &'static str {
        if self.version == &rustls::version::TLS13 { "1.3" } else { "1.2" }
    }
}

/// Of all ports and versions; every other one speaks HTTP/2 if that is wanted.
fn kinds(ports: &[u16], indices: std::ops::Range<usize>) -> Vec<Kind> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let of = |index: usize| {
        let (port, version) = (ports[index % ports.len()], versions[index / 2 % 2]);
        [true, false].map(|second| Kind { index, port, second, version })
    };
    indices.flat_map(of).collect()
}

async fn ask(count: usize, ports: Vec<u16>, output: &mut dyn Write) {
    let rows = Rows::default();
    let numbers = Arc::new(AtomicU64::new(0));
    let mut old = Vec::new();
    for kind in kinds(&ports, 0..OLD).into_iter().filter(|kind| !kind.second) {
        let mut connection = Connection::open(kind, true).await;
        connection.send(0, None).await;
        old.push(connection);
    }
    writeln!(output, "ready").unwrap();
    output.flush().unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new()))
        .await
        .unwrap()
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for mut connection in old {
        // What the agent takes for the first is asked for before.
        connection.send(0, None).await;
        let (rows, numbers) = (Arc::clone(&rows), Arc::clone(&numbers));
        tasks.spawn(async move { connection.many(count, &numbers, &rows).await });
    }
    for kind in kinds(&ports, OLD..CONNECTIONS) {
        let (rows, numbers) = (Arc::clone(&rows), Arc::clone(&numbers));
        tasks.spawn(async move {
            let mut connection = Connection::open(kind, false).await;
            connection.many(count, &numbers, &rows).await;
        });
    }
    for kind in kinds(&ports, 0..4).into_iter().filter(|kind| !kind.second) {
        let (rows, numbers) = (Arc::clone(&rows), Arc::clone(&numbers));
        tasks.spawn_blocking(move || block(kind, count, &numbers, &rows));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let mut rows = std::mem::take(&mut *rows.lock().unwrap());
    rows.sort_by_key(|row| row[0].as_u64());
    writeln!(output, "{}", Value::Array(rows)).unwrap();
}

/// Who sends.
#[derive(Clone)]
enum Sender {
    First(Arc<tokio::sync::Mutex<client::conn::http1::SendRequest<Full<Bytes>>>>),
    Second(client::conn::http2::SendRequest<Full<Bytes>>),
}

#[derive(Clone)]
struct Connection {
    kind: Kind,
    old: bool,
    from: u16,
    sender: Sender,
}

impl Connection {
    async fn open(kind: Kind, old: bool) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", kind.port)).await.unwrap();
        let from = stream.local_addr().unwrap().port();
        let connector = TlsConnector::from(Arc::new(kind.config()));
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await;
        let stream = TokioIo::new(stream.unwrap());
        let sender = if kind.second {
            let made = client::conn::http2::handshake(TokioExecutor::new(), stream).await;
            let (sender, connection) = made.unwrap();
            tokio::spawn(connection);
            Sender::Second(sender)
        } else {
            let (sender, connection) = client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            Sender::First(Arc::new(tokio::sync::Mutex::new(sender)))
        };
        Self { kind, old, from, sender }
    }

    async fn many(&mut self, count: usize, numbers: &Arc<AtomicU64>, rows: &Rows) {
        let at_a_time = if self.kind.second { AT_A_TIME } else { 1 };
        let mut tasks = tokio::task::JoinSet::new();
        for lane in 0..at_a_time {
            let (mut connection, rows) = (self.clone(), Arc::clone(rows));
            let numbers = Arc::clone(numbers);
            tasks.spawn(async move {
                for turn in (lane..count).step_by(at_a_time) {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    let row = connection.send(turn, Some(number)).await;
                    rows.lock().unwrap().push(row);
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }

    async fn send(&mut self, turn: usize, number: Option<u64>) -> Value {
        let Asked { method, path, sent } = asked(self.kind, turn, number);
        let query = number.map(|number| format!("?number={number}")).unwrap_or_default();
        let uri = if self.kind.second {
            format!("https://localhost:{}{path}{query}", self.kind.port)
        } else {
            format!("{path}{query}")
        };
        let request = Request::builder().method(method).uri(uri);
        let host = format!("localhost:{}", self.kind.port);
        let request = if self.kind.second { request } else { request.header("host", host) };
        let request = request.body(Full::new(vec![b'q'; sent].into())).unwrap();
        let start = now();
        let response = match &mut self.sender {
            Sender::First(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await.unwrap();
                sender.send_request(request).await
            }
            Sender::Second(sender) => sender.send_request(request).await,
        };
        let response = response.unwrap();
        let status = response.status().as_u16();
        let got = response.into_body().collect().await.unwrap().to_bytes().len();
        let known = (!self.old).then_some(self.kind);
        row((number, self.kind.port, method, &path), (status, sent, got), start, known, self.from)
    }
}

/// What is asked for.
struct Asked {
    method: &'static str,
    path: String,
    sent: usize,
}

fn asked(kind: Kind, turn: usize, number: Option<u64>) -> Asked {
    let long = LONG[turn % LONG.len()];
    let number = usize::try_from(number.unwrap_or(0)).unwrap();
    // The first over a connection brings something along in every third case.
    let (method, sent) = match (turn + kind.index) % 3 {
        0 => ("POST", 1 + number + LONG[(turn / 2) % LONG.len()]),
        _ => ("GET", 0),
    };
    let status = [200, 404, 500][turn % 3];
    Asked { method, path: format!("/answer/{}/{status}", 10 + number + long), sent }
}

fn row(
    (number, port, method, path): (Option<u64>, u16, &str, &str),
    (status, sent, got): (u16, usize, usize),
    start: u64,
    known: Option<Kind>,
    from: u16,
) -> Value {
    let (version, name) = (known.map(Kind::version), known.map(|_| "localhost"));
    json!([number, port, method, path, status, sent, got, start, now(), version, name, from])
}

#[expect(clippy::disallowed_methods, reason = "a program has no clock of the agent's")]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// A thread that waits for everything.
fn block(kind: Kind, count: usize, numbers: &AtomicU64, rows: &Rows) {
    let stream = BlockingStream::connect(("127.0.0.1", kind.port)).unwrap();
    let from = stream.local_addr().unwrap().port();
    let name = ServerName::try_from("localhost").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(kind.config()), name).unwrap();
    let mut stream = rustls::StreamOwned::new(session, stream);
    for turn in 0..count {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let Asked { method, path, sent } = asked(kind, turn, Some(number));
        let start = now();
        write!(
            stream,
            "{method} {path}?number={number} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {sent}\r\n\r\n"
        )
        .unwrap();
        stream.write_all(&vec![b'q'; sent]).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.get(9..12).unwrap().parse().unwrap();
        let length = head.split("content-length: ").nth(1).and_then(|it| it.lines().next());
        let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        let asked = (Some(number), kind.port, method, path.as_str());
        let row = row(asked, (status, sent, body.len()), start, Some(kind), from);
        rows.lock().unwrap().push(row);
    }
}

/// Takes any certificate for good.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
