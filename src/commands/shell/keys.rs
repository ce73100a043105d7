//! What a terminal sends, as keys.
//!
//! Invariant: any bytes, cut anywhere, become keys or nothing; none is taken for another's end.

/// A key, or a text that was pasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Text(String),
    Paste(String),
    Enter,
    /// A line break whatever the text is (Alt-Enter).
    Break,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Up,
    Down,
    Home,
    End,
    CutEnd,
    CutStart,
    CutWord,
    Clear,
    Search,
    Interrupt,
    /// Ctrl-D: the end, where nothing is typed.
    Close,
}

/// Begins and ends what is pasted, where the terminal was asked to say so.
const PASTE: (&[u8], &[u8]) = (b"\x1b[200~", b"\x1b[201~");
/// The longest sequence that is waited for.
const SEQUENCE_BYTES_MAX: usize = 16;
/// The most that can be pasted at once.
const PASTE_BYTES_MAX: usize = 1 << 20;

/// Turns bytes into keys; keeps what is not whole yet.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pending: Vec<u8>,
}

impl Keys {
    /// The keys that are whole with these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while let Some((key, used)) = next(&self.pending) {
            self.pending.drain(..used);
            keys.extend(key);
        }
        keys
    }
}

/// The first key, if it is one, and how many bytes it takes; `None` where more must come.
fn next(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let first = *bytes.first()?;
    if first == 0x1b {
        return escape(bytes);
    }
    let control = match first {
        b'\r' | b'\n' => Some(Key::Enter),
        b'\t' => Some(Key::Tab),
        0x7f | 0x08 => Some(Key::Backspace),
        0x01 => Some(Key::Home),
        0x02 => Some(Key::Left),
        0x03 => Some(Key::Interrupt),
        0x04 => Some(Key::Close),
        0x05 => Some(Key::End),
        0x06 => Some(Key::Right),
        0x0b => Some(Key::CutEnd),
        0x0c => Some(Key::Clear),
        0x0e => Some(Key::Down),
        0x10 => Some(Key::Up),
        0x12 => Some(Key::Search),
        0x15 => Some(Key::CutStart),
        0x17 => Some(Key::CutWord),
        _ => None,
    };
    if first < 0x20 || first == 0x7f {
        return Some((control, 1));
    }
    text(bytes)
}

/// Characters up to the next control character, as far as they are whole.
fn text(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let end = bytes.iter().position(|byte| *byte < 0x20 || *byte == 0x7f).unwrap_or(bytes.len());
    let run = bytes.get(..end)?;
    match std::str::from_utf8(run) {
        Ok(text) => Some((Some(Key::Text(text.to_owned())), end)),
        Err(error) if error.valid_up_to() > 0 => {
            let whole = run.get(..error.valid_up_to())?;
            let text = String::from_utf8_lossy(whole).into_owned();
            Some((Some(Key::Text(text)), error.valid_up_to()))
        }
        // A character that has not come whole yet, unless it cannot be one.
        Err(error) => match error.error_len() {
            None if end == bytes.len() => None,
            bad => Some((None, bad.unwrap_or(end))),
        },
    }
}

fn escape(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    if bytes.starts_with(PASTE.0) {
        return pasted(bytes);
    }
    match bytes.get(1)? {
        b'[' => {
            let rest = bytes.get(2..)?;
            let Some(end) = rest.iter().position(|byte| (0x40..=0x7e).contains(byte)) else {
                // Nothing that we know is so long.
                return (bytes.len() > SEQUENCE_BYTES_MAX).then_some((None, bytes.len()));
            };
            Some((sequence(rest.get(..=end)?), end + 3))
        }
        b'O' => bytes.get(2).map(|last| (sequence(&[*last]), 3)),
        b'b' => Some((Some(Key::WordLeft), 2)),
        b'f' => Some((Some(Key::WordRight), 2)),
        b'\r' | b'\n' => Some((Some(Key::Break), 2)),
        0x7f => Some((Some(Key::CutWord), 2)),
        // Escape itself says nothing; what follows it may.
        _ => Some((None, 1)),
    }
}

/// What stands behind `ESC [` or `ESC O`.
fn sequence(text: &[u8]) -> Option<Key> {
    Some(match text {
        b"A" => Key::Up,
        b"B" => Key::Down,
        b"C" => Key::Right,
        b"D" => Key::Left,
        b"H" | b"1~" | b"7~" => Key::Home,
        b"F" | b"4~" | b"8~" => Key::End,
        b"3~" => Key::Delete,
        b"1;5C" | b"1;3C" => Key::WordRight,
        b"1;5D" | b"1;3D" => Key::WordLeft,
        _ => return None,
    })
}

fn pasted(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let (begin, end) = PASTE;
    let rest = bytes.get(begin.len()..)?;
    let Some(at) = rest.windows(end.len()).position(|window| window == end) else {
        return (rest.len() > PASTE_BYTES_MAX).then_some((None, bytes.len()));
    };
    let text = String::from_utf8_lossy(rest.get(..at)?).replace("\r\n", "\n").replace('\r', "\n");
    let text = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    Some((Some(Key::Paste(text)), begin.len() + at + end.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: keys, a paste with line breaks and an escape in it, a broken character; cut at
    /// every place, as a slow line would.
    /// Guarantees: the same keys; nothing pasted acts.
    #[test]
    fn bytes_become_keys_wherever_they_are_cut() {
        let mut sent = "é".as_bytes().to_vec();
        sent.extend_from_slice(b"\x1b[A\x1bOD\x1b[1;5C\x1b[200~a\r\nb;\x1b[A\x03\x1b[201~");
        sent.extend_from_slice(b"\xff\t\x1b[99z\x1bb\r");
        let expected = [
            Key::Text("é".to_owned()),
            Key::Up,
            Key::Left,
            Key::WordRight,
            Key::Paste("a\nb;[A".to_owned()),
            Key::Tab,
            Key::WordLeft,
            Key::Enter,
        ];
        for cut in 0..=sent.len() {
            let mut keys = Keys::default();
            let (first, second) = sent.split_at(cut);
            let got = [keys.feed(first), keys.feed(second)].concat();
            assert_eq!(got, expected, "cut at {cut}");
            assert!(keys.pending.is_empty());
        }
    }

    /// Scenario: bytes of chance.
    /// Guarantees: no panic, and what is kept for later is bounded.
    #[test]
    fn nonsense_is_passed_over() {
        let mut keys = Keys::default();
        let mut state = 7_u32;
        for _ in 0..100_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            keys.feed(&[(state >> 24) as u8]);
            assert!(keys.pending.len() <= PASTE_BYTES_MAX + SEQUENCE_BYTES_MAX);
        }
    }
}
