//! What a client sends: arrays of strings, or lines.
//!
//! Invariant: of a command only its first arguments are kept, up to a bound, and of one that may
//! carry credentials only its name.

use super::{Draft, Muted, NAME_BYTES_MAX, Unit, number};

/// More arguments than anybody sends.
const ARGUMENTS_MAX: i64 = 1 << 24;
/// Question marks in a text; more arguments are shown as three dots.
const SHOWN_MAX: u64 = 8;
/// Stands for an argument of which not enough was seen.
const UNSEEN: &str = "\u{2026}";
/// Commands whose second word is a part of their name.
const CONTAINERS: [&str; 17] = [
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY",
    "MODULE", "OBJECT", "PUBSUB", "SCRIPT", "SENTINEL", "SLOWLOG", "XGROUP", "XINFO",
];
/// Commands whose arguments may be credentials.
const SECRET: [&str; 5] = ["ACL", "AUTH", "CONFIG", "HELLO", "MIGRATE"];

/// The commands of a connection, as they are put together.
#[derive(Debug, Default)]
pub(super) struct Commands {
    under_way: Option<Command>,
    left: u64,
}

/// A command.
#[derive(Debug, Default)]
pub(super) struct Command {
    draft: Draft,
    /// The first of its words, the first being its name.
    words: Vec<Vec<u8>>,
    words_bytes: usize,
    count: u64,
}

impl Commands {
    /// More words of a command are to come.
    pub(super) fn in_array(&self) -> bool {
        self.under_way.is_some()
    }

    /// Takes a line or a string. None: it cannot come here.
    pub(super) fn take(
        &mut self,
        unit: &Unit<'_>,
        captured_max: usize,
        room: usize,
    ) -> Option<Option<Command>> {
        let Some(mut command) = self.under_way.take() else {
            return self.begin(unit, captured_max, room);
        };
        command.draft.add(unit, captured_max);
        if unit.body_bytes < 2 {
            return None;
        }
        let length = usize::try_from(unit.body_bytes - 2).unwrap_or(usize::MAX);
        match unit.body.get(..length).unwrap_or(unit.body) {
            _ if unit.holed => command.word(UNSEEN.as_bytes(), room),
            word => command.word(word, room),
        }
        self.left -= 1;
        if self.left == 0 {
            return Some(Some(command));
        }
        self.under_way = Some(command);
        Some(None)
    }

    fn begin(
        &mut self,
        unit: &Unit<'_>,
        captured_max: usize,
        room: usize,
    ) -> Option<Option<Command>> {
        let mut command = Command::default();
        command.draft.add(unit, captured_max);
        let Some(count) = unit.head.strip_prefix(b"*") else {
            let words = unit.head.split(|byte| byte.is_ascii_whitespace());
            words.filter(|word| !word.is_empty()).for_each(|word| command.word(word, room));
            // An empty line is no command.
            return Some((command.count > 0).then_some(command));
        };
        match number(count)? {
            // Neither is an empty array.
            ..=0 => Some(None),
            count @ 1..=ARGUMENTS_MAX => {
                self.left = count.unsigned_abs();
                self.under_way = Some(command);
                Some(None)
            }
            _ => None,
        }
    }
}

impl Command {
    fn word(&mut self, word: &[u8], room: usize) {
        self.count += 1;
        let kept = word.get(..word.len().min(room.saturating_sub(self.words_bytes)));
        if let Some(kept) = kept.filter(|kept| !kept.is_empty() || word.is_empty())
            && self.words.len() < NAME_BYTES_MAX
        {
            self.words_bytes += kept.len();
            self.words.push(kept.to_vec());
        }
    }

    /// Its name in capitals; empty where it is no word.
    pub(super) fn name(&self) -> String {
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-|".contains(byte);
        let name = self.words.first().filter(|name| name.len() <= 32 && name.iter().all(is_name));
        name.map(|name| String::from_utf8_lossy(name).to_ascii_uppercase()).unwrap_or_default()
    }

    /// One of its words, as text.
    pub(super) fn argument(&self, at: usize) -> String {
        self.words
            .get(at)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .unwrap_or_default()
    }

    /// How many words it has.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Its size and times, and its bytes where they may be kept.
    pub(super) fn draft(self) -> Draft {
        if self.is_secret() { self.draft.without_content() } else { self.draft }
    }

    fn is_secret(&self) -> bool {
        SECRET.contains(&self.name().as_str())
    }

    /// Whether replies are wanted from here on, if it says so.
    pub(super) fn reply_mode(&self) -> Option<Muted> {
        if self.name() != "CLIENT" || !self.argument(1).eq_ignore_ascii_case("REPLY") {
            return None;
        }
        match self.argument(2).to_ascii_uppercase().as_str() {
            "OFF" => Some(Muted::Yes),
            "SKIP" => Some(Muted::Next),
            "ON" => Some(Muted::No),
            _ => None,
        }
    }

    /// As in `db.query.text`.
    pub(super) fn text(&self, whole: bool, bytes_max: usize) -> String {
        let name = self.name();
        if whole && !self.is_secret() {
            let words = self.words.iter().map(|word| String::from_utf8_lossy(word));
            let mut text = words.collect::<Vec<_>>().join(" ");
            text.truncate(text.floor_char_boundary(bytes_max));
            return text;
        }
        let container = CONTAINERS.contains(&name.as_str()) && self.count > 1;
        let second = self.argument(1);
        let part =
            container && second.len() <= 32 && second.bytes().all(|b| b.is_ascii_alphabetic());
        let (mut text, named) =
            if part { (format!("{name} {}", second.to_ascii_uppercase()), 2) } else { (name, 1) };
        let values = self.count.saturating_sub(named);
        (0..values.min(SHOWN_MAX)).for_each(|_| text.push_str(" ?"));
        if values > SHOWN_MAX {
            text.push_str(" ...");
        }
        text
    }
}
