//! What a client asks and says.
//!
//! Invariant: each method of a client begins exactly one exchange, whatever its broker makes of it.

use super::channel::{Channel, temporary};
use super::content::Announced;
use super::field::Fields;
use super::method::{self, Method};
use super::{Amqp, Key, MULTIPLE, Waits, delivery};
use crate::protocol::dialogue::{Side, Unit};
use crate::protocol::{Detail, Handling, MessagingCall};

/// The bit by which a consumer says that it will acknowledge nothing.
const NO_ACK: u8 = 2;

impl Amqp {
    pub(super) fn request(
        &mut self,
        channel: u16,
        method: &Method<'_>,
        unit: &Unit<'_>,
        pending: &mut Waits,
    ) {
        match method.id() {
            method::START_OK | method::SECURE_OK | method::TUNE_OK | method::OPEN => {
                pending.ask_more(&Key::Connect, unit);
                self.introduce(method, pending);
            }
            method::PUBLISH => {
                let [exchange, key, _] = method.texts;
                let mut call = self.call("publish");
                call.handling = Some(Handling::Send);
                self.set_destination(&mut call, &[exchange, key]);
                self.learn_key(&mut call, key);
                self.announce(Side::Requests, channel, Announced::Publish, call, unit, pending);
            }
            method::ACK | method::NACK | method::REJECT => {
                self.settle(channel, method, unit, pending);
            }
            _ if method.kind.name.ends_with("_ok") => {}
            _ => self.ask(channel, method, unit, pending),
        }
    }

    /// What has become of messages that came.
    fn settle(&mut self, channel: u16, method: &Method<'_>, unit: &Unit<'_>, pending: &mut Waits) {
        let several = method.id() != method::REJECT && method.bits & MULTIPLE != 0;
        let from = self.unsettled.settle(channel, method.tag, several);
        let made_up = |from: &String| from.split(':').any(|part| temporary(part.as_bytes()));
        let mut call = MessagingCall {
            handling: Some(Handling::Settle),
            temporary: from.as_ref().is_some_and(made_up),
            destination: from,
            ..self.call(method.kind.name)
        };
        call.details.push(delivery(method.tag));
        let flag = ("icecore.amqp.multiple", Detail::Text("true".to_owned()));
        call.details.extend(several.then_some(flag));
        pending.told(Side::Requests, pending.draft(unit), call);
    }

    /// What a client says of itself, and which virtual host it wants.
    fn introduce(&mut self, method: &Method<'_>, pending: &mut Waits) {
        if method.id() == method::START_OK {
            let known = Fields::new(method.table);
            self.client = known.named(b"connection_name").map(|name| self.text(name));
        }
        let client = self.client.clone();
        let host = (method.id() == method::OPEN).then(|| self.text(method.texts[0]));
        if let Some(open) = pending.find(&Key::Connect) {
            open.call.client = client;
            let detail = |host| ("icecore.amqp.virtual_host", Detail::Text(host));
            open.call.details.extend(host.map(detail));
        }
    }

    /// Whatever is answered by a method, unless it says that it shall not be.
    fn ask(&mut self, channel: u16, method: &Method<'_>, unit: &Unit<'_>, pending: &mut Waits) {
        let call = self.asking(channel, method);
        let mut draft = pending.draft(unit);
        if method.id() == method::UPDATE_SECRET {
            draft = draft.without_content();
        }
        match method.answer() {
            Some(answer) => {
                let id = (method.id().0, answer);
                let key = Key::Answer { channel, id, number: self.asked };
                self.asked += 1;
                pending.ask(Side::Requests, draft, key, call);
            }
            None => pending.told(Side::Requests, draft, call),
        }
    }

    pub(super) fn asking(&mut self, channel: u16, method: &Method<'_>) -> MessagingCall {
        let mut call = self.call(method.kind.name);
        let [mut about, tag, key] = method.texts;
        let of = self.channels.get(&channel);
        let last = of.and_then(|of| of.queue.clone());
        let consumed = of.and_then(|of| Some(of.consumer(about)?.queue.clone()));
        match method.id() {
            (method::QUEUES, _) | method::GET | method::CONSUME => {
                // A queue without a name is the one that was declared last.
                if about.is_empty() && method.id() != method::QUEUE_DECLARE {
                    about = last.as_deref().unwrap_or_default();
                }
                if method.id() == method::QUEUE_DECLARE {
                    self.channel(channel).queue = Some(about.to_vec());
                }
            }
            method::CANCEL => about = consumed.as_deref().unwrap_or_default(),
            (40, _) => {}
            _ => about = b"",
        }
        match method.id() {
            method::GET => call.handling = Some(Handling::Receive),
            method::CONSUME => {
                let acknowledges = method.bits & NO_ACK == 0;
                self.channel(channel).consume(tag, about, acknowledges);
            }
            method::CHANNEL_OPEN => {
                self.unsettled.forget(channel);
                self.channels.insert(channel, Channel::open());
            }
            method::CONFIRM_SELECT => self.channel(channel).confirm(),
            _ => {}
        }
        if !about.is_empty() {
            self.set_destination(&mut call, &[about]);
        }
        // Bindings have a key.
        self.learn_key(&mut call, if matches!(method.id(), (40 | 50, 20..)) { key } else { b"" });
        self.complain(&mut call, method);
        call
    }

    pub(super) fn learn_key(&self, call: &mut MessagingCall, key: &[u8]) {
        if !key.is_empty() {
            let key = Detail::Text(self.text(key));
            call.details.push(("messaging.rabbitmq.destination.routing_key", key));
        }
    }

    /// What whoever closes a channel or a connection, or blocks it, has to say.
    pub(super) fn complain(&self, call: &mut MessagingCall, method: &Method<'_>) {
        let [code, class, number] = method.numbers;
        let ends = [method::CLOSE, method::CHANNEL_CLOSE, method::RETURN].contains(&method.id());
        // Whoever is through says 200, or nothing.
        let wrong = ends && code > 200;
        call.error = wrong.then(|| code.to_string());
        if wrong || method.id() == method::BLOCKED {
            let said = Detail::Text(self.text(method.texts[0]));
            call.details.push(("icecore.amqp.reply_text", said));
        }
        if !ends {
            return;
        }
        if let Some(of) = method::kind((class, number)) {
            let name = Detail::Text(of.name.to_owned());
            call.details.push(("icecore.amqp.failed_operation", name));
        }
    }
}
