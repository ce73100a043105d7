//! Where a body ends: by length, by chunks, or with the connection.
//!
//! Invariant: a body is never held, only counted and (up to a limit) kept; what is used of the
//! input is told exactly, so that the byte after a body is the first of the next message.

use crate::protocol::kept::Kept;

/// How the end of a body is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes are still to come.
    Length(u64),
    /// Chunks, as far as they have been read.
    Chunked(Chunk),
    /// Everything until the connection ends.
    UntilClose,
}

/// Where in the chunk framing the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the digits of a size, of which some were read.
    Size { value: u64, digits: u8 },
    /// Behind the digits, in an extension: skipped.
    Extension { value: u64 },
    /// In the data of a chunk.
    Data { left: u64 },
    /// Before the line end that follows the data.
    DataEnd,
    /// In the trailers; so many bytes of the line were seen.
    Trailer { line_bytes: u64 },
}

impl Chunk {
    /// Before the first chunk, and between two.
    pub(super) const START: Self = Self::Size { value: 0, digits: 0 };
}

/// More digits than a chunk size that fits 64 bits can have.
const SIZE_DIGITS_MAX: u8 = 16;

/// What one call used, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes of the input that belong to the body and its framing.
    pub(super) used: u64,
    /// How the body goes on.
    pub(super) then: Then,
}

/// How a body goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// More is to come.
    More,
    /// It is whole.
    Done,
    /// The framing cannot be followed any further.
    Broken,
}

impl Body {
    /// Reads captured bytes.
    pub(super) fn take(&mut self, input: &[u8], kept: &mut Kept) -> Taken {
        match self {
            Self::UntilClose => {
                kept.push(input);
                Taken { used: input.len() as u64, then: Then::More }
            }
            Self::Length(left) => {
                let data = first(input, *left);
                kept.push(data);
                *left -= data.len() as u64;
                Taken { used: data.len() as u64, then: done_if(*left == 0) }
            }
            Self::Chunked(chunk) => take_chunks(chunk, input, kept),
        }
    }

    /// Passes over bytes of which only the number is known.
    pub(super) fn skip(&mut self, bytes: u64, kept: &mut Kept) -> Taken {
        match self {
            Self::UntilClose => {
                kept.bytes += bytes;
                Taken { used: bytes, then: Then::More }
            }
            Self::Length(left) => {
                let used = bytes.min(*left);
                kept.bytes += used;
                *left -= used;
                Taken { used, then: done_if(*left == 0) }
            }
            Self::Chunked(chunk) => skip_in_chunk(chunk, bytes, kept),
        }
    }
}

fn done_if(done: bool) -> Then {
    if done { Then::Done } else { Then::More }
}

/// The first `bytes` of `input`, or all of it.
fn first(input: &[u8], bytes: u64) -> &[u8] {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(input.len());
    input.split_at(bytes).0
}

fn take_chunks(chunk: &mut Chunk, input: &[u8], kept: &mut Kept) -> Taken {
    let mut rest = input;
    while let Some((&byte, behind)) = rest.split_first() {
        let next = match *chunk {
            Chunk::Data { left } => {
                let data = first(rest, left);
                kept.push(data);
                rest = rest.split_at(data.len()).1;
                *chunk = after_data(left - data.len() as u64);
                continue;
            }
            Chunk::Size { value, digits } => in_size(value, digits, byte),
            Chunk::Extension { value } if byte == b'\n' => Some(after_size(value)),
            Chunk::Extension { .. } => Some(*chunk),
            Chunk::DataEnd if byte == b'\r' => Some(Chunk::DataEnd),
            Chunk::DataEnd if byte == b'\n' => Some(Chunk::START),
            Chunk::DataEnd => None,
            Chunk::Trailer { line_bytes: 0 } if byte == b'\n' => {
                return taken(input, behind, Then::Done);
            }
            Chunk::Trailer { .. } if byte == b'\n' => Some(Chunk::Trailer { line_bytes: 0 }),
            Chunk::Trailer { .. } if byte == b'\r' => Some(*chunk),
            Chunk::Trailer { line_bytes } => Some(Chunk::Trailer { line_bytes: line_bytes + 1 }),
        };
        let Some(next) = next else { return taken(input, rest, Then::Broken) };
        *chunk = next;
        rest = behind;
    }
    taken(input, rest, Then::More)
}

fn taken(input: &[u8], rest: &[u8], then: Then) -> Taken {
    Taken { used: (input.len() - rest.len()) as u64, then }
}

fn in_size(value: u64, digits: u8, byte: u8) -> Option<Chunk> {
    match (byte as char).to_digit(16) {
        Some(digit) if digits < SIZE_DIGITS_MAX => {
            Some(Chunk::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
        }
        Some(_) => None,
        None if digits == 0 => None,
        None => match byte {
            b'\n' => Some(after_size(value)),
            b'\r' | b';' | b' ' | b'\t' => Some(Chunk::Extension { value }),
            _ => None,
        },
    }
}

fn after_size(value: u64) -> Chunk {
    if value == 0 { Chunk::Trailer { line_bytes: 0 } } else { Chunk::Data { left: value } }
}

fn after_data(left: u64) -> Chunk {
    if left == 0 { Chunk::DataEnd } else { Chunk::Data { left } }
}

/// Only data, and the line end behind it, has a length that is known beforehand.
fn skip_in_chunk(chunk: &mut Chunk, bytes: u64, kept: &mut Kept) -> Taken {
    let (data, line_end) = match *chunk {
        Chunk::Data { left } => (bytes.min(left), bytes.saturating_sub(left)),
        Chunk::DataEnd => (0, bytes),
        _ => return Taken { used: 0, then: Then::Broken },
    };
    kept.bytes += data;
    *chunk = match (*chunk, line_end) {
        (Chunk::Data { left }, 0) => after_data(left - data),
        (_, 0 | 1) => Chunk::DataEnd,
        // Both bytes of the line end, as everybody but a test writes it.
        (_, 2) => Chunk::START,
        _ => return Taken { used: data, then: Then::Broken },
    };
    Taken { used: bytes, then: Then::More }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_chunks(wire: &[u8], payload: &[u8], rest: &[u8]) {
        for cut in 0..wire.len() {
            let mut body = Body::Chunked(Chunk::START);
            let mut kept = Kept::wanted(1_000);
            let (head, tail) = wire.split_at(cut);
            let first = body.take(head, &mut kept);
            let used = if first.then == Then::Done {
                first.used
            } else {
                assert_eq!(first.then, Then::More, "at {cut}");
                let second = body.take(tail, &mut kept);
                assert_eq!(second.then, Then::Done, "at {cut}");
                first.used + second.used
            };
            assert_eq!(kept.start, payload, "at {cut}");
            assert_eq!(used, (wire.len() - rest.len()) as u64, "at {cut}");
        }
    }

    /// Scenario: chunked bodies with extensions, trailers and bare line ends, cut at every byte.
    /// Guarantees: the payload is whole and the byte behind the body belongs to the next message.
    #[test]
    fn chunks_are_taken_off() {
        check_chunks(b"0\r\n\r\nnext", b"", b"next");
        check_chunks(b"5\r\nhello\r\n0\r\n\r\n", b"hello", b"");
        check_chunks(
            b"5;a=\"b\"\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\nX",
            b"hello0123456789",
            b"X",
        );
        check_chunks(b"1\nx\n0\nTrailer: y\nOther: z\n\nGET", b"x", b"GET");
    }

    /// Scenario: sizes that are no sizes, and data that is longer than its chunk said.
    /// Guarantees: the framing is called broken, nothing overflows.
    #[test]
    fn broken_chunks_are_told() {
        for wire in ["\r\n", "g\r\n", "11111111111111111\r\n", "1\r\nxy\r\n", "-1\r\n"] {
            let mut body = Body::Chunked(Chunk::START);
            let taken = body.take(wire.as_bytes(), &mut Kept::default());
            assert_eq!(taken.then, Then::Broken, "{wire:?}");
        }
    }

    /// Scenario: part of a chunk, a whole one with its line end, and more than one were not copied.
    /// Guarantees: the first two are followed, the third is called broken.
    #[test]
    fn bytes_not_copied_are_counted() {
        for (omitted, then) in [(99, Then::More), (102, Then::More), (103, Then::Broken)] {
            let mut kept = Kept::default();
            let mut body = Body::Chunked(Chunk::START);
            assert_eq!(body.take(b"64\r\n", &mut kept).then, Then::More);
            assert_eq!(body.skip(omitted, &mut kept).then, then, "{omitted}");
            assert_eq!(kept.bytes, omitted.min(100));
        }
    }
}
