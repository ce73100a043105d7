//! Kafka: requests and answers by number, plain and flexible versions, batches of records.
//!
//! Invariants: a request that wants no answer waits for none; what an answer holds is read by the
//! version of its request; credentials are kept in no form.

mod api;
mod body;
mod error;
mod field;
mod look;
mod records;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::Api;
use body::{About, Topic};
use field::Fields;
pub(super) use look::look;
use records::Single;

use super::dialogue::{Call, Correlated, Correlation, Head, Pending, Read, Side, Unit};
use super::prepared::Recent;
use super::{Detail, Limits, MessagingCall, Protocol, Role, Said, Statements};

/// Size, kind, version and number of a request.
const HEAD_BYTES: usize = 12;
/// Size and number of an answer.
const ANSWER_HEAD_BYTES: usize = 8;
/// Brokers take less.
const MESSAGE_BYTES_MAX: i32 = 1 << 30;
/// Newer versions than any kind has.
const VERSION_MAX: i16 = 24;

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    let kafka = Kafka {
        keep: limits.head_bytes_max.max(limits.body_bytes_max),
        whole: limits.statements == Statements::Whole,
        text_bytes_max: limits.value_bytes_max,
        topics: Recent::new(limits.prepared_max),
    };
    Box::new(Correlation::new(kafka, &limits, role, from_start))
}

/// What is known of a connection.
#[derive(Debug)]
struct Kafka {
    keep: usize,
    /// Keys of records are kept.
    whole: bool,
    text_bytes_max: usize,
    /// The topics that have been named by number.
    topics: Recent<[u8; 16], String>,
}

/// The head of a request.
#[derive(Debug, Clone, Copy)]
struct Ask {
    api: &'static Api,
    version: i16,
    correlation: i32,
    body_bytes: u64,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Waiting {
    call: MessagingCall,
    asked: Ask,
}

impl Call for Waiting {
    fn said(self) -> Option<Said> {
        Some(Said::Messaging(self.call))
    }
}

/// The head of a request; none where it is none.
fn ask(head: [u8; HEAD_BYTES]) -> Option<Ask> {
    let mut fields = Fields::new(&head, false);
    let (size, api) = (fields.i32()?, Api::of(fields.i16()?)?);
    let (version, correlation) = (fields.i16()?, fields.i32()?);
    let fits = (10..=MESSAGE_BYTES_MAX).contains(&size);
    let known = (0..=VERSION_MAX).contains(&version) && correlation >= 0;
    let body_bytes = u64::try_from(size).ok()?.checked_sub(8)?;
    (fits && known).then_some(Ask { api, version, correlation, body_bytes })
}

impl Kafka {
    fn request(&mut self, unit: &Unit<'_>, pending: &mut Pending<i32, Waiting>) -> Option<()> {
        let asked = ask(*unit.head.first_chunk()?)?;
        let Ask { api, version, correlation, .. } = asked;
        let mut fields = Fields::new(unit.body, false);
        // The name of the client is never compact.
        let client = fields.text().flatten().map(str::to_owned);
        let mut fields = fields.flexible(api.flexible(version));
        let about = match fields.tags() {
            Some(()) => body::request(api, version, fields),
            None => About::default(),
        };
        let mut call = MessagingCall {
            system: "kafka",
            operation: api.operation(),
            handling: api.handling(),
            destination: about.topic.and_then(|topic| self.name(topic)),
            partition: about.partition.map(|partition| partition.to_string()),
            group: about.group.map(str::to_owned),
            client,
            messages: about.count,
            details: vec![
                ("icecore.kafka.api.name", Detail::Text(api.name.to_owned())),
                ("icecore.kafka.api.version", Detail::Number(i64::from(version))),
            ],
            ..MessagingCall::default()
        };
        if let (Some(Topic::Numbered(number)), None) = (about.topic, &call.destination) {
            let number = format!("{:032x}", u128::from_be_bytes(number));
            call.details.push(("icecore.kafka.topic.id", Detail::Text(number)));
        }
        let offset = about.offset.map(Detail::Number);
        call.details.extend(offset.map(|offset| ("messaging.kafka.offset", offset)));
        let single = about.records.as_ref().and_then(|records| records.single.as_ref());
        if let Some(single) = single {
            self.tell(single, &mut call);
        }
        let mut draft = pending.draft(unit);
        if api.key == api::SASL_AUTHENTICATE {
            draft = draft.without_content();
        }
        let waiting = Waiting { call, asked };
        if about.unanswered {
            pending.told(Side::Requests, draft, waiting);
        } else {
            pending.ask(Side::Requests, draft, correlation, waiting);
        }
        Some(())
    }

    /// What a single record says of itself.
    fn tell(&self, single: &Single<'_>, call: &mut MessagingCall) {
        call.body_bytes = single.value_bytes;
        if single.value_bytes.is_none() {
            call.details
                .push(("messaging.kafka.message.tombstone", Detail::Text("true".to_owned())));
        }
        if let Some(key) = single.key.filter(|_| self.whole) {
            let mut key = String::from_utf8_lossy(key).into_owned();
            key.truncate(key.floor_char_boundary(self.text_bytes_max));
            call.details.push(("messaging.kafka.message.key", Detail::Text(key)));
        }
        let header =
            |name: &str, value: Option<&str>| value.map(|value| (name.into(), value.into()));
        call.headers.extend(header("traceparent", single.traceparent));
        call.headers.extend(header("tracestate", single.tracestate));
    }

    fn name(&self, topic: Topic<'_>) -> Option<String> {
        match topic {
            Topic::Named(name) => Some(name.to_owned()),
            Topic::Numbered(number) => self.topics.get(&number).cloned(),
        }
    }

    fn answer(&mut self, unit: &Unit<'_>, pending: &mut Pending<i32, Waiting>) -> Option<()> {
        let (_, correlation) = look::answer_head(*unit.head.first_chunk()?);
        let Some(asked) = pending.find(&correlation).map(|open| open.call.asked) else {
            pending.unasked();
            return Some(());
        };
        let Ask { api, version, .. } = asked;
        let secret = api.key == api::SASL_AUTHENTICATE;
        let shown = Unit { body: if secret { &[] } else { unit.body }, ..*unit };
        let mut fields = Fields::new(unit.body, api.tagged_answer(version));
        fields.tags();
        let topics = &mut self.topics;
        let about =
            body::answer(api, version, fields.flexible(api.flexible(version)), |number, name| {
                topics.insert(number, name.to_owned())
            });
        let topic = about.topic.and_then(|topic| self.name(topic));
        let waiting = &mut pending.answer(&correlation, &shown)?.call;
        waiting.learn(topic, &about);
        if let Some(single) = about.records.as_ref().and_then(|records| records.single.as_ref()) {
            self.tell(single, &mut waiting.call);
        }
        pending.finish(&correlation);
        Some(())
    }
}

impl Waiting {
    /// What an answer adds to what its request said.
    fn learn(&mut self, topic: Option<String>, about: &About<'_>) {
        let call = &mut self.call;
        if call.destination.is_none() {
            call.destination = topic;
        }
        if call.partition.is_none() {
            call.partition = about.partition.map(|partition| partition.to_string());
        }
        call.messages = call.messages.or(about.count);
        call.error = error::name(about.error);
        let known = call.details.iter().any(|(key, _)| *key == "messaging.kafka.offset");
        if let Some(offset) = about.offset.filter(|_| !known) {
            call.details.push(("messaging.kafka.offset", Detail::Number(offset)));
        }
    }
}

impl Correlated for Kafka {
    type Key = i32;
    type Call = Waiting;

    fn head(&self, side: Side, bytes: &[u8]) -> Head {
        match side {
            Side::Requests => match bytes.first_chunk::<HEAD_BYTES>() {
                None => Head::More,
                Some(head) => match ask(*head) {
                    Some(asked) => {
                        Head::Whole { len: HEAD_BYTES, body: asked.body_bytes, keep: self.keep }
                    }
                    None => Head::Broken,
                },
            },
            Side::Responses => match bytes.first_chunk::<ANSWER_HEAD_BYTES>() {
                None => Head::More,
                Some(head) => match look::answer_head(*head) {
                    (size, _) if look::fits(size) => Head::Whole {
                        len: ANSWER_HEAD_BYTES,
                        body: u64::try_from(size - 4).unwrap_or(0),
                        keep: self.keep,
                    },
                    _ => Head::Broken,
                },
            },
        }
    }

    fn message(
        &mut self,
        side: Side,
        unit: &Unit<'_>,
        pending: &mut Pending<i32, Waiting>,
    ) -> Read {
        let read = match side {
            Side::Requests => self.request(unit, pending),
            Side::Responses => self.answer(unit, pending),
        };
        read.map_or(Read::Broken, |()| Read::Understood)
    }

    fn resume(&self, side: Side, bytes: &[u8], pending: &Pending<i32, Waiting>) -> Option<usize> {
        let begins = match side {
            Side::Requests => matches!(look::begins_request(bytes), look::Begins::Yes(_)),
            Side::Responses => bytes.first_chunk().is_some_and(|head| {
                let (size, correlation) = look::answer_head(*head);
                look::fits(size) && pending.waits(&correlation)
            }),
        };
        begins.then_some(0)
    }

    fn held_bytes(&self) -> usize {
        self.topics.held_bytes()
    }

    fn forget(&mut self, _side: Side) {}
}
