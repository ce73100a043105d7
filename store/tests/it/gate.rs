//! A way to a server that can be shut: what is asked meanwhile waits, or is cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Where it is on loopback.
    pub(crate) port: u16,
    way: watch::Sender<Way>,
    counted: Arc<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Requests that wait here.
    held: AtomicUsize,
    /// Connections that were closed with one.
    broken: AtomicUsize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Way {
    shut: bool,
    /// Connections that are from before the last of them are closed.
    cuts: usize,
    broken_at: Option<&'static str>,
}

impl Gate {
    /// In front of the server on this port; open.
    pub(crate) async fn open(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (way, counted) = (watch::Sender::new(Way::default()), Arc::<Counted>::default());
        let (passing, counting) = (way.clone(), Arc::clone(&counted));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, passing.clone(), Arc::clone(&counting)));
            }
        });
        Self { port, way, counted }
    }

    /// What is asked from here on waits.
    pub(crate) fn shut(&self) {
        self.way.send_modify(|way| way.shut = true);
    }

    /// What waits goes on, and what is asked from here on.
    pub(crate) fn let_through(&self) {
        self.way.send_modify(|way| way.shut = false);
    }

    /// Breaks the connection of the next request whose head has this text.
    pub(crate) fn break_at(&self, text: &'static str) {
        self.way.send_modify(|way| way.broken_at = Some(text));
    }

    /// Whether it came to that.
    pub(crate) fn has_broken(&self) -> bool {
        self.counted.broken.load(Ordering::Acquire) > 0
    }

    /// Waits until a request waits here.
    pub(crate) async fn holds_something(&self) {
        while self.counted.held.load(Ordering::Acquire) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Closes all connections that there are, so many times, whenever a request waits here.
    pub(crate) async fn cut(&self, times: usize) {
        for _ in 0..times {
            let before = self.counted.broken.load(Ordering::Acquire);
            self.holds_something().await;
            self.way.send_modify(|way| way.cuts += 1);
            while self.counted.broken.load(Ordering::Acquire) == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// One connection, to its end.
async fn pass(client: TcpStream, server: u16, ways: watch::Sender<Way>, counted: Arc<Counted>) {
    let mut way = ways.subscribe();
    let cuts = way.borrow().cuts;
    let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    let (mut asked, mut answer) = client.into_split();
    let (mut answered, mut ask) = server.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut answered, &mut answer).await });
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = asked.read(&mut bytes) => read.unwrap_or(0),
            _ = way.wait_for(|way| way.cuts > cuts) => 0,
        };
        if read == 0 {
            break;
        }
        counted.held.fetch_add(1, Ordering::AcqRel);
        let goes = way.wait_for(|way| !way.shut || way.cuts > cuts).await;
        let is_cut = goes.map_or(true, |way| way.cuts > cuts);
        let is_cut = is_cut || is_broken(&ways, &bytes[..read]);
        counted.held.fetch_sub(1, Ordering::AcqRel);
        if is_cut {
            counted.broken.fetch_add(1, Ordering::AcqRel);
            break;
        }
        if ask.write_all(&bytes[..read]).await.is_err() {
            break;
        }
    }
    back.abort();
}

fn is_broken(ways: &watch::Sender<Way>, asked: &[u8]) -> bool {
    let has = |text: &str| asked.windows(text.len()).any(|window| window == text.as_bytes());
    ways.send_if_modified(|way| way.broken_at.take_if(|text| has(text)).is_some())
}
