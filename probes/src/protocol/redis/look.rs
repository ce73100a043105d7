//! Tells Redis from what a client sends first.
//!
//! Invariant: an array of strings of which the first is a command leaves no doubt at the start of a
//! connection; amid one, or where the command is a line of text, the reply has to look like one too.

use super::number;
use crate::protocol::opening::{Look, Opening};

/// Commands by which a conversation is recognised. Others are understood all the same.
const COMMANDS: [&str; 118] = [
    "ACL",
    "APPEND",
    "ASKING",
    "AUTH",
    "BITCOUNT",
    "BLPOP",
    "BRPOP",
    "BZPOPMIN",
    "CLIENT",
    "CLUSTER",
    "COMMAND",
    "CONFIG",
    "COPY",
    "DBSIZE",
    "DECR",
    "DECRBY",
    "DEL",
    "DISCARD",
    "DUMP",
    "ECHO",
    "EVAL",
    "EVALSHA",
    "EVALSHA_RO",
    "EXEC",
    "EXISTS",
    "EXPIRE",
    "EXPIREAT",
    "FCALL",
    "FLUSHALL",
    "FLUSHDB",
    "GEOADD",
    "GET",
    "GETBIT",
    "GETDEL",
    "GETEX",
    "GETRANGE",
    "GETSET",
    "HDEL",
    "HELLO",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HINCRBY",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HMSET",
    "HSCAN",
    "HSET",
    "HSETNX",
    "HVALS",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "INFO",
    "KEYS",
    "LINDEX",
    "LLEN",
    "LMOVE",
    "LPOP",
    "LPUSH",
    "LRANGE",
    "LREM",
    "LSET",
    "LTRIM",
    "MGET",
    "MONITOR",
    "MSET",
    "MULTI",
    "OBJECT",
    "PERSIST",
    "PEXPIRE",
    "PFADD",
    "PFCOUNT",
    "PING",
    "PSETEX",
    "PSUBSCRIBE",
    "PTTL",
    "PUBLISH",
    "PUBSUB",
    "QUIT",
    "READONLY",
    "RENAME",
    "RESET",
    "ROLE",
    "RPOP",
    "RPOPLPUSH",
    "RPUSH",
    "SADD",
    "SCAN",
    "SCARD",
    "SCRIPT",
    "SELECT",
    "SET",
    "SETBIT",
    "SETEX",
    "SETNX",
    "SINTER",
    "SISMEMBER",
    "SMEMBERS",
    "SPOP",
    "SREM",
    "SSCAN",
    "STRLEN",
    "SUBSCRIBE",
    "TTL",
    "TYPE",
    "UNLINK",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WATCH",
    "XACK",
    "XADD",
    "XREAD",
    "XREADGROUP",
    "ZADD",
    "ZRANGE",
    "ZSCORE",
];

/// How bytes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// With a command.
    Command,
    /// With a word that is not known as a command.
    Word,
    /// Too few to tell.
    Perhaps,
    /// With something else.
    Other,
}

/// See [`Look`].
pub(in crate::protocol) fn look(opening: &Opening<'_>) -> Look {
    let (first, other) = opening.both();
    let direction = opening.first();
    let certain = Look::Certain(opening.asked_first());
    let more = if opening.cut_off(direction) { Look::Never } else { Look::Possible };
    match begins_command(&first) {
        Begins::Command | Begins::Word if opening.from_start => certain,
        Begins::Command => replied(&other, certain),
        Begins::Word => Look::Never,
        Begins::Perhaps => more,
        Begins::Other if opening.from_start => match begins_line(&first) {
            Begins::Command => replied(&other, certain),
            Begins::Perhaps => more,
            Begins::Word | Begins::Other => Look::Never,
        },
        Begins::Other => Look::Never,
    }
}

/// The other side must have answered like a server.
fn replied(other: &[u8], certain: Look) -> Look {
    let Some(kind) = other.first() else { return Look::Possible };
    if !b"+-:$*_#,(%~>!=|".contains(kind) {
        return Look::Never;
    }
    match memchr::memchr(b'\n', other) {
        Some(end) if end > 1 && other.get(end - 1) == Some(&b'\r') => certain,
        Some(_) => Look::Never,
        None if other.len() > 1 << 10 => Look::Never,
        None => Look::Possible,
    }
}

/// `*2\r\n$3\r\nGET\r\n`
pub(super) fn begins_command(bytes: &[u8]) -> Begins {
    let Some(rest) = bytes.strip_prefix(b"*") else { return Begins::Other };
    let (count, rest) = match length(rest) {
        Ok(found) => found,
        Err(begins) => return begins,
    };
    let rest = match rest.split_first() {
        Some((b'$', rest)) => rest,
        Some(_) => return Begins::Other,
        None => return Begins::Perhaps,
    };
    let (name_bytes, rest) = match length(rest) {
        Ok(found) => found,
        Err(begins) => return begins,
    };
    if !(1..=1 << 24).contains(&count) || !(1..=32).contains(&name_bytes) {
        return Begins::Other;
    }
    let name_bytes = usize::try_from(name_bytes).unwrap_or(usize::MAX);
    let seen = rest.get(..name_bytes.min(rest.len())).unwrap_or_default();
    if !seen.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte)) {
        return Begins::Other;
    }
    match rest.get(name_bytes..) {
        Some([b'\r', b'\n', ..]) => known(seen),
        Some([b'\r'] | []) | None => Begins::Perhaps,
        Some(_) => Begins::Other,
    }
}

/// Digits and a line end, and what is behind them.
fn length(bytes: &[u8]) -> Result<(i64, &[u8]), Begins> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 10 {
        return Err(Begins::Other);
    }
    let (value, rest) = bytes.split_at(digits);
    match rest {
        [b'\r', b'\n', rest @ ..] => Ok((number(value).ok_or(Begins::Other)?, rest)),
        [] | [b'\r'] => Err(Begins::Perhaps),
        _ => Err(Begins::Other),
    }
}

/// `GET key\r\n`
fn begins_line(bytes: &[u8]) -> Begins {
    let letters = bytes.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (word, rest) = bytes.split_at(letters);
    if word.is_empty() || word.len() > 16 {
        return Begins::Other;
    }
    let line_ends = memchr::memchr(b'\n', rest).is_some();
    match rest.first() {
        None => Begins::Perhaps,
        Some(b' ' | b'\r' | b'\n') if line_ends => known(word),
        Some(b' ' | b'\r') if bytes.len() < 1 << 10 => Begins::Perhaps,
        Some(_) => Begins::Other,
    }
}

fn known(word: &[u8]) -> Begins {
    let known = COMMANDS.iter().any(|command| word.eq_ignore_ascii_case(command.as_bytes()));
    if known { Begins::Command } else { Begins::Word }
}
