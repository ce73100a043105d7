//! The first message of each side of a TLS handshake (RFC 8446, sections 4.1 and 5.1).
//!
//! Invariant: pure, and whatever it is fed it takes only what its lengths allow.

/// What the bytes of one direction begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// It is not whole yet.
    Partial,
    /// No hello.
    None,
    Client {
        server_name: Option<String>,
    },
    Server {
        version: Option<&'static str>,
        cipher: u16,
        next_protocol: Option<String>,
    },
}

const RECORD_HANDSHAKE: u8 = 22;
const RECORD_HEAD_BYTES: usize = 5;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const RANDOM_BYTES: usize = 32;
const SERVER_NAME: u16 = 0;
const NEXT_PROTOCOL: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
/// A host name is never longer.
const NAME_BYTES_MAX: usize = 255;

/// Reads the hello at the beginning of a direction.
pub(super) fn read(bytes: &[u8]) -> Hello {
    let Some((message, whole)) = message(bytes) else { return Hello::None };
    let mut cursor = Cursor(&message);
    let (kind, len) = match (cursor.byte(), cursor.number(3)) {
        (Some(kind @ (CLIENT_HELLO | SERVER_HELLO)), Some(len)) => (kind, len),
        (Some(_), Some(_)) => return Hello::None,
        _ => return if whole { Hello::Partial } else { Hello::None },
    };
    let Some(body) = cursor.take(len) else {
        return if whole { Hello::Partial } else { Hello::None };
    };
    let hello = if kind == CLIENT_HELLO { client(body) } else { server(body) };
    hello.unwrap_or(Hello::None)
}

/// The handshake messages in the records that the bytes begin with, which may be cut anywhere, and
/// whether more may follow; none where there is no such record.
fn message(bytes: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut message = Vec::new();
    let mut rest = bytes;
    while let Some((head, behind)) = rest.split_at_checked(RECORD_HEAD_BYTES) {
        let &[kind, major, _, high, low] = head else { break };
        if kind != RECORD_HANDSHAKE || major != 3 {
            return (!message.is_empty()).then_some((message, false));
        }
        let len = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
        let (fragment, next) = behind.split_at(len);
        message.extend_from_slice(fragment);
        rest = next;
    }
    Some((message, true))
}

fn client(body: &[u8]) -> Option<Hello> {
    let mut cursor = Cursor(body);
    cursor.take(2 + RANDOM_BYTES)?;
    cursor.counted(1)?;
    cursor.counted(2)?;
    cursor.counted(1)?;
    Some(Hello::Client { server_name: extension(cursor, SERVER_NAME).and_then(server_name) })
}

fn server(body: &[u8]) -> Option<Hello> {
    let mut cursor = Cursor(body);
    let legacy = cursor.number(2)?;
    cursor.take(RANDOM_BYTES)?;
    cursor.counted(1)?;
    let cipher = u16::try_from(cursor.number(2)?).ok()?;
    cursor.take(1)?;
    let selected = extension(cursor, SUPPORTED_VERSIONS).and_then(|body| Cursor(body).number(2));
    let next_protocol = extension(cursor, NEXT_PROTOCOL).and_then(next_protocol);
    Some(Hello::Server { version: version(selected.unwrap_or(legacy)), cipher, next_protocol })
}

fn version(number: usize) -> Option<&'static str> {
    Some(match number {
        0x0301 => "1.0",
        0x0302 => "1.1",
        0x0303 => "1.2",
        0x0304 => "1.3",
        _ => return None,
    })
}

/// The body of an extension of this kind; the cursor stands before all of them.
fn extension(mut cursor: Cursor<'_>, wanted: u16) -> Option<&[u8]> {
    let mut extensions = Cursor(cursor.counted(2)?);
    loop {
        let kind = extensions.number(2)?;
        let body = extensions.counted(2)?;
        if kind == usize::from(wanted) {
            return Some(body);
        }
    }
}

/// The first name of the list, which in practice is the only one.
fn server_name(body: &[u8]) -> Option<String> {
    let mut names = Cursor(Cursor(body).counted(2)?);
    let host = names.byte()? == 0;
    let name = names.counted(2)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    let valid = host && !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.iter().all(plain);
    valid.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

fn next_protocol(body: &[u8]) -> Option<String> {
    let name = Cursor(Cursor(body).counted(2)?).counted(1)?;
    let valid = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    valid.then(|| String::from_utf8_lossy(name).into_owned())
}

/// Takes from the front of bytes.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A number of so many bytes, three at most.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        let taken = self.take(bytes)?;
        Some(taken.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    /// Bytes behind their length, which takes so many bytes itself.
    fn counted(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let len = self.number(bytes)?;
        self.take(len)
    }
}
