//! gRPC for browsers: what follows a response elsewhere is its last message, and all of it may be text.
//!
//! Invariant: what is held is bounded; what was not seen whole tells no status.

/// So much is kept of the fields that end a response.
const TRAILER_BYTES_MAX: usize = 4 << 10;

/// A message with this flag is none, but the fields that end the response.
pub(super) fn is_trailer(flag: u8) -> bool {
    flag & 0x80 != 0
}

/// The fields that end a response.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Trailer {
    open: bool,
    fields: Vec<u8>,
}

impl Trailer {
    /// A message begins. `fields`: it is what ends the response.
    pub(super) fn begin(&mut self, fields: bool) {
        self.open = fields;
    }

    /// It is what ends the response.
    pub(super) fn open(&self) -> bool {
        self.open
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.open {
            let room = TRAILER_BYTES_MAX.saturating_sub(self.fields.len());
            self.fields.extend(bytes.iter().take(room));
        }
    }

    /// The status, from a line that was seen to its end.
    pub(super) fn status(&self) -> Option<u32> {
        let fields = std::str::from_utf8(&self.fields).ok()?;
        let lines = fields.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let mut named = lines.filter_map(|line| line.split_once(':'));
        let (_, value) = named.find(|(name, _)| name.trim().eq_ignore_ascii_case("grpc-status"))?;
        value.trim().parse().ok()
    }
}

/// Base64, which may end and begin again anywhere: servers encode piece by piece.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// Bits of a group that is not whole, and how many letters they are.
    bits: u32,
    letters: u8,
}

impl Text {
    /// The bytes that these letters complete.
    pub(super) fn decoded(&mut self, letters: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(letters.len() / 4 * 3 + 3);
        for letter in letters {
            let Some(value) = value(*letter) else {
                // Padding: the bytes before it are told already.
                (self.bits, self.letters) = (0, 0);
                continue;
            };
            self.bits = (self.bits << 6 | value) & 0xff_ffff;
            self.letters = (self.letters + 1) % 4;
            // The second, third and fourth letter of a group complete a byte each.
            let spare = match self.letters {
                2 => 4,
                3 => 2,
                0 => 0,
                _ => continue,
            };
            let [.., byte] = (self.bits >> spare).to_be_bytes();
            bytes.push(byte);
        }
        bytes
    }
}

fn value(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// Bytes as text, for tests.
#[cfg(test)]
pub(super) fn encoded(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |bytes: &[u8]| {
        let mut three = [0; 3];
        three[..bytes.len()].copy_from_slice(bytes);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        let letter = |at: usize| match at <= bytes.len() {
            true => LETTERS[(bits >> (18 - 6 * at) & 0x3f) as usize],
            false => b'=',
        };
        [letter(0), letter(1), letter(2), letter(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}
