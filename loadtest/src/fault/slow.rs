//! A proxy before an HTTP/1.1 server that lets each request wait, and keeps a record of all.
//!
//! Invariant: bytes go through as they are, both ways; what is delayed is a request's way to the
//! server, and requests on several connections wait at the same time, as they do on a real network.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

/// Heads of requests are far shorter.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Requests that are kept on record; older ones are the first to go.
const RECORD_MAX: usize = 1_000_000;

/// One request, as the proxy saw it.
#[derive(Debug, Clone)]
struct Seen {
    method: String,
    path: String,
    came: Instant,
    answered: Option<Instant>,
}

type Record = Arc<Mutex<Vec<Seen>>>;

/// Ends with the value.
#[derive(Debug)]
pub(crate) struct SlowProxy {
    pub(crate) address: SocketAddr,
    record: Record,
    _accepting: AbortOnDropHandle<()>,
}

/// What some requests came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) requests: usize,
    /// How often somebody had to wait for an answer before the next request could leave: a request
    /// that left before any of its wave was answered belongs to that wave.
    pub(crate) waves: usize,
    /// Requests for each path.
    pub(crate) paths: BTreeMap<String, usize>,
}

impl SlowProxy {
    /// Listens on a port of its own.
    pub(crate) async fn start(server: SocketAddr, latency: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let record = Record::default();
        let kept = Arc::clone(&record);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A connection that breaks is the client's to notice.
                tokio::spawn(serve(client, server, latency, Arc::clone(&kept)));
            }
        });
        Ok(Self { address, record, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// Forgets what was seen so far.
    pub(crate) fn forget(&self) {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The `GET` requests since for paths that contain `part`.
    pub(crate) fn gets(&self, part: &str) -> Tally {
        let seen = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        tally(seen.iter().filter(|one| one.method == "GET" && one.path.contains(part)))
    }
}

/// Counts requests, which are in the order of their coming.
fn tally<'a>(seen: impl Iterator<Item = &'a Seen>) -> Tally {
    let mut tally = Tally::default();
    let mut first_answer: Option<Instant> = None;
    let mut in_wave = false;
    for one in seen {
        tally.requests += 1;
        *tally.paths.entry(one.path.clone()).or_default() += 1;
        if !in_wave || first_answer.is_some_and(|answer| one.came >= answer) {
            tally.waves += 1;
            (in_wave, first_answer) = (true, None);
        }
        first_answer = match (first_answer, one.answered) {
            (Some(known), Some(answered)) => Some(known.min(answered)),
            (known, answered) => known.or(answered),
        };
    }
    tally
}

async fn serve(
    client: TcpStream,
    server: SocketAddr,
    latency: Duration,
    record: Record,
) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let current = Arc::new(Mutex::new(None));
    let answers = Answers { record: Arc::clone(&record), current: Arc::clone(&current) };
    let back = AbortOnDropHandle::new(tokio::spawn(answers.relay(from_server, to_client)));
    let requests = Requests { record, current, latency };
    requests.relay(from_client, to_server).await?;
    back.await.unwrap_or(Ok(()))
}

/// The way from client to server of one connection.
struct Requests {
    record: Record,
    /// Where the request that is on its way stands in the record.
    current: Arc<Mutex<Option<usize>>>,
    latency: Duration,
}

impl Requests {
    async fn relay(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        let mut bytes = Vec::new();
        loop {
            let Some(head) = read_head(&mut from, &mut bytes).await? else {
                return to.shutdown().await;
            };
            let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
            self.note(&text);
            sleep(self.latency).await;
            let mut left = body_bytes(&text);
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - head);
            to.write_all(&bytes[..head + here]).await?;
            bytes.drain(..head + here);
            left -= here as u64;
            let copied = tokio::io::copy(&mut (&mut from).take(left), &mut to).await?;
            if copied < left {
                return to.shutdown().await;
            }
        }
    }

    fn note(&self, head: &str) {
        let mut words = head.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (method, path) = (word(), word());
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let room = record.len() < RECORD_MAX;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = room.then_some(record.len());
        if room {
            record.push(Seen { method, path, came: Instant::now(), answered: None });
        }
    }
}

/// The way back.
struct Answers {
    record: Record,
    current: Arc<Mutex<Option<usize>>>,
}

impl Answers {
    async fn relay(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let read = from.read(&mut bytes).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            self.note();
            to.write_all(&bytes[..read]).await?;
        }
    }

    /// The first bytes of an answer: whoever waits for it can go on.
    fn note(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = current.take() {
            let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(seen) = record.get_mut(at) {
                seen.answered = Some(Instant::now());
            }
        }
    }
}

/// Reads until a whole head is in `bytes`, and says where it ends; `None` at the end of the
/// connection.
async fn read_head(from: &mut OwnedReadHalf, bytes: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a head without an end"));
        }
        if from.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

fn body_bytes(head: &str) -> u64 {
    let named = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    };
    head.lines().find_map(named).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;

    use super::*;

    /// Scenario: two requests at once, then one, then one with a body and another, through 40 ms.
    /// Guarantees: each waits; those at once are one wave, those after each other one each; bodies
    /// arrive; what was forgotten is not counted.
    #[tokio::test]
    async fn requests_wait_and_are_counted() {
        let routes = Router::new().route("/data/{name}", get(async || "here").put(echo));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let latency = Duration::from_millis(40);
        let proxy = SlowProxy::start(server, latency).await.unwrap();
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = |name: &str| format!("http://{}/data/{name}", proxy.address);
        let began = Instant::now();
        let (one, other) = tokio::join!(client.get(url("a")).send(), client.get(url("b")).send());
        assert_eq!(one.unwrap().text().await.unwrap(), "here");
        assert_eq!(other.unwrap().text().await.unwrap(), "here");
        client.get(url("a")).send().await.unwrap();
        assert!(began.elapsed() >= 2 * latency);
        let tally = proxy.gets("/data/");
        assert_eq!((tally.requests, tally.waves), (3, 2));
        assert_eq!(tally.paths["/data/a"], 2);
        proxy.forget();
        let body = vec![b'x'; 300_000];
        let answer = client.put(url("c")).body(body.clone()).send().await.unwrap();
        assert_eq!(answer.bytes().await.unwrap(), body);
        client.get(url("c")).send().await.unwrap();
        assert_eq!((proxy.gets("/data/").waves, proxy.gets("/data/a").requests), (1, 0));
        serving.abort();
    }

    async fn echo(body: axum::body::Bytes) -> axum::body::Bytes {
        body
    }
}
