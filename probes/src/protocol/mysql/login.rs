//! Who the server is, and what the client would like.
//!
//! Invariant: pure; of what proves who the client is only the length is read.

/// `CLIENT_…` flags.
const CONNECT_WITH_DB: u32 = 1 << 3;
const COMPRESS: u32 = 1 << 5;
const SSL: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
const DEPRECATE_EOF: u32 = 1 << 24;
const COMPRESS_ZSTD: u32 = 1 << 26;
/// Flags, largest packet, character set and a reserve.
const FIXED_BYTES: usize = 32;

/// How far the login has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    /// The server has not said who it is.
    Greeting,
    /// It has, and these are its flags.
    Greeted(u32),
    /// The client has said who it is.
    Answered,
    /// It has, and everything behind the login is compressed.
    AnsweredCompressed,
    /// Commands follow.
    Done,
}

impl Login {
    pub(super) fn is_done(self) -> bool {
        self == Self::Done
    }
}

/// What a greeting says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) system: &'static str,
    pub(super) capabilities: u32,
}

impl Server {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let rest = body.strip_prefix(&[0x0a])?;
        let end = memchr::memchr(0, rest)?;
        let (version, rest) = rest.split_at(end);
        let mariadb = memchr::memmem::find(version, b"MariaDB").is_some();
        // Behind the zero: thread, the first part of a nonce, a zero, the lower flags.
        let low: [u8; 2] = *rest.get(14..)?.first_chunk()?;
        // Character set and status lie between.
        let high: [u8; 2] =
            rest.get(19..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        let [a, b] = low;
        let [c, d] = high;
        let system = if mariadb { "mariadb" } else { "mysql" };
        Some(Self { system, capabilities: u32::from_le_bytes([a, b, c, d]) })
    }
}

/// What a client answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) encrypts: bool,
    pub(super) compresses: bool,
    pub(super) deprecates_eof: bool,
    pub(super) database: Option<String>,
}

impl Client {
    pub(super) fn read(body: &[u8], login: &Login) -> Option<Self> {
        let Login::Greeted(server) = *login else { return None };
        let wanted = u32::from_le_bytes(*body.first_chunk()?);
        let both = wanted & server;
        Some(Self {
            encrypts: wanted & SSL != 0 && body.len() <= FIXED_BYTES,
            compresses: both & (COMPRESS | COMPRESS_ZSTD) != 0,
            deprecates_eof: both & DEPRECATE_EOF != 0,
            database: body.get(FIXED_BYTES..).and_then(|rest| database(rest, wanted, both)),
        })
    }
}

/// The database that the client begins with.
fn database(rest: &[u8], wanted: u32, both: u32) -> Option<String> {
    if wanted & CONNECT_WITH_DB == 0 {
        return None;
    }
    let rest = rest.get(memchr::memchr(0, rest)? + 1..)?;
    let rest = if both & PLUGIN_AUTH_LENENC != 0 {
        let (length, rest) = super::answer::length(rest)?;
        rest.get(usize::try_from(length).ok()?..)?
    } else if both & SECURE_CONNECTION != 0 {
        let (&length, rest) = rest.split_first()?;
        rest.get(usize::from(length)..)?
    } else {
        rest.get(memchr::memchr(0, rest)? + 1..)?
    };
    let name = rest.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
    Some(String::from_utf8_lossy(name).into_owned())
}
