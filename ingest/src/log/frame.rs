//! Frames of the write-ahead log: `magic | len | head sum | body sum | time received | signal |
//! version | tenant | plain len | rows | first time | time after the last | flags | payload`,
//! numbers little-endian. The head says what the rows of the payload will be, so that a start need
//! not decode the log.
//!
//! Invariant: a frame that [`read`] returns is byte for byte one that [`write`] wrote at the same
//! position. Both sums cover the position, so that a frame quoted inside a payload, or left over
//! from an earlier life of the disk block, is never taken for one. The head has a sum of its own:
//! when only a payload is damaged, exactly that frame is lost.

use icecore_store::{LogPosition, Signal, TimeRange, UnixNanos};

/// The size of a frame without its payload.
pub(crate) const HEAD_BYTES: usize = 56;
/// The largest payload of a frame; a head that claims more is damage.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 256 << 20;

const MAGIC: [u8; 4] = *b"\x1cICE";
const VERSION: u8 = 2;
/// The flag of [`Contents::alone`].
const ALONE: u8 = 1;

/// One request as it was received, in protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// What the payload is.
    pub(crate) signal: Signal,
    /// When it was received.
    pub(crate) time: UnixNanos,
    /// What the rows of the payload will be.
    pub(crate) contents: Contents,
    /// The size of the export request; where the payload is shorter, it is packed.
    pub(crate) plain_bytes: usize,
    /// The export request, packed.
    pub(crate) payload: &'a [u8],
}

/// What the rows of a request will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    /// How many, at least one.
    pub(crate) rows: u32,
    /// Their times.
    pub(crate) time: TimeRange,
    /// Whether the request must not share columns with others.
    pub(crate) alone: bool,
}

/// What stands at a position of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// A whole frame, and the bytes after it.
    Whole(Frame<'a>, &'a [u8]),
    /// The bytes end before the frame does; so many are needed to know more.
    Short(usize),
    /// No frame starts here.
    Bad,
}

/// The size of a frame with such a payload.
pub(crate) const fn frame_bytes(payload: usize) -> u64 {
    (HEAD_BYTES + payload) as u64
}

/// Appends a frame to `out`. The payload must be at most [`PAYLOAD_BYTES_MAX`].
pub(crate) fn write(out: &mut Vec<u8>, position: LogPosition, frame: &Frame<'_>) {
    let Frame { signal, time, contents, plain_bytes, payload } = *frame;
    let Contents { rows, time: range, alone } = contents;
    let mut head = [0; HEAD_BYTES];
    head[0..4].copy_from_slice(&MAGIC);
    head[4..8].copy_from_slice(&size(payload.len()).to_le_bytes());
    head[16..24].copy_from_slice(&time.0.to_le_bytes());
    head[24] = signal_code(signal);
    head[25] = VERSION;
    // Bytes 26 and 27 are the tenant; there is one so far.
    head[28..32].copy_from_slice(&size(plain_bytes).to_le_bytes());
    head[32..36].copy_from_slice(&rows.to_le_bytes());
    head[36..44].copy_from_slice(&range.start().0.to_le_bytes());
    head[44..52].copy_from_slice(&range.end().0.to_le_bytes());
    head[52] = if alone { ALONE } else { 0 };
    let body_sum = sum(position, &[payload]);
    head[12..16].copy_from_slice(&body_sum.to_le_bytes());
    let head_sum = sum(position, &[&head[0..8], &head[12..]]);
    head[8..12].copy_from_slice(&head_sum.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("admission bounds payloads far below 4 GiB")
}

/// Reads the frame at the start of `bytes`, which stand at `position`.
pub(crate) fn read(position: LogPosition, bytes: &[u8]) -> Read<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        let magic = bytes.len().min(MAGIC.len());
        return if bytes[..magic] == MAGIC[..magic] { Read::Short(HEAD_BYTES) } else { Read::Bad };
    };
    let Some((payload_bytes, signal)) = check_head(position, head) else {
        return Read::Bad;
    };
    let Some((payload, rest)) = rest.split_at_checked(payload_bytes) else {
        return Read::Short(HEAD_BYTES + payload_bytes);
    };
    if sum(position, &[payload]) != number(head, 12) {
        return Read::Bad;
    }
    match describe(head, payload, signal) {
        Some(frame) => Read::Whole(frame, rest),
        None => Read::Bad,
    }
}

/// What a whole head says; `None` where it says what no writer would.
fn describe<'a>(head: &[u8; HEAD_BYTES], payload: &'a [u8], signal: Signal) -> Option<Frame<'a>> {
    let time = TimeRange::new(UnixNanos(long(head, 36)), UnixNanos(long(head, 44)))?;
    let contents = Contents { rows: number(head, 32), time, alone: head[52] & ALONE != 0 };
    let plain_bytes = usize::try_from(number(head, 28)).ok()?;
    let possible = payload.len() <= plain_bytes && plain_bytes <= PAYLOAD_BYTES_MAX;
    let received = UnixNanos(long(head, 16));
    possible.then_some(Frame { signal, time: received, contents, plain_bytes, payload })
}

/// How many bytes after a place where [`read`] said [`Read::Bad`] the next frame may start at the
/// earliest: past the damaged frame where its head is whole, else at the next magic.
pub(crate) fn skip(position: LogPosition, bytes: &[u8]) -> usize {
    if let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>()
        && let Some((payload_bytes, _)) = check_head(position, head)
        && payload_bytes <= rest.len()
    {
        return HEAD_BYTES + payload_bytes;
    }
    let found = bytes.windows(MAGIC.len()).skip(1).position(|window| window == MAGIC);
    // The last bytes may be the first of a magic that goes on where these bytes end.
    let searched = bytes.len().saturating_sub(MAGIC.len() - 1).max(1);
    found.map_or(searched, |at| at + 1)
}

/// The payload's length and kind, where the head is one that [`write`] wrote at this position.
fn check_head(position: LogPosition, head: &[u8; HEAD_BYTES]) -> Option<(usize, Signal)> {
    let whole = head.starts_with(&MAGIC)
        && head[25] == VERSION
        && number(head, 8) == sum(position, &[&head[0..8], &head[12..]]);
    let payload_bytes = usize::try_from(number(head, 4)).ok()?;
    let signal = signal_of(head[24])?;
    (whole && payload_bytes <= PAYLOAD_BYTES_MAX).then_some((payload_bytes, signal))
}

fn number(head: &[u8; HEAD_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

fn long(head: &[u8; HEAD_BYTES], at: usize) -> i64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    i64::from_le_bytes(bytes)
}

fn sum(position: LogPosition, parts: &[&[u8]]) -> u32 {
    let start = crc32c::crc32c(&position.0.to_le_bytes());
    parts.iter().fold(start, |sum, part| crc32c::crc32c_append(sum, part))
}

const fn signal_code(signal: Signal) -> u8 {
    match signal {
        Signal::Traces => 1,
        Signal::Metrics => 2,
        Signal::Logs => 3,
        Signal::Profiles => 4,
    }
}

fn signal_of(code: u8) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| signal_code(*signal) == code)
}

#[cfg(test)]
mod tests;
