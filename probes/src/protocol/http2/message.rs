//! What a header block says: the head of a request or response, or what follows its body.
//!
//! Invariants: nothing is taken for known that was not read; what is kept is bounded, however often
//! a block of few bytes names a long field of the table.

use std::str::FromStr;

use super::hpack::{Decoder, Field, Malformed};
use crate::protocol::grpc::Content;
use crate::protocol::{Header, Limits, Text};

/// What is kept of a block, and how much may be held.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) head_bytes_max: usize,
    pub(super) header_table_bytes_max: usize,
    value_bytes_max: usize,
    /// Of requests and of responses, which are told apart only by what a block says.
    headers: [Vec<String>; 2],
}

impl Rules {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            head_bytes_max: limits.head_bytes_max,
            header_table_bytes_max: limits.header_table_bytes_max,
            value_bytes_max: limits.value_bytes_max,
            headers: [limits.request_headers.clone(), limits.response_headers.clone()],
        }
    }

    fn text(&self, bytes: &[u8]) -> Text {
        let bytes = bytes.split_at(bytes.len().min(self.value_bytes_max)).0;
        Text::from_utf8_lossy(bytes)
    }
}

/// What a block says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) method: Option<Text>,
    pub(super) path: Option<Text>,
    pub(super) scheme: Option<Text>,
    pub(super) authority: Option<Text>,
    pub(super) status: Option<u16>,
    /// Fields of it are not known, by name or at all.
    pub(super) unknown: bool,
    /// The content, as far as gRPC goes; none: no field says what it is.
    pub(super) content: Option<Content>,
    /// What follows is this long.
    pub(super) content_length: Option<u64>,
    pub(super) grpc_status: Option<u32>,
    pub(super) grpc_timeout_nanos: Option<u64>,
    /// The fields that are wanted, names in lower case.
    pub(super) kept: Vec<Header>,
    /// What those take.
    pub(super) kept_bytes: usize,
}

impl Message {
    /// Reads a whole block.
    pub(super) fn read(
        block: &[u8],
        decoder: &mut Decoder,
        rules: &Rules,
    ) -> Result<Self, Malformed> {
        let mut message = Self::default();
        decoder.read(block, |field| message.take(field, rules))?;
        Ok(message)
    }

    /// It begins a request, as far as it is known.
    pub(super) fn asks(&self) -> bool {
        self.method.is_some() || self.path.is_some() || self.scheme.is_some()
    }

    /// What the request is for: a path, or for a tunnel the host behind it.
    pub(super) fn target(&self) -> Option<&str> {
        let tunnel = self.method.as_deref() == Some("CONNECT");
        let host = self.authority.as_deref().filter(|_| tunnel);
        self.path.as_deref().or(host)
    }

    fn take(&mut self, field: Field<'_>, rules: &Rules) {
        let (Some(name), Some(value)) = (field.name, field.value) else {
            self.unknown = true;
            return;
        };
        match name {
            b":method" => self.method = Some(rules.text(value)),
            b":path" => self.path = Some(rules.text(value)),
            b":scheme" => self.scheme = Some(rules.text(value)),
            b":authority" => self.authority = Some(rules.text(value)),
            b":status" => self.status = number(value),
            b"content-type" => self.content = Some(Content::of(value)),
            b"content-length" => self.content_length = number(value),
            b"grpc-status" => self.grpc_status = number(value),
            b"grpc-timeout" => self.grpc_timeout_nanos = timeout(value),
            _ => {}
        }
        // A response has a status before all else, RFC 9113 section 8.3.
        let [of_requests, of_responses] = &rules.headers;
        let wanted = if self.status.is_some() { of_responses } else { of_requests };
        let Some(name) = wanted.iter().find(|wanted| wanted.as_bytes() == name) else { return };
        let value = rules.text(value);
        self.kept_bytes += name.len() + value.len();
        if self.kept_bytes <= rules.head_bytes_max {
            self.kept.push((name.into(), value));
        }
    }
}

fn number<T: FromStr>(text: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// At most eight digits and a unit.
fn timeout(text: &[u8]) -> Option<u64> {
    let (unit, digits) = text.split_last()?;
    let nanos: u64 = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    Some(number::<u64>(digits)?.saturating_mul(nanos))
}
