//! The PROXY protocol: what a load balancer writes before the first byte of its client.
//!
//! Invariant: pure; bytes are called a preamble only if they are one from the first to the last,
//! and more bytes never turn `Absent` into anything else.

/// The second version begins with this; the first one is a line that begins with `PROXY`.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const WORD: &[u8; 6] = b"PROXY ";
/// The longest line of the first version, line end included.
const LINE_BYTES_MAX: usize = 107;
/// Signature, version and command, family, length.
const HEAD_BYTES: usize = 16;

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preamble {
    /// No preamble.
    Absent,
    /// The beginning of one.
    Partial,
    /// One of so many bytes.
    Whole(usize),
}

/// Looks at the first bytes of a connection.
pub(super) fn preamble(bytes: &[u8]) -> Preamble {
    if begins(bytes, SIGNATURE) {
        return binary(bytes);
    }
    // Shorter beginnings are undecided anyway: they may be a method.
    if bytes.starts_with(WORD) { line(bytes) } else { Preamble::Absent }
}

/// `bytes` begins with `start`, or is a beginning of it.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}

fn binary(bytes: &[u8]) -> Preamble {
    let Some(&[.., version, _family, high, low]) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Preamble::Partial;
    };
    if version >> 4 != 2 {
        return Preamble::Absent;
    }
    let whole = HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if bytes.len() < whole { Preamble::Partial } else { Preamble::Whole(whole) }
}

fn line(bytes: &[u8]) -> Preamble {
    match memchr::memchr(b'\n', bytes) {
        Some(end) if end < LINE_BYTES_MAX && bytes.get(..end).is_some_and(names_a_family) => {
            Preamble::Whole(end + 1)
        }
        None if bytes.len() < LINE_BYTES_MAX => Preamble::Partial,
        _ => Preamble::Absent,
    }
}

/// A method named PROXY would be followed by a target.
fn names_a_family(line: &[u8]) -> bool {
    let families: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];
    line.ends_with(b"\r") && families.iter().any(|family| line.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINARY: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\xc3\x50\0\x50";

    /// Scenario: both versions, cut at every byte and followed by a request.
    /// Guarantees: the preamble is taken whole, and only it.
    #[test]
    fn both_versions() {
        let line: &[u8] = b"PROXY TCP4 127.0.0.1 127.0.0.1 50000 80\r\n";
        for one in [line, BINARY, b"PROXY UNKNOWN\r\n"] {
            let followed = [one, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(preamble(&followed), Preamble::Whole(one.len()));
            for cut in WORD.len()..one.len() {
                assert_eq!(preamble(&one[..cut]), Preamble::Partial, "at {cut}");
            }
        }
    }

    /// Scenario: requests, a line that never ends, another version, a method of that name.
    /// Guarantees: none is taken for a preamble.
    #[test]
    fn others() {
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let other = [&BINARY[..12], b"\x31\x11\0\0"].concat();
        for bytes in
            [b"GET / HTTP/1.1\r\n".as_slice(), b"", &endless, &other, b"PROXY / HTTP/1.1\r\n"]
        {
            assert_eq!(preamble(bytes), Preamble::Absent, "{bytes:?}");
        }
    }
}
