//! What JetStream puts into subjects and answers.
//!
//! Invariant: pure; what only looks alike, and is a program's own, is left alone.

use serde_json::Value;

use crate::protocol::{Detail, MessagingCall};

const ACKNOWLEDGE: &[u8] = b"$JS.ACK.";
const FETCH: &[u8] = b".CONSUMER.MSG.NEXT.";
const API: &[u8] = b"$JS.";

/// Where a message that JetStream has delivered is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acknowledged<'a> {
    stream: &'a str,
    consumer: &'a str,
    deliveries: i64,
    sequence: i64,
}

impl<'a> Acknowledged<'a> {
    /// Reads the subject: of the older kind, or with a domain and an account in front.
    pub(super) fn read(subject: &'a [u8]) -> Option<Self> {
        let rest = std::str::from_utf8(subject.strip_prefix(ACKNOWLEDGE)?).ok()?;
        let mut tokens = [""; 10];
        let mut count = 0;
        for token in rest.split('.').take(tokens.len()) {
            *tokens.get_mut(count)? = token;
            count += 1;
        }
        let named = tokens.get(if count > 7 { 2 } else { 0 }..count)?;
        let [stream, consumer, deliveries, sequence, ..] = named else { return None };
        let (deliveries, sequence) = (deliveries.parse().ok()?, sequence.parse().ok()?);
        Some(Self { stream, consumer, deliveries, sequence })
    }

    /// Adds it to what is told.
    pub(super) fn tell(&self, call: &mut MessagingCall) {
        call.group = Some(self.consumer.to_owned());
        call.details.extend([
            ("icecore.nats.stream.name", Detail::Text(self.stream.to_owned())),
            ("icecore.nats.stream.sequence", Detail::Number(self.sequence)),
            ("icecore.nats.delivery.count", Detail::Number(self.deliveries)),
        ]);
    }
}

/// What a consumer says of a message.
pub(super) fn word(payload: &[u8]) -> &'static str {
    match payload.get(..4) {
        Some(b"-NAK") => "nak",
        Some(b"+WPI") => "in_progress",
        Some(b"+TER") => "term",
        Some(b"+NXT") => "ack_next",
        _ => "ack",
    }
}

/// The subject asks for messages.
pub(super) fn is_fetch(subject: &[u8]) -> bool {
    subject.starts_with(API) && memchr::memmem::find(subject, FETCH).is_some()
}

/// What JetStream answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A message is in its stream, at this place.
    Stored { sequence: i64 },
    /// A message is not in its stream, for this error, by its number.
    NotStored(String),
    /// Another error, by its number.
    Refused(String),
}

impl Outcome {
    /// Reads an answer; none for one that is a program's.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        if !payload.starts_with(b"{") {
            return None;
        }
        let Ok(answer) = serde_json::from_slice::<Value>(payload) else {
            return cut_off(payload);
        };
        let error = answer.get("error").and_then(|error| error.get("err_code"));
        let error = error.and_then(Value::as_i64).map(|code| code.to_string());
        let sequence = answer.get("seq").and_then(Value::as_i64);
        // Of its answers only those to messages name the stream.
        let stream = answer.get("stream").and_then(Value::as_str);
        match (error, stream, sequence) {
            (Some(code), Some(_), _) => Some(Self::NotStored(code)),
            (Some(code), None, _) => Some(Self::Refused(code)),
            (None, Some(_), Some(sequence)) => Some(Self::Stored { sequence }),
            (None, ..) => None,
        }
    }
}

/// An error stands at the beginning of long answers.
fn cut_off(payload: &[u8]) -> Option<Outcome> {
    let start = payload.get(..256.min(payload.len()))?;
    let name = b"\"err_code\":";
    let at = memchr::memmem::find(start, name)? + name.len();
    let rest = start.get(at..)?;
    // Where the number ends is known only if something follows it.
    let digits = rest.split_at(rest.iter().position(|byte| !byte.is_ascii_digit())?).0;
    let digits = String::from_utf8_lossy(digits).into_owned();
    let ours = start.starts_with(b"{\"type\":\"io.nats.jetstream.") && !digits.is_empty();
    ours.then_some(Outcome::Refused(digits))
}

/// The name is there, and true.
pub(super) fn flag(json: &[u8], name: &[u8]) -> bool {
    let at = memchr::memmem::find(json, name).map(|at| at + name.len());
    at.and_then(|at| json.get(at..))
        .is_some_and(|rest| rest.trim_ascii_start().starts_with(b"true"))
}
