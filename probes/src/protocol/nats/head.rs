//! Headers of a message.
//!
//! Invariant: nothing is allocated but what is kept; what was cut off is not there.

/// The first line, up to the status.
const VERSION: &[u8] = b"NATS/1.0";

/// What is looked at of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Headers<'a> {
    /// What the server says in place of a message.
    pub(super) status: Option<&'a str>,
    pub(super) traceparent: Option<&'a str>,
    pub(super) tracestate: Option<&'a str>,
    /// What a service says went wrong.
    pub(super) error: Option<&'a str>,
    /// The name of a message, for who stores it.
    pub(super) id: Option<&'a str>,
}

impl<'a> Headers<'a> {
    /// Reads the headers that a message begins with.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut headers = Self::default();
        let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let Some(first) = lines.next().and_then(|line| line.strip_prefix(VERSION)) else {
            return headers;
        };
        headers.status = text(first.trim_ascii()).and_then(|text| text.get(..3));
        for line in lines {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).and_then(|value| text(value.trim_ascii()));
            let place = match name {
                _ if name.eq_ignore_ascii_case(b"traceparent") => &mut headers.traceparent,
                _ if name.eq_ignore_ascii_case(b"tracestate") => &mut headers.tracestate,
                b"Nats-Service-Error-Code" => &mut headers.error,
                b"Nats-Msg-Id" => &mut headers.id,
                _ => continue,
            };
            *place = place.or(value);
        }
        headers
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}
