//! What a broker answers, and what it begins by itself.
//!
//! Invariant: what it begins is told by itself, even where it ends what a client has begun, so that
//! both ends of the connection count alike.

use super::content::Announced;
use super::method::{self, Id, Method};
use super::{Amqp, Key, MULTIPLE, Waits, delivery};
use crate::protocol::dialogue::{Side, Unit};
use crate::protocol::{Detail, Handling, MessagingCall};

/// Whatever waited on a channel that its client has closed.
const CHANNEL_CLOSED: &str = "channel_closed";

impl Amqp {
    pub(super) fn response(
        &mut self,
        channel: u16,
        method: &Method<'_>,
        unit: &Unit<'_>,
        pending: &mut Waits,
    ) {
        match method.id() {
            method::START | method::SECURE | method::TUNE => {
                pending.answer(&Key::Connect, unit);
            }
            method::OPEN_OK => {
                pending.answer(&Key::Connect, unit);
                pending.finish(&Key::Connect);
            }
            method::ACK | method::NACK => Self::confirm(channel, method, unit, pending),
            method::DELIVER | method::RETURN | method::GET_OK => {
                self.deliver(channel, method, unit, pending);
            }
            method::GET_EMPTY => {
                let Some(key) = answered(channel, method::GET_OK, pending) else {
                    return pending.unasked();
                };
                if let Some(open) = pending.answer(&key, unit) {
                    open.call.messages = Some(0);
                }
                pending.finish(&key);
            }
            _ if method.kind.name.ends_with("_ok") => self.answer(channel, method, unit, pending),
            _ => self.push(channel, method, unit, pending),
        }
    }

    /// The answer to what was asked first, among what it may answer.
    fn answer(&mut self, channel: u16, method: &Method<'_>, unit: &Unit<'_>, pending: &mut Waits) {
        let named = method.texts[0];
        if method.id() == method::CHANNEL_CLOSE_OK {
            fail(
                CHANNEL_CLOSED,
                pending,
                unit,
                |key| matches!(key, Key::Confirm { channel: of, .. } if of == channel),
            );
            self.channels.remove(&channel);
        }
        let Some(key) = answered(channel, method.id(), pending) else {
            return pending.unasked();
        };
        let Some(open) = pending.answer(&key, unit) else { return };
        match method.id() {
            method::QUEUE_DECLARE_OK => {
                self.set_destination(&mut open.call, &[named]);
                self.channel(channel).queue = Some(named.to_vec());
            }
            method::CONSUME_OK => self.channel(channel).consumes(named),
            _ => {}
        }
        pending.finish(&key);
    }

    /// What the broker begins, and what that ends.
    fn push(&mut self, channel: u16, method: &Method<'_>, unit: &Unit<'_>, pending: &mut Waits) {
        let mut call = self.asking(channel, method);
        call.pushed = true;
        let error = call.error.clone().unwrap_or_else(|| CHANNEL_CLOSED.to_owned());
        match method.id() {
            method::CLOSE => {
                fail(&error, pending, unit, |_| true);
                self.channels.clear();
            }
            method::CHANNEL_CLOSE => {
                fail(&error, pending, unit, |key| key.channel() == channel);
                self.channels.remove(&channel);
            }
            _ => {}
        }
        pending.told(Side::Responses, pending.draft(unit), call);
    }

    /// The broker has taken messages over, or could not.
    fn confirm(channel: u16, method: &Method<'_>, unit: &Unit<'_>, pending: &mut Waits) {
        let several = method.bits & MULTIPLE != 0;
        let meant = |key: &Key, _: &MessagingCall| match *key {
            Key::Confirm { channel: of, tag } => {
                let before = several && (tag < method.tag || method.tag == 0);
                of == channel && (tag == method.tag || before)
            }
            _ => false,
        };
        while let Some(key) = pending.find_by(meant).copied() {
            let refused = method.id() == method::NACK;
            if let Some(open) = pending.answer(&key, unit).filter(|_| refused) {
                open.call.error = Some("nack".to_owned());
            }
            pending.finish(&key);
        }
    }

    fn deliver(&mut self, channel: u16, method: &Method<'_>, unit: &Unit<'_>, pending: &mut Waits) {
        let mut acknowledged = method.id() == method::GET_OK;
        let (mut call, announced, parts) = match method.id() {
            method::DELIVER => {
                let [consumer, exchange, key] = method.texts;
                let of = self.channels.get(&channel);
                let of = of.and_then(|of| of.consumer(consumer));
                acknowledged = of.is_none_or(|of| of.acknowledges);
                let queue = of.map(|of| of.queue.clone());
                let mut call = self.call("deliver");
                (call.handling, call.pushed) = (Some(Handling::Process), true);
                (call, Announced::Deliver, (exchange, key, queue))
            }
            method::RETURN => {
                let [_, exchange, key] = method.texts;
                let mut call = self.call("return");
                call.pushed = true;
                self.complain(&mut call, method);
                (call, Announced::Return, (exchange, key, None))
            }
            _ => {
                let Some(asked) = answered(channel, method.id(), pending) else {
                    return pending.unasked();
                };
                let Some(open) = pending.answer(&asked, unit) else { return };
                let [exchange, key, _] = method.texts;
                let queue = open.call.destination.take().map(String::into_bytes);
                (open.call.clone(), Announced::Got(asked), (exchange, key, queue))
            }
        };
        let (exchange, key, queue) = parts;
        self.set_destination(&mut call, &[exchange, key, queue.as_deref().unwrap_or_default()]);
        self.learn_key(&mut call, key);
        if announced != Announced::Return {
            call.details.push(delivery(method.tag));
            let flag = ("icecore.amqp.redelivered", Detail::Text("true".to_owned()));
            call.details.extend((method.bits != 0).then_some(flag));
        }
        if acknowledged {
            let destination = call.destination.clone().unwrap_or_default();
            self.unsettled.push(channel, method.tag, destination);
        }
        self.announce(Side::Responses, channel, announced, call, unit, pending);
    }
}

/// The first request on this channel that this answers.
fn answered(channel: u16, id: Id, pending: &Waits) -> Option<Key> {
    let meant = |key: &Key, _: &MessagingCall| matches!(*key, Key::Answer { channel: of, id: by, .. } if of == channel && by == id);
    pending.find_by(meant).copied()
}

/// Everything of this kind that waits has come to nothing.
fn fail(error: &str, pending: &mut Waits, unit: &Unit<'_>, of: impl Fn(Key) -> bool) {
    while let Some(key) = pending.find_by(|key, _| of(*key)).copied() {
        if let Some(open) = pending.answer(&key, unit) {
            open.call.error.get_or_insert_with(|| error.to_owned());
        }
        pending.finish(&key);
    }
}
