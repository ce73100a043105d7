//! One connection: what its client says is done in the order in which it comes.
//!
//! Invariant: every `Sync` and every simple query is answered by one `ReadyForQuery`, and after an
//! error nothing is done until the next `Sync`.

mod steps;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Postgres;
use super::fault::fault;
use super::kept::Kept;
use super::portal::Running;
use super::statement::{Planned, TOLD};
use super::types::Type;
use super::wire::{Fault, Message, Reader, Writer, read};
use crate::running::Caller;

/// Statements, and portals, that a connection keeps.
const KEPT_MAX: usize = 1000;
/// Bytes that are gathered before they are sent.
const SENT_BYTES: usize = 64 << 10;
/// How long a client may take none of what it is sent.
pub(super) const TAKEN_WAIT: Duration = Duration::from_secs(300);
/// How many of the longest message they may be together.
const KEPT_MESSAGES_MAX: usize = 4;

/// A statement that was prepared.
#[derive(Debug, Clone)]
struct Prepared {
    planned: Arc<Planned>,
    /// The types that its values were said to have, or are found to have when that is asked.
    types: Vec<Option<Type>>,
    /// Whether they have been looked for.
    looked: bool,
}

/// A statement with its values.
struct Portal {
    planned: Arc<Planned>,
    /// Kept as they came, which takes less room than what is made of them.
    values: Values,
    /// Of each column, whether it is wanted in its binary form.
    forms: Vec<bool>,
    /// Of the message that it came in.
    bytes: usize,
    running: Option<Running>,
}

/// Values for the places of a statement.
#[derive(Debug, Default)]
struct Values {
    types: Vec<Option<Type>>,
    /// Of each, whether it is in its binary form.
    forms: Vec<bool>,
    values: Vec<Option<Bytes>>,
}

/// How a step failed.
enum Failed {
    /// The connection is of no more use.
    Broken(io::Error),
    /// The client is told.
    Told(Fault),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

type Done<T = ()> = Result<T, Failed>;

fn told<T>(code: &'static str, message: String) -> Done<T> {
    Err(Failed::Told(fault(code, message)))
}

/// How a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Open,
    Broken,
}

impl State {
    const fn letter(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Open => b'T',
            Self::Broken => b'E',
        }
    }
}

/// One connection.
pub(super) struct Session<'s> {
    service: &'s Postgres,
    stream: BufReader<TcpStream>,
    out: Writer,
    caller: Caller,
    process: u32,
    asked: u64,
    prepared: Kept<Prepared>,
    portals: Kept<Portal>,
    state: State,
}

impl<'s> Session<'s> {
    pub(super) fn new(
        service: &'s Postgres,
        stream: TcpStream,
        caller: Caller,
        process: u32,
    ) -> Self {
        let bytes_max = service.request_bytes_max.saturating_mul(KEPT_MESSAGES_MAX);
        Self {
            service,
            stream: BufReader::new(stream),
            out: Writer::default(),
            caller,
            process,
            asked: 0,
            prepared: Kept::new(KEPT_MAX, bytes_max),
            portals: Kept::new(KEPT_MAX, bytes_max),
            state: State::Idle,
        }
    }

    /// Greets the client and does what it says until it leaves, or the service stops.
    pub(super) async fn run(
        &mut self,
        secret: u32,
        older: Option<Vec<String>>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        if let Some(options) = older {
            self.out.older(&options);
        }
        self.out.authenticated();
        for (name, value) in TOLD {
            self.out.setting(name, value);
        }
        self.out.cancel_key(self.process, secret);
        self.ready().await?;
        let mut skips = false;
        loop {
            let message = tokio::select! {
                message = read(&mut self.stream, self.service.request_bytes_max) => message?,
                () = stop.cancelled() => return self.say_goodbye().await,
            };
            let Some(message) = message.filter(|message| message.tag != b'X') else {
                return Ok(());
            };
            let syncs = matches!(message.tag, b'S' | b'Q');
            if skips && !syncs {
                continue;
            }
            skips = self.answer(message).await? && !syncs;
            if syncs {
                self.ready().await?;
            } else if self.out.len() >= SENT_BYTES {
                self.flush().await?;
            }
        }
    }

    /// Does what a message says; true where it failed and the client was told.
    async fn answer(&mut self, message: Message) -> io::Result<bool> {
        match Box::pin(self.step(message)).await {
            Ok(()) => Ok(false),
            Err(Failed::Broken(error)) => Err(error),
            Err(Failed::Told(fault)) => {
                self.out.fault(&fault);
                if self.state == State::Open {
                    self.state = State::Broken;
                }
                // Some clients send no `Sync` before they know.
                self.flush().await?;
                Ok(true)
            }
        }
    }

    /// Says that it is the client's turn. Portals last until the end of a transaction.
    async fn ready(&mut self) -> io::Result<()> {
        if self.state == State::Idle {
            self.portals.clear();
        }
        self.out.ready(self.state.letter());
        self.flush().await
    }

    /// Tells the client that the service stops.
    async fn say_goodbye(&mut self) -> io::Result<()> {
        self.out.fault(&fault("57P01", "this Icecore stops".to_owned()));
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        let bytes = self.out.take();
        self.service.answers.metrics.sent(0, bytes.len() as u64);
        let mut left = &bytes[..];
        while !left.is_empty() {
            let written = self.stream.get_mut().write(left);
            match tokio::time::timeout(TAKEN_WAIT, written).await?? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => left = left.get(written..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    async fn step(&mut self, message: Message) -> Done {
        let mut body = Reader(message.body);
        match message.tag {
            b'Q' => {
                let sql = body.text()?;
                self.simple(&sql).await
            }
            b'P' => self.parse(&mut body),
            b'B' => self.bind(&mut body).await,
            b'D' => self.describe(&mut body).await,
            b'E' => self.execute(&mut body).await,
            b'C' => {
                let (kind, name) = (body.u8()?, body.text()?);
                if kind == b'S' {
                    self.prepared.take(&name);
                } else {
                    self.portals.take(&name);
                }
                self.out.plain(b'3');
                Ok(())
            }
            b'H' => Ok(self.flush().await?),
            b'S' => Ok(()),
            tag => {
                let tag = char::from(tag).escape_default();
                told("08P01", format!("a message `{tag}` is not understood"))
            }
        }
    }
}

/// Returns when the client has closed the connection; never where it says more meanwhile.
async fn gone(stream: &BufReader<TcpStream>) -> io::Error {
    if stream.buffer().is_empty() {
        match stream.get_ref().peek(&mut [0]).await {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
    std::future::pending().await
}
