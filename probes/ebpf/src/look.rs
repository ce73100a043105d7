//! Which calls of a connection are worth copying while nobody has told what it carries.
//!
//! Invariant: what clearly begins a request of a protocol that is understood is never filtered;
//! anything else is copied up to a budget, within which user space makes up its mind. Of TLS only the
//! beginning of the handshake is copied.

use aya_ebpf::helpers::{bpf_probe_read_user, generated};
use icecore_probe_events::{
    Connection, FLAG_TLS, VERDICT_COPY, VERDICT_IGNORE, VERDICT_TLS, VERDICT_UNDECIDED,
};

use crate::call::{Source, stretch};
use crate::copy::opaque;
use crate::hello;
use crate::maps::{VERDICTS, setting};

/// How the second version of the PROXY protocol begins.
const PREAMBLE: [u8; 8] = *b"\r\n\r\n\0\r\nQ";

/// How a connection begins that carries AMQP.
const AMQP: [u8; 8] = *b"AMQP\0\0\x09\x01";

/// The kind of a TLS record that belongs to a handshake.
const HANDSHAKE: u8 = 0x16;
/// The message with which a client begins one.
const CLIENT_HELLO: u8 = 1;
/// Within so many bytes, both ways together, a connection may turn to TLS that began as something else: by a
/// wish of the client, or since a proxy has made it a tunnel.
const EARLY_BYTES_MAX: u64 = 4 << 10;
/// Stretches that are looked at for the first byte of a call.
const EMPTY_STRETCHES_MAX: u32 = 4;
/// What a TLS record may hold: 16 KiB, and 2 KiB that compression and encryption may add.
const RECORD_BYTES_MAX: u16 = (16 << 10) + (2 << 10);

/// How much of a call may be copied; 0: nothing. Where the call leaves no doubt, the connection is
/// copied for good from here on.
#[inline(always)]
pub fn at(
    id: u64,
    connection: &mut Connection,
    source: Source,
    moved: u64,
    direction: u8,
) -> u64 {
    if connection.verdict == VERDICT_TLS {
        return handshake(connection, moved);
    }
    let known_already = connection.verdict == VERDICT_COPY;
    if !known_already {
        // SAFETY: the value is copied out at once.
        let told = unsafe { VERDICTS.get(&id) }.copied();
        if let Some(told) = told {
            if told.generation == connection.generation && connection.verdict != VERDICT_IGNORE {
                connection.verdict = told.verdict;
            }
        }
        if connection.verdict == VERDICT_COPY {
            return moved;
        }
    }
    let Some(Head { bytes, known, at }) = head(source, moved) else {
        return if known_already { moved } else { 0 };
    };
    let like = looks_like(u64::from_le_bytes(bytes), known);
    let wanted = if known_already { HELLO } else { RECORD };
    if like & wanted != 0 {
        // The agent's own talk to its receiver is inside TLS as well, and is told by its addresses.
        let first = connection.verdict == VERDICT_UNDECIDED || is_early(connection, moved);
        let begins = like & RECORD_OF_HANDSHAKE != 0 && first;
        encrypted(connection, if begins { 0 } else { u32::MAX });
        if like & HELLO != 0 && begins && known == 8 {
            hello::passed(id, connection, at, direction);
        }
        return handshake(connection, moved);
    }
    if known_already {
        return moved;
    }
    if connection.verdict == VERDICT_IGNORE {
        return 0;
    }
    if like & BEGINS != 0 {
        connection.verdict = VERDICT_COPY;
        return moved;
    }
    if like & MAY_BEGIN != 0 {
        connection.looked = connection.looked.max(1);
        return moved;
    }
    let budget = setting!(look_bytes_max);
    if connection.verdict != VERDICT_UNDECIDED || connection.looked >= budget {
        return 0;
    }
    let allowed = moved.min(u64::from(budget - connection.looked));
    connection.looked += allowed as u32;
    allowed
}

/// So little had passed before this call that what comes now may turn the connection to TLS.
#[inline(always)]
pub fn is_early(connection: &Connection, moved: u64) -> bool {
    let [received, sent] = connection.passed;
    setting!(tls) != 0 && received + sent - moved <= EARLY_BYTES_MAX
}

/// A record of TLS, and one that belongs to a handshake.
const RECORD: u64 = 1;
const RECORD_OF_HANDSHAKE: u64 = 2;
/// A request of a protocol that says at once what it is.
const BEGINS: u64 = 4;
/// A request, among other things.
const MAY_BEGIN: u64 = 8;
/// Without much doubt, the record with which a client begins a handshake.
const HELLO: u64 = 16;

/// What the first bytes of a call look like, of which so many are known. The verifier goes through this
/// once, apart from its callers, which it goes through on every path that leads there.
// SAFETY: the name is that of no other function.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn looks_like(head: u64, known: u64) -> u64 {
    let head = head.to_le_bytes();
    let mut like = 0;
    if is_tls(head, known) {
        like |= RECORD;
        if head[0] == HANDSHAKE {
            like |= RECORD_OF_HANDSHAKE;
            if is_hello(head, known) {
                like |= HELLO;
            }
        }
    }
    if begins_like_http(head, known) || begins_clearly(head, known) {
        like |= BEGINS;
    }
    if may_begin(head, known) {
        like |= MAY_BEGIN;
    }
    like
}

/// The first bytes of a call.
struct Head {
    bytes: [u8; 8],
    /// How many of them there are.
    known: u64,
    /// Where they stand; 0: nowhere.
    at: u64,
}

/// The first bytes of the call; none where they cannot be read.
#[inline(always)]
fn head(source: Source, moved: u64) -> Option<Head> {
    let mut source = source;
    let mut looked = 0;
    while source.len == 0 && source.vector_len > 0 && looked < EMPTY_STRETCHES_MAX {
        let first = stretch(source.vector, source.width)?;
        source.at = first.at;
        source.len = first.len;
        source.vector += 2 * source.width;
        source.vector_len -= 1;
        looked += 1;
    }
    let known = source.len.min(moved);
    if known == 0 {
        // Behind more empty stretches anything may come; without any, the bytes were never in memory.
        return (source.vector_len > 0).then_some(Head { bytes: [0; 8], known: 0, at: 0 });
    }
    let at = source.at;
    let mut bytes = [0_u8; 8];
    if known >= 8 {
        // SAFETY: the helper checks the address.
        bytes = unsafe { bpf_probe_read_user(at as *const [u8; 8]) }.ok()?;
        return Some(Head { bytes, known: 8, at });
    }
    let size = opaque(known) & 7;
    // SAFETY: at most 7 bytes go into 8; the helper checks the address.
    let result = unsafe {
        let to = bytes.as_mut_ptr().cast();
        generated::bpf_probe_read_user(to, size as u32, at as *const _)
    };
    (result == 0).then_some(Head { bytes, known, at })
}

/// As an HTTP/1 request or response may begin: `HTTP/1.`, or a word in capitals and a space; or as
/// the preamble of a load balancer does, of which the readable kind is such a word too. User space
/// looks closer; here it is enough that other traffic seldom passes.
#[inline(always)]
fn begins_like_http(head: [u8; 8], known: u64) -> bool {
    if head == PREAMBLE {
        return true;
    }
    // Byte by byte from below: a place in an array would be a pointer, of which the verifier is wary.
    let (mut letters, mut rest) = (0_u64, u64::from_le_bytes(head));
    while letters < 8 {
        let byte = rest as u8;
        let capital = byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
        if !capital || letters >= known {
            break;
        }
        letters += 1;
        rest >>= 8;
    }
    if letters == 0 {
        return false;
    }
    letters >= known
        || rest as u8 == b' '
        || (letters == 4
            && head[0] == b'H'
            && head[1] == b'T'
            && head[2] == b'T'
            && head[4] == b'/')
}

/// As a protocol begins that says at once what it is.
#[inline(always)]
fn begins_clearly(head: [u8; 8], known: u64) -> bool {
    let [a, b, c, d, e, f, g, h] = head;
    // Redis: the count of an array.
    if a == b'*' && b.is_ascii_digit() && (c == b'\r' || c.is_ascii_digit()) {
        return known > 3;
    }
    if known < 8 {
        return false;
    }
    // PostgreSQL: version 3 of the protocol, or a wish for encryption or cancellation.
    let wish = e == 0x04 && f == 0xd2 && g == 0x16 && (h == 0x2e || h == 0x2f || h == 0x30);
    if a == 0 && b == 0 && (wish || e == 0 && f == 3 && g == 0) {
        return true;
    }
    // AMQP: version 0-9-1.
    if head == AMQP {
        return true;
    }
    // Cassandra: what a connection begins with, which is never long.
    if is_cassandra(head) && f == 0 && g == 0 && (e == 5 && h == 0 || e == 1 && h < 8) {
        return true;
    }
    // MySQL: the greeting of version 10.
    c == 0 && d == 0 && e == 0x0a && f.is_ascii_digit()
}

/// As a request may begin, among other things.
#[inline(always)]
fn may_begin(head: [u8; 8], known: u64) -> bool {
    let [a, b, _, d, e, f, _, h] = head;
    // PostgreSQL: a query, or the parts of one.
    if known >= 5 && (a == b'Q' || a == b'P' || a == b'B') && b == 0 {
        return true;
    }
    // MySQL: the head of a command, with its text or by itself.
    if known > 5 && d == 0 && e == 3 && (f.is_ascii_alphabetic() || f == b' ' || f == b'/') {
        return true;
    }
    // AMQP: the frame of a method, shorter than 64 KiB.
    if known >= 8 && a == 1 && d == 0 && e == 0 && h == 0 {
        return true;
    }
    // Cassandra: a query, a statement to prepare, a prepared one, or several, shorter than 16 MiB.
    if known >= 8 && is_cassandra(head) && f == 0 && (e == 7 || e == 9 || e == 10 || e == 13) {
        return true;
    }
    // Memcached: two or more small letters and a space.
    let small = a.is_ascii_lowercase() && b.is_ascii_lowercase();
    let mut rest = u64::from_le_bytes(head) >> 16;
    while (rest as u8).is_ascii_lowercase() {
        rest >>= 8;
    }
    small && rest as u8 == b' '
}

/// Version, flags and stream of a request of Cassandra's protocol.
#[inline(always)]
fn is_cassandra(head: [u8; 8]) -> bool {
    let [version, flags, stream, ..] = head;
    version >= 3 && version <= 5 && flags < 0x20 && stream < 0x80
}

/// A record of TLS begins here: its kind, a version, and a length that is allowed.
#[inline(always)]
fn is_tls(head: [u8; 8], known: u64) -> bool {
    let [kind, major, minor, high, low, ..] = head;
    let len = u16::from_be_bytes([high, low]);
    let within = len > 0 && len <= RECORD_BYTES_MAX;
    known >= 5 && kind >= 0x14 && kind <= 0x17 && major == 3 && minor <= 4 && within
}

/// A record of a handshake holds the client's first message and nothing else; or its head was taken by
/// itself, as OpenSSL does it.
#[inline(always)]
fn is_hello(head: [u8; 8], known: u64) -> bool {
    let [_, _, _, high, low, message, longest, longer] = head;
    let len = u16::from_be_bytes([high, low]);
    let of_message = u16::from_be_bytes([longest, longer]);
    known == 5 || known == 8 && message == CLIENT_HELLO && of_message == len.wrapping_sub(4) >> 8
}

/// A connection is known to carry TLS, of whose handshake so much was copied already.
#[inline(always)]
pub fn encrypted(connection: &mut Connection, looked: u32) {
    connection.verdict = VERDICT_TLS;
    connection.flags |= FLAG_TLS;
    connection.looked = looked;
}

/// How much of a call may be copied of a connection that carries TLS.
#[inline(always)]
fn handshake(connection: &mut Connection, moved: u64) -> u64 {
    let budget = setting!(handshake_bytes_max);
    if connection.looked >= budget {
        return 0;
    }
    let allowed = moved.min(u64::from(budget - connection.looked));
    connection.looked += allowed as u32;
    allowed
}
