//! Messages: what comes behind the method that announces one.
//!
//! Invariant: of a message only what its properties say is read; its body is counted.

use super::channel::Messages;
use super::field::Fields;
use super::{Amqp, Key, Waits};
use crate::protocol::dialogue::{Draft, Side, Unit};
use crate::protocol::prepared::Behind;
use crate::protocol::{Detail, MessagingCall};

/// The class of everything that is about messages.
const BASIC: u16 = 60;
/// More properties come than fit into two bytes of flags.
const MORE: u16 = 1;
/// Properties from the first flag on: a short text, a table, or so many bytes.
const PARTS: &[u8; 14] = b"sst11ssssLssss";
const HEADERS: usize = 2;
const CORRELATION: usize = 5;
const ID: usize = 8;

/// What is looked at of the properties of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Properties<'a> {
    pub(super) body_bytes: u64,
    pub(super) id: Option<&'a [u8]>,
    pub(super) correlation: Option<&'a [u8]>,
    /// A table.
    pub(super) headers: &'a [u8],
}

impl<'a> Properties<'a> {
    /// Reads the properties that fill these bytes.
    pub(super) fn read(payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        let (class, weight) = (fields.u16()?, fields.u16()?);
        let mut properties = Self { body_bytes: fields.u64()?, ..Self::default() };
        let flags = fields.u16()?;
        if class != BASIC || weight != 0 || flags & MORE != 0 {
            return None;
        }
        for (at, part) in PARTS.iter().enumerate() {
            if flags << at & 0x8000 == 0 {
                continue;
            }
            match (part, at) {
                (b't', HEADERS) => properties.headers = fields.long()?,
                (b's', ID) => properties.id = Some(fields.short_text()?),
                (b's', CORRELATION) => properties.correlation = Some(fields.short_text()?),
                (b's', _) => drop(fields.short_text()?),
                (b'L', _) => drop(fields.u64()?),
                _ => drop(fields.u8()?),
            }
        }
        fields.is_empty().then_some(properties)
    }

    /// The header with this name, where it is a text.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(Fields::new(self.headers).named(name.as_bytes())?).ok()
    }
}

/// What has announced a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    Publish,
    Deliver,
    Return,
    /// The answer to what is called so.
    Got(Key),
}

/// A message under way.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) announced: Announced,
    pub(super) draft: Draft,
    pub(super) call: MessagingCall,
    /// How much of its body is to come; none before its properties.
    pub(super) left: Option<u64>,
}

impl Behind for Content {}

impl Amqp {
    pub(super) fn announce(
        &mut self,
        side: Side,
        channel: u16,
        announced: Announced,
        call: MessagingCall,
        unit: &Unit<'_>,
        pending: &mut Waits,
    ) {
        let content = Content { announced, draft: pending.draft(unit), call, left: None };
        self.contents.insert((side == Side::Requests, channel), content);
    }

    /// More of a message has come: its properties, or some of its body.
    pub(super) fn content(
        &mut self,
        side: Side,
        channel: u16,
        unit: &Unit<'_>,
        properties: Option<&Properties<'_>>,
        pending: &mut Waits,
    ) {
        let place = (side == Side::Requests, channel);
        // Of what was announced before the probe came, or before a loss, nothing is known.
        let Some(mut content) = self.contents.take(&place) else { return };
        match content.announced {
            Announced::Got(key) => drop(pending.answer(&key, unit)),
            _ => pending.add(&mut content.draft, unit),
        }
        content.left = match (properties, content.left) {
            (Some(properties), _) => {
                self.learn(&mut content.call, properties);
                Some(properties.body_bytes)
            }
            (None, left) => left.and_then(|left| left.checked_sub(unit.body_bytes - 1)),
        };
        match content.left {
            Some(0) => self.complete(side, channel, content, pending),
            Some(_) => self.contents.insert(place, content),
            // More of it than there is.
            None => {}
        }
    }

    fn learn(&self, call: &mut MessagingCall, properties: &Properties<'_>) {
        call.body_bytes = Some(properties.body_bytes);
        for (key, value) in [
            ("messaging.message.id", properties.id),
            ("messaging.message.conversation_id", properties.correlation),
        ] {
            call.details.extend(value.map(|value| (key, Detail::Text(self.text(value)))));
        }
        for name in ["traceparent", "tracestate"] {
            let value = properties.header(name);
            call.headers
                .extend(value.map(|value| (name.into(), self.text(value.as_bytes()).into())));
        }
    }

    /// A message is whole.
    fn complete(&mut self, side: Side, channel: u16, content: Content, pending: &mut Waits) {
        let Content { announced, draft, call, .. } = content;
        match announced {
            Announced::Publish => match self.channel(channel).send() {
                Messages::Confirmed(tag) => {
                    pending.ask(side, draft, Key::Confirm { channel, tag }, call);
                }
                Messages::Untold => pending.told(side, draft, call),
                Messages::Unknown => pending.told_perhaps(side, draft, call),
            },
            Announced::Deliver => pending.told(side, draft, call),
            Announced::Return => {
                returned(channel, &call, pending);
                pending.told(side, draft, call);
            }
            Announced::Got(key) => {
                if let Some(open) = pending.find(&key) {
                    open.call = call;
                }
                pending.finish(&key);
            }
        }
    }
}

/// The broker confirms what it could not deliver as well: the message that came back is the first
/// that waits and is like it.
fn returned(channel: u16, call: &MessagingCall, pending: &mut Waits) {
    let like = |key: &Key, waiting: &MessagingCall| {
        matches!(*key, Key::Confirm { channel: of, .. } if of == channel)
            && waiting.error.is_none()
            && waiting.destination == call.destination
            && waiting.body_bytes == call.body_bytes
    };
    let Some(key) = pending.find_by(like).copied() else { return };
    if let Some(open) = pending.find(&key) {
        open.call.error.clone_from(&call.error);
    }
}
