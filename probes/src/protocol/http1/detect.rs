//! Tells HTTP/1.x by the first bytes of a segment, whatever the port.
//!
//! Invariant: the answer depends on the bytes alone, and more bytes never change it: only
//! `Undecided` does.

use crate::protocol::{Direction, Role};

/// What the first bytes of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detection {
    /// HTTP/1.x; the owner of the socket plays this role.
    Http1(Role),
    /// Too few bytes to tell.
    Undecided,
    /// Nothing that is understood.
    Unknown,
}

/// Longer than any method that is registered (`UPDATEREDIRECTREF`).
const METHOD_BYTES_MAX: usize = 24;
/// A first line that goes on longer without its end is taken for what it looks like.
const LINE_BYTES_MAX: usize = 16 << 10;
const STATUS_START: &[u8] = b"HTTP/1.";
const COMMON_METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// Looks at `bytes`, which travelled in `direction` and begin where a call began.
pub(crate) fn detect(direction: Direction, bytes: &[u8]) -> Detection {
    if starts_like(bytes, STATUS_START) {
        return status_line(direction, bytes);
    }
    request_line(direction, bytes)
}

/// `bytes` begins with `start`, or is a beginning of it.
fn starts_like(bytes: &[u8], start: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}

fn status_line(direction: Direction, bytes: &[u8]) -> Detection {
    let Some((_, rest)) = bytes.split_at_checked(STATUS_START.len()) else {
        return Detection::Undecided;
    };
    let Some(rest) = rest.first_chunk::<5>() else { return Detection::Undecided };
    let [version, space, status @ ..] = rest;
    let plain = matches!(version, b'0' | b'1') && *space == b' ';
    if plain && status.iter().all(u8::is_ascii_digit) {
        Detection::Http1(role_when_requests_go(direction.opposite()))
    } else {
        Detection::Unknown
    }
}

fn request_line(direction: Direction, bytes: &[u8]) -> Detection {
    let method_bytes = bytes.iter().take_while(|&&byte| is_method_byte(byte)).count();
    let (method, rest) = bytes.split_at(method_bytes);
    if rest.is_empty() && method_bytes <= METHOD_BYTES_MAX {
        return Detection::Undecided;
    }
    if method.is_empty() || method_bytes > METHOD_BYTES_MAX || rest.first() != Some(&b' ') {
        return Detection::Unknown;
    }
    // The rest of a method whose beginning was lost: an answer to `EAD` would have a body.
    if COMMON_METHODS.iter().any(|whole| whole.len() > method.len() && whole.ends_with(method)) {
        return Detection::Unknown;
    }
    match memchr::memchr(b'\n', rest) {
        Some(end) => whole_line(direction, rest.split_at(end).0),
        None if bytes.iter().any(|&byte| byte < b' ' && byte != b'\r') => Detection::Unknown,
        // What was copied of a long line must do, if the method leaves no doubt.
        None if bytes.len() >= LINE_BYTES_MAX && COMMON_METHODS.contains(&method) => {
            Detection::Http1(role_when_requests_go(direction))
        }
        None if bytes.len() >= LINE_BYTES_MAX => Detection::Unknown,
        None => Detection::Undecided,
    }
}

fn whole_line(direction: Direction, line: &[u8]) -> Detection {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") {
        Detection::Http1(role_when_requests_go(direction))
    } else {
        Detection::Unknown
    }
}

fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-' || byte == b'_'
}

fn role_when_requests_go(direction: Direction) -> Role {
    match direction {
        Direction::Inbound => Role::Server,
        Direction::Outbound => Role::Client,
    }
}
