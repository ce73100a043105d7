//! The PostgreSQL wire protocol, for `psql`, drivers and dashboards.
//!
//! Invariant: queries have the turns, bounds and figures of those over HTTP; a connection keeps a
//! bounded number of statements, and what it asked ends with it.

pub(crate) mod catalog;
mod cell;
mod dialect;
mod fault;
mod kept;
mod numeric;
mod param;
mod portal;
mod session;
mod statement;
mod types;
mod wire;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::serve::Listener;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::fault::fault;
use self::session::{Session, TAKEN_WAIT};
use self::wire::{Startup, Writer, read_startup};
use crate::answer::Answers;
use crate::running::Caller;

/// How long a client may take to begin a session.
const STARTUP_WAIT: Duration = Duration::from_secs(10);

/// How long nothing may be heard of a client's machine before it is asked, again and again.
const QUIET_MAX: Duration = Duration::from_secs(60);

/// The service, over the answers that all protocols share.
#[derive(Debug)]
pub(crate) struct Postgres {
    answers: Arc<Answers>,
    request_bytes_max: usize,
    connections: Arc<Semaphore>,
    /// Of those that have not said yet what they want.
    beginnings: Arc<Semaphore>,
    connections_max: usize,
    sessions: Mutex<HashMap<u32, Asks>>,
    numbered: AtomicU32,
}

/// What a session runs, and the secret of those who may end it.
#[derive(Debug)]
struct Asks {
    secret: u32,
    id: String,
}

impl Postgres {
    /// Over these answers; a message is at most so long, and so many are connected.
    pub(crate) fn new(
        answers: Arc<Answers>,
        request_bytes_max: usize,
        connections_max: usize,
    ) -> Self {
        Self {
            answers,
            request_bytes_max,
            connections: Arc::new(Semaphore::new(connections_max)),
            beginnings: Arc::new(Semaphore::new(connections_max)),
            connections_max,
            sessions: Mutex::default(),
            numbered: AtomicU32::new(1),
        }
    }

    /// Serves until `stop`; then sessions end with what they are at.
    pub(crate) async fn run(self, mut listener: TcpListener, stop: CancellationToken) {
        let service = Arc::new(self);
        // Those that have not ended when this is dropped, end with it.
        let mut sessions = JoinSet::new();
        loop {
            // Waits by itself where descriptors have run out.
            let (stream, from) = tokio::select! {
                accepted = Listener::accept(&mut listener) => accepted,
                Some(_ended) = sessions.join_next() => continue,
                () = stop.cancelled() => break,
            };
            let Ok(beginning) = Arc::clone(&service.beginnings).try_acquire_owned() else {
                service.answers.metrics.refused_connection();
                continue;
            };
            let (service, stop) = (Arc::clone(&service), stop.clone());
            sessions.spawn(async move {
                if let Err(error) = service.serve(stream, beginning, stop).await {
                    debug!(%from, %error, "a session broke off");
                }
            });
        }
        while sessions.join_next().await.is_some() {}
    }

    /// Begins here, so that a query can be cancelled however busy the threads are that run them.
    async fn serve(
        self: Arc<Self>,
        mut stream: TcpStream,
        beginning: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        notice_death(&stream)?;
        let begun = tokio::time::timeout(STARTUP_WAIT, begin(&mut stream)).await;
        let older = match begun.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))?? {
            Startup::Cancel { process, secret } => {
                self.cancel(process, secret);
                return Ok(());
            }
            Startup::Session { newer, options } => {
                (newer || !options.is_empty()).then_some(options)
            }
            Startup::Encrypt => return Ok(()),
        };
        let Ok(place) = Arc::clone(&self.connections).try_acquire_owned() else {
            self.answers.metrics.refused_connection();
            return refuse(&mut stream, self.connections_max).await;
        };
        drop(beginning);
        let service = Arc::clone(&self);
        // Statements are read by their session, which takes time and stack.
        let session = self.answers.threads.spawn(async move {
            let _place = place;
            service.session(stream, older, &stop).await
        });
        match session {
            Some(session) => session.await.map_err(io::Error::other)?,
            None => Ok(()),
        }
    }

    async fn session(
        &self,
        stream: TcpStream,
        older: Option<Vec<String>>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        let _counted = self.answers.metrics.connected();
        let client = stream.peer_addr()?.ip().to_canonical();
        let process = self.numbered.fetch_add(1, Ordering::Relaxed);
        // The keys of a hasher are random: 32 bits of them end a query, and nothing else.
        let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
        let secret = u32::from_be_bytes([a, b, c, d]);
        self.lock().insert(process, Asks { secret, id: String::new() });
        // Goes however the session ends.
        let _listed = Known { service: self, process };
        let mut session = Session::new(self, stream, Caller { client, id: None }, process);
        Box::pin(session.run(secret, older, stop)).await
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Asks>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session runs the query with this id.
    fn asks(&self, process: u32, id: &str) {
        if let Some(asks) = self.lock().get_mut(&process) {
            id.clone_into(&mut asks.id);
        }
    }

    /// Ends what a session runs, for who knows its secret.
    fn cancel(&self, process: u32, secret: u32) {
        let id = self.lock().get(&process).filter(|it| it.secret == secret).map(|it| it.id.clone());
        if let Some(id) = id {
            // One that has ended by itself needs no end.
            drop(self.answers.queries.end(&id));
        }
    }
}

/// A session that may be cancelled.
struct Known<'s> {
    service: &'s Postgres,
    process: u32,
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.service.lock().remove(&self.process);
    }
}

/// Has the kernel find out where the other end has gone without a word.
fn notice_death(stream: &TcpStream) -> io::Result<()> {
    let alive = TcpKeepalive::new().with_time(QUIET_MAX).with_interval(QUIET_MAX / 4);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&alive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TAKEN_WAIT))?;
    Ok(())
}

/// What a connection begins with. Nothing is encrypted, and clients are told so.
async fn begin(stream: &mut TcpStream) -> io::Result<Startup> {
    loop {
        match read_startup(stream).await? {
            Startup::Encrypt => stream.write_all(b"N").await?,
            startup => return Ok(startup),
        }
    }
}

async fn refuse(stream: &mut TcpStream, connections_max: usize) -> io::Result<()> {
    let mut out = Writer::default();
    let mut refused = fault("53300", format!("{connections_max} clients are connected already"));
    "close one, or raise `pg_connections_max`".clone_into(&mut refused.hint);
    out.fault(&refused);
    stream.write_all(&out.take()).await
}
