//! One message (RFC 1035, section 4).
//!
//! Invariants: pure; a name is followed back a bounded number of times, and what is read of a message
//! is bounded whatever its counts say; bytes are a message only if their question reads well.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) const HEAD_BYTES: usize = 12;
/// The longest name that there may be, as text.
const NAME_BYTES_MAX: usize = 255;
/// Labels and references that are followed for one name.
const STEPS_MAX: usize = 128;
/// Records of an answer that are looked at.
const RECORDS_MAX: u16 = 64;
/// More records in a section than this are not plausible.
const PLAUSIBLE_RECORDS_MAX: u16 = 1_000;
/// Records beside a question: what it offers, and who signed it.
const ASKED_BESIDE_MAX: u16 = 2;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    /// As it was sent, without the last dot; `.` for the root.
    pub(crate) name: String,
    kind: u16,
    class: u16,
}

/// A message, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u16,
    pub(crate) is_answer: bool,
    /// Only its beginning fits: the question is asked again over TCP.
    pub(crate) truncated: bool,
    pub(crate) code: u8,
    pub(crate) question: Question,
    /// Addresses that were found.
    pub(crate) answers: Vec<String>,
}

impl Question {
    /// The kind of record that is asked for.
    pub(crate) fn kind(&self) -> String {
        let known = match self.kind {
            1 => "A",
            2 => "NS",
            5 => "CNAME",
            6 => "SOA",
            12 => "PTR",
            15 => "MX",
            16 => "TXT",
            28 => "AAAA",
            33 => "SRV",
            35 => "NAPTR",
            43 => "DS",
            48 => "DNSKEY",
            64 => "SVCB",
            65 => "HTTPS",
            251 => "IXFR",
            252 => "AXFR",
            255 => "ANY",
            257 => "CAA",
            other => return format!("TYPE{other}"),
        };
        known.to_owned()
    }

    /// Of the internet, or of what software says of itself, or any.
    fn plausible(&self) -> bool {
        matches!(self.class & 0x7fff, 1 | 3 | 4 | 254 | 255) && self.kind != 0
    }
}

/// The name of a response code.
pub(crate) fn code_name(code: u8) -> String {
    let known = match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        other => return format!("RCODE{other}"),
    };
    known.to_owned()
}

impl Message {
    /// Reads a message that may be cut off behind its question. None: it is none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        let word = |at: usize| {
            let pair = head.get(at..).and_then(<[u8]>::first_chunk::<2>);
            pair.map_or(0, |pair| u16::from_be_bytes(*pair))
        };
        let [id, flags, questions, answers, authorities, more] =
            [word(0), word(2), word(4), word(6), word(8), word(10)];
        let is_answer = flags >> 15 == 1;
        // A query by name, with the bit that nobody uses left alone.
        if flags >> 11 & 0xf != 0 || flags >> 6 & 1 != 0 || questions != 1 {
            return None;
        }
        let bare = answers == 0 && authorities == 0 && more <= ASKED_BESIDE_MAX && flags & 0xf == 0;
        let plausible = [answers, authorities, more].iter().all(|&it| it < PLAUSIBLE_RECORDS_MAX);
        if !is_answer && !bare || !plausible {
            return None;
        }
        let mut at = HEAD_BYTES;
        let question = question(bytes, &mut at).filter(Question::plausible)?;
        let answers = addresses(bytes, at, answers.min(RECORDS_MAX));
        let truncated = flags >> 9 & 1 != 0;
        let code = u8::try_from(flags & 0xf).ok()?;
        Some(Self { id, is_answer, truncated, code, question, answers })
    }
}

fn question(bytes: &[u8], at: &mut usize) -> Option<Question> {
    let name = name(bytes, at)?;
    let kind = word(bytes, at)?;
    let class = word(bytes, at)?;
    Some(Question { name, kind, class })
}

fn word(bytes: &[u8], at: &mut usize) -> Option<u16> {
    let pair = bytes.get(*at..)?.first_chunk::<2>()?;
    *at += 2;
    Some(u16::from_be_bytes(*pair))
}

/// Addresses among the records, up to the first that cannot be read.
fn addresses(bytes: &[u8], mut at: usize, records: u16) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..records {
        match record(bytes, &mut at) {
            Some(address) => found.extend(address),
            None => break,
        }
    }
    found
}

/// The address of a record, if it is one of an address.
fn record(bytes: &[u8], at: &mut usize) -> Option<Option<String>> {
    name(bytes, at)?;
    let (kind, _class) = (word(bytes, at)?, word(bytes, at)?);
    *at += 4;
    let len = usize::from(word(bytes, at)?);
    let data = bytes.get(*at..)?.get(..len)?;
    *at += len;
    let v4 =
        |data: &[u8]| data.try_into().map(|octets: [u8; 4]| Ipv4Addr::from(octets).to_string());
    let v6 =
        |data: &[u8]| data.try_into().map(|octets: [u8; 16]| Ipv6Addr::from(octets).to_string());
    Some(match kind {
        1 => v4(data).ok(),
        28 => v6(data).ok(),
        _ => None,
    })
}

/// A name as text, and `at` behind it.
fn name(bytes: &[u8], at: &mut usize) -> Option<String> {
    let mut text = String::new();
    let (mut place, mut jumped) = (*at, false);
    for _ in 0..STEPS_MAX {
        let len = *bytes.get(place)?;
        place += 1;
        match len {
            0 => {
                if !jumped {
                    *at = place;
                }
                return Some(if text.is_empty() { ".".to_owned() } else { text });
            }
            1..=63 => {
                let label = bytes.get(place..)?.get(..usize::from(len))?;
                place += label.len();
                if !text.is_empty() {
                    text.push('.');
                }
                label.iter().for_each(|byte| push(&mut text, *byte));
                if text.len() > 4 * NAME_BYTES_MAX {
                    return None;
                }
            }
            0xc0.. => {
                let low = *bytes.get(place)?;
                if !jumped {
                    *at = place + 1;
                }
                let to = usize::from(len & 0x3f) << 8 | usize::from(low);
                // Only back, or it would never end.
                if to >= place - 1 {
                    return None;
                }
                (place, jumped) = (to, true);
            }
            _ => return None,
        }
    }
    None
}

/// What cannot be shown is told by its number, as in zone files.
fn push(text: &mut String, byte: u8) {
    match byte {
        b'.' | b'\\' | b'"' => {
            text.push('\\');
            text.push(char::from(byte));
        }
        b'!'..=b'~' => text.push(char::from(byte)),
        _ => text.push_str(&format!("\\{byte:03}")),
    }
}
