//! MQTT 3.1, 3.1.1 and 5: messages both ways, with the handshakes of each quality of service.
//!
//! Invariants: the numbers that both ends give to packets are kept apart; an exchange lasts until its
//! handshake is through; credentials and the last will are kept in no form; of a connection whose
//! beginning was not seen nothing is read that depends on the version.

mod look;
mod packet;
mod reason;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(super) use look::look;
use packet::{Fields, Kind, Properties, Start};

use super::dialogue::{Correlated, Correlation, Head, Pending, Read, Side, Unit};
use super::prepared::Recent;
use super::{Detail, Handling, Limits, MessagingCall, Protocol, Role};

/// The version that has properties.
const FIVE: u8 = 5;

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    let mqtt = Mqtt {
        keep: limits.head_bytes_max.max(limits.body_bytes_max),
        text_bytes_max: limits.value_bytes_max,
        version: None,
        client: None,
        aliases: Recent::new(limits.prepared_max),
    };
    Box::new(Correlation::new(mqtt, &limits, role, from_start))
}

/// What is known of a connection.
#[derive(Debug)]
struct Mqtt {
    keep: usize,
    text_bytes_max: usize,
    version: Option<u8>,
    client: Option<String>,
    /// Topics that a side has given a number.
    aliases: Recent<(bool, u16), String>,
}

/// What an answer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Connect,
    /// The number that this side has given.
    Packet {
        of_client: bool,
        id: u16,
    },
}

impl Key {
    fn new(side: Side, id: u16) -> Self {
        Self::Packet { of_client: side == Side::Requests, id }
    }

    /// What the other end of this side has sent.
    fn of_other(side: Side, id: u16) -> Self {
        Self::Packet { of_client: side == Side::Responses, id }
    }
}

type Waits = Pending<Key, MessagingCall>;

impl Mqtt {
    fn call(&self, operation: &'static str) -> MessagingCall {
        let client = self.client.clone();
        MessagingCall { system: "mqtt", operation, client, ..MessagingCall::default() }
    }

    fn is_five(&self) -> bool {
        self.version == Some(FIVE)
    }

    fn text(&self, text: &str) -> String {
        text.get(..text.floor_char_boundary(self.text_bytes_max)).unwrap_or_default().to_owned()
    }

    fn read(&mut self, side: Side, kind: Kind, unit: &Unit<'_>, pending: &mut Waits) -> Option<()> {
        let mut fields = Fields::new(unit.body);
        match kind {
            Kind::Connect => self.connect(unit, pending)?,
            Kind::Publish { qos } => self.publish(side, qos, unit, pending)?,
            Kind::Subscribe => self.subscribe("subscribe", unit, pending)?,
            Kind::Unsubscribe => self.subscribe("unsubscribe", unit, pending)?,
            Kind::Connected => {
                fields.u8()?;
                let reason = reason::refused(fields.u8()?);
                Self::finish(Key::Connect, reason, unit, pending);
            }
            Kind::Acknowledged | Kind::Complete => {
                let key = Key::of_other(side, fields.u16()?);
                let error = fields.u8().and_then(reason::name);
                Self::finish(key, error, unit, pending);
            }
            Kind::Received => {
                let key = Key::of_other(side, fields.u16()?);
                match fields.u8().and_then(reason::name) {
                    Some(error) => Self::finish(key, Some(error), unit, pending),
                    None => drop(pending.answer(&key, unit)),
                }
            }
            Kind::Subscribed | Kind::Unsubscribed => {
                let key = Key::of_other(side, fields.u16()?);
                let error = self.first_error(fields);
                Self::finish(key, error, unit, pending);
            }
            Kind::Disconnect if side == Side::Responses => {
                let error = fields.u8().and_then(reason::name);
                let call = MessagingCall { error, pushed: true, ..self.call("disconnect") };
                pending.told(side, pending.draft(unit), call);
            }
            Kind::Release | Kind::Ping | Kind::Pong | Kind::Disconnect | Kind::Authenticate => {}
        }
        Some(())
    }

    /// Of the reasons that a list of topics was answered with.
    fn first_error(&self, mut fields: Fields<'_>) -> Option<String> {
        match self.version {
            Some(FIVE) => drop(fields.properties()),
            Some(_) => {}
            // Whether there are properties in front is not known; the last is a reason in any case.
            None => return fields.rest().last().copied().and_then(reason::name),
        }
        fields.rest().iter().find_map(|reason| reason::name(*reason))
    }

    fn finish(key: Key, error: Option<String>, unit: &Unit<'_>, pending: &mut Waits) {
        match pending.answer(&key, unit) {
            Some(open) => open.call.error = error,
            None => pending.unasked(),
        }
        pending.finish(&key);
    }

    fn connect(&mut self, unit: &Unit<'_>, pending: &mut Waits) -> Option<()> {
        let version = look::version(unit.body)??;
        self.version = Some(version);
        let mut fields = Fields::new(unit.body);
        // Name of the protocol, version, flags, keep alive.
        fields.blob()?;
        fields.skip(4)?;
        if self.is_five() {
            fields.properties()?;
        }
        self.client = fields.text().filter(|id| !id.is_empty()).map(|id| self.text(id));
        let mut call = self.call("connect");
        call.details
            .push(("network.protocol.version", Detail::Text(version_name(version).to_owned())));
        let draft = pending.draft(unit).without_content();
        pending.ask(Side::Requests, draft, Key::Connect, call);
        Some(())
    }

    fn publish(&mut self, side: Side, qos: u8, unit: &Unit<'_>, pending: &mut Waits) -> Option<()> {
        let mut fields = Fields::new(unit.body);
        let topic = fields.text()?;
        let id = if qos > 0 { Some(fields.u16()?) } else { None };
        let properties = if self.is_five() { fields.properties()? } else { Properties::default() };
        let from_client = side == Side::Requests;
        let mut call = self.call(if from_client { "publish" } else { "deliver" });
        call.handling = Some(if from_client { Handling::Send } else { Handling::Process });
        call.pushed = !from_client;
        call.destination = self.topic(from_client, topic, properties.alias);
        let ahead = (unit.body.len() - fields.rest().len()) as u64;
        call.body_bytes = self.version.map(|_| unit.body_bytes - ahead);
        call.details.push(("icecore.mqtt.qos", Detail::Number(qos.into())));
        let first = unit.head.first().copied().unwrap_or_default();
        for (bit, key) in [(1, "icecore.mqtt.retain"), (8, "icecore.mqtt.duplicate")] {
            call.details
                .extend((first & bit != 0).then_some((key, Detail::Text("true".to_owned()))));
        }
        if let Some(correlation) = properties.correlation {
            let id = self.text(&String::from_utf8_lossy(correlation));
            call.details.push(("messaging.message.conversation_id", Detail::Text(id)));
        }
        for (name, value) in
            [("traceparent", properties.traceparent), ("tracestate", properties.tracestate)]
        {
            call.headers.extend(value.map(|value| (name.into(), value.into())));
        }
        let draft = pending.draft(unit);
        match id {
            Some(id) => pending.ask(side, draft, Key::new(side, id), call),
            None => pending.told(side, draft, call),
        }
        Some(())
    }

    /// The name of a topic, which may stand for itself or have been given a number before.
    fn topic(&mut self, from_client: bool, topic: &str, alias: Option<u16>) -> Option<String> {
        let named = (!topic.is_empty()).then(|| self.text(topic));
        let Some(alias) = alias else { return named };
        match named {
            Some(name) => {
                self.aliases.insert((from_client, alias), name.clone());
                Some(name)
            }
            None => self.aliases.get(&(from_client, alias)).cloned(),
        }
    }

    fn subscribe(
        &mut self,
        operation: &'static str,
        unit: &Unit<'_>,
        pending: &mut Waits,
    ) -> Option<()> {
        let mut fields = Fields::new(unit.body);
        let key = Key::new(Side::Requests, fields.u16()?);
        let mut call = self.call(operation);
        if let Some(version) = self.version {
            if version == FIVE {
                fields.properties()?;
            }
            let topic = fields.text()?;
            let options = usize::from(operation == "subscribe");
            if fields.rest().len() == options {
                call.destination = Some(self.text(topic));
                // A group shares what is sent to it.
                let group = topic.strip_prefix("$share/").and_then(|it| it.split_once('/'));
                call.group = group.map(|(group, _)| self.text(group));
            }
        }
        pending.ask(Side::Requests, pending.draft(unit), key, call);
        Some(())
    }
}

fn version_name(version: u8) -> &'static str {
    match version {
        3 => "3.1",
        4 => "3.1.1",
        _ => "5.0",
    }
}

impl Correlated for Mqtt {
    type Key = Key;
    type Call = MessagingCall;

    fn head(&self, side: Side, bytes: &[u8]) -> Head {
        match packet::start(side, bytes) {
            Start::More => Head::More,
            Start::Broken => Head::Broken,
            Start::Whole { head_bytes, body_bytes, .. } => {
                Head::Whole { len: head_bytes, body: body_bytes.into(), keep: self.keep }
            }
        }
    }

    fn message(&mut self, side: Side, unit: &Unit<'_>, pending: &mut Waits) -> Read {
        let Start::Whole { kind, .. } = packet::start(side, unit.head) else { return Read::Broken };
        // Of what was not copied, nobody knows what it has answered.
        self.read(side, kind, unit, pending).map_or(Read::Broken, |()| Read::Understood)
    }

    fn resume(&self, side: Side, bytes: &[u8], pending: &Waits) -> Option<usize> {
        packets_all(side, bytes, pending).then_some(0)
    }

    fn held_bytes(&self) -> usize {
        self.aliases.held_bytes()
    }

    fn forget(&mut self, side: Side) {
        let of_client = side == Side::Requests;
        self.aliases.retain(|(from_client, _)| *from_client != of_client);
    }
}

/// The bytes are packets from the first to the last, of which the last may go on; a single one has
/// to say more for itself than a few bits.
fn packets_all(side: Side, bytes: &[u8], pending: &Waits) -> bool {
    let (mut rest, mut evidence) = (bytes, 0);
    while !rest.is_empty() {
        let Start::Whole { kind, head_bytes, body_bytes } = packet::start(side, rest) else {
            return evidence > 1 && packet::start(side, rest) == Start::More;
        };
        let body = rest.get(head_bytes..).unwrap_or_default();
        let mut fields = Fields::new(body);
        evidence += match kind {
            Kind::Publish { .. } => match fields.text() {
                Some(topic)
                    if topic.contains(['+', '#']) || topic.chars().any(char::is_control) =>
                {
                    return false;
                }
                Some(topic) if !topic.is_empty() => 2,
                _ => 0,
            },
            Kind::Ping | Kind::Pong => 1 + u8::from(bytes.len() == 2),
            Kind::Acknowledged
            | Kind::Received
            | Kind::Complete
            | Kind::Subscribed
            | Kind::Unsubscribed => {
                let known = fields.u16().is_some_and(|id| pending.waits(&Key::of_other(side, id)));
                if known { 2 } else { 0 }
            }
            Kind::Subscribe | Kind::Connect => 1,
            _ => 0,
        };
        let behind = usize::try_from(body_bytes).ok().and_then(|len| body.get(len..));
        let Some(behind) = behind else { return evidence > 1 };
        rest = behind;
    }
    evidence > 1
}
