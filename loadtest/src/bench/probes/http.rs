//! Requests at a fixed rate, over some connections that stay open.
//!
//! Invariant: a request that leaves late has waited, and that counts as its time.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::error::Error;

const CONNECTIONS: u32 = 16;
const REQUEST: &[u8] =
    b"GET /some/place?of=this HTTP/1.1\r\nHost: here\r\nUser-Agent: bench\r\n\r\n";

/// What became of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) requests: u64,
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// So many requests a second for so long.
pub(super) async fn run(port: u16, per_second: u64, lasts: Duration) -> Result<Answered, Error> {
    let began = Instant::now();
    let pause = Duration::from_secs_f64(f64::from(CONNECTIONS) / per_second.max(1) as f64);
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        let first = began + pause * number / CONNECTIONS;
        clients.spawn(client(port, first, pause, began + lasts));
    }
    let mut times = Vec::new();
    while let Some(ended) = clients.join_next().await {
        times.extend(ended.map_err(Error::Task)??);
    }
    let seconds = began.elapsed().as_secs_f64();
    times.sort_unstable();
    let of = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the length of the list"
        )]
        let at = (times.len() as f64 * share) as usize;
        times.get(at).map_or(f64::NAN, |time: &Duration| time.as_secs_f64() * 1e3)
    };
    let requests = times.len() as u64;
    let per_second = requests as f64 / seconds;
    Ok(Answered { requests, per_second, p50_ms: of(0.5), p99_ms: of(0.99) })
}

/// One request on a connection of its own.
pub(super) async fn ask(port: u16) -> Result<(), Error> {
    let mut stream = connect(port).await?;
    answer(&mut stream, &mut Vec::new()).await.map_err(failed(port))
}

async fn client(
    port: u16,
    first: Instant,
    pause: Duration,
    end: Instant,
) -> Result<Vec<Duration>, Error> {
    let mut stream = connect(port).await?;
    let (mut due, mut times, mut read) = (first, Vec::new(), Vec::new());
    while due < end {
        sleep_until(due).await;
        answer(&mut stream, &mut read).await.map_err(failed(port))?;
        times.push(due.elapsed());
        due += pause;
    }
    Ok(times)
}

async fn connect(port: u16) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(failed(port))?;
    stream.set_nodelay(true).map_err(failed(port))?;
    Ok(stream)
}

/// nginx says no more than this, and the end of it is that of its answer.
async fn answer(stream: &mut TcpStream, read: &mut Vec<u8>) -> std::io::Result<()> {
    stream.write_all(REQUEST).await?;
    read.clear();
    while !read.ends_with(b"and no more") {
        if stream.read_buf(read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn failed(port: u16) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::File { action: "ask", path: format!("127.0.0.1:{port}").into(), source }
}
