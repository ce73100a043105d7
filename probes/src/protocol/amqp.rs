//! AMQP 0-9-1, as RabbitMQ speaks it: messages both ways, and everything that is asked of the broker.
//!
//! Invariants: an answer goes to the first request on its channel that it answers, a confirmation to
//! the message that it counts; what the broker sends by itself is told by itself, so that both ends
//! count alike; credentials are kept in no form.

mod channel;
mod content;
mod field;
mod frame;
mod look;
mod method;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use channel::{Channel, Unsettled, name, temporary};
use content::{Content, Properties};
use frame::{Holds, Start};
pub(super) use look::look;
use method::Id;

use super::dialogue::{Correlated, Correlation, Head, Pending, Read, Side, Unit};
use super::prepared::Recent;
use super::{Detail, Limits, MessagingCall, Protocol, Role};

/// The bit that settles all messages up to one.
const MULTIPLE: u8 = 1;

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    let amqp = Amqp {
        keep: [limits.head_bytes_max, limits.body_bytes_max],
        text_bytes_max: limits.value_bytes_max,
        patience: limits.answer_nanos_max,
        client: None,
        asked: 0,
        channels: Recent::new(limits.streams_max),
        contents: Recent::new(limits.streams_max),
        unsettled: Unsettled::new(limits.streams_max),
    };
    Box::new(Correlation::new(amqp, &limits, role, from_start))
}

/// What is known of a connection.
#[derive(Debug)]
struct Amqp {
    /// Of methods and properties, and of bodies.
    keep: [usize; 2],
    text_bytes_max: usize,
    patience: u64,
    client: Option<String>,
    /// Requests so far: those on one channel are answered in their order.
    asked: u64,
    channels: Recent<u16, Channel>,
    /// Messages under way, by who sends them and on which channel.
    contents: Recent<(bool, u16), Content>,
    unsettled: Unsettled,
}

/// What an answer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// From the header to the answer that opens the connection.
    Connect,
    /// The method that will answer the request with this number.
    Answer { channel: u16, id: Id, number: u64 },
    /// The message that a channel has counted so.
    Confirm { channel: u16, tag: u64 },
}

impl Key {
    fn channel(self) -> u16 {
        match self {
            Self::Connect => 0,
            Self::Answer { channel, .. } | Self::Confirm { channel, .. } => channel,
        }
    }
}

type Waits = Pending<Key, MessagingCall>;

impl Amqp {
    fn call(&self, operation: &'static str) -> MessagingCall {
        let client = self.client.clone();
        MessagingCall { system: "rabbitmq", operation, client, ..MessagingCall::default() }
    }

    /// As much of a text as is kept.
    fn text(&self, bytes: &[u8]) -> String {
        let (kept, _) = bytes.split_at(bytes.len().min(self.text_bytes_max));
        String::from_utf8_lossy(kept).into_owned()
    }

    fn set_destination(&self, call: &mut MessagingCall, parts: &[&[u8]]) {
        call.temporary = parts.iter().any(|part| temporary(part));
        call.destination = Some(self.text(&name(parts)));
    }

    fn channel(&mut self, number: u16) -> &mut Channel {
        self.channels.get_or_insert(number, Channel::default)
    }

    fn read(&mut self, side: Side, unit: &Unit<'_>, pending: &mut Waits) -> Option<()> {
        let payload = frame::payload(unit.body, unit.body_bytes);
        match frame::start(unit.head) {
            Start::Header => self.header(side, unit, pending),
            Start::Frame { holds: Holds::Heartbeat, .. } => {
                payload?;
            }
            Start::Frame { holds: Holds::Method, channel, .. } => {
                let method = method::read(side, payload?)?;
                self.contents.remove(&(side == Side::Requests, channel));
                match side {
                    Side::Requests => self.request(channel, &method, unit, pending),
                    Side::Responses => self.response(channel, &method, unit, pending),
                }
            }
            Start::Frame { holds: Holds::Properties, channel, .. } => {
                let properties = Properties::read(payload?)?;
                self.content(side, channel, unit, Some(&properties), pending);
            }
            Start::Frame { holds: Holds::Body, channel, .. } => {
                payload?;
                self.content(side, channel, unit, None, pending);
            }
            Start::More | Start::Broken => return None,
        }
        Some(())
    }

    /// A client begins; a broker that answers with a header does not speak this version.
    fn header(&mut self, side: Side, unit: &Unit<'_>, pending: &mut Waits) {
        if side == Side::Requests {
            let draft = pending.draft(unit).without_content();
            let call = self.call("connect");
            return pending.ask(side, draft, Key::Connect, call);
        }
        if let Some(open) = pending.answer(&Key::Connect, unit) {
            open.call.error = Some("unsupported_version".to_owned());
            pending.finish(&Key::Connect);
        }
    }
}

fn delivery(tag: u64) -> (&'static str, Detail) {
    let tag = i64::try_from(tag).unwrap_or(i64::MAX);
    ("messaging.rabbitmq.message.delivery_tag", Detail::Number(tag))
}

impl Correlated for Amqp {
    type Key = Key;
    type Call = MessagingCall;

    fn head(&self, _: Side, bytes: &[u8]) -> Head {
        frame::head(bytes, self.keep)
    }

    fn message(&mut self, side: Side, unit: &Unit<'_>, pending: &mut Waits) -> Read {
        // Of what was not copied, nobody knows what it has answered.
        self.read(side, unit, pending).map_or(Read::Broken, |()| Read::Understood)
    }

    fn resume(&self, side: Side, bytes: &[u8], _: &Waits) -> Option<usize> {
        frame::resume(side, bytes)
    }

    fn forget(&mut self, side: Side) {
        let of_client = side == Side::Requests;
        self.contents.retain(|(by_client, _)| *by_client != of_client);
        if of_client {
            self.channels.values_mut().for_each(Channel::forget);
        }
    }

    fn patience(&self, _: &MessagingCall, doubtful: bool) -> Option<u64> {
        doubtful.then_some(self.patience)
    }
}
