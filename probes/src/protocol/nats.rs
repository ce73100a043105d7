//! NATS: messages that are published and delivered, requests with their replies, and what clients
//! ask JetStream for.
//!
//! Invariants: a reply goes to the request whose inbox it names; a delivery is told when it has
//! passed, since nothing says when its consumer is through; who publishes waits only for what its
//! server has to say; credentials are kept in no form.

mod head;
mod jetstream;
mod line;
mod look;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use head::Headers;
use jetstream::{Acknowledged, Outcome};
use line::{Line, Message, Operation};
pub(super) use look::look;

use super::dialogue::{Correlated, Correlation, Head, Pending, Read, Side, Unit};
use super::prepared::{Behind, Recent};
use super::{Detail, Handling, Limits, MessagingCall, Protocol, Role};

/// Payload that is looked at: an answer of the server's own is short.
const LOOKED_AT_BYTES_MAX: usize = 512;
/// Inboxes that libraries make up.
const INBOX: &[u8] = b"_INBOX.";
/// There was nothing (more) to fetch.
const NOTHING: [&str; 2] = ["404", "408"];
/// The server is there, and nothing else.
const IDLE: &str = "100";

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    let nats = Nats {
        headers_keep: limits.head_bytes_max,
        keep: LOOKED_AT_BYTES_MAX.max(limits.body_bytes_max),
        patience: limits.answer_nanos_max,
        client: None,
        subscriptions: Recent::new(limits.prepared_max),
        unacknowledged: Recent::new(limits.pending_max),
        confirmed: None,
    };
    Box::new(Correlation::new(nats, &limits, role, from_start))
}

/// What is known of a connection.
#[derive(Debug)]
struct Nats {
    headers_keep: usize,
    keep: usize,
    patience: u64,
    client: Option<String>,
    /// By the client's name for them.
    subscriptions: Recent<Vec<u8>, Subscription>,
    /// Subjects of messages that JetStream has delivered, by where to acknowledge them.
    unacknowledged: Recent<Vec<u8>, String>,
    /// The server confirms every operation: how many there were, and how many it has confirmed.
    confirmed: Option<[u64; 2]>,
}

#[derive(Debug)]
struct Subscription {
    subject: Vec<u8>,
    group: Option<String>,
}

impl Behind for Subscription {
    fn behind_bytes(&self) -> usize {
        self.subject.len() + self.group.as_ref().map_or(0, String::len)
    }
}

/// What an answer names.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// The first sign of life behind `CONNECT`.
    Connect,
    /// A message to this subject.
    Reply(Vec<u8>),
    /// The confirmation with this number.
    Confirmed(u64),
}

type Waits = Pending<Key, MessagingCall>;

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text(text: &str) -> Detail {
    Detail::Text(text.to_owned())
}

impl Nats {
    fn call(&self, operation: &'static str, subject: Option<&[u8]>) -> MessagingCall {
        MessagingCall {
            system: "nats",
            operation,
            destination: subject.map(lossy),
            temporary: subject.is_some_and(|subject| subject.starts_with(INBOX)),
            client: self.client.clone(),
            ..MessagingCall::default()
        }
    }

    /// An operation that is answered only where the server confirms all of them.
    fn tell(&mut self, unit: &Unit<'_>, call: MessagingCall, pending: &mut Waits) {
        let draft = pending.draft(unit);
        match self.number() {
            Some(number) => {
                pending.ask(Side::Requests, draft, Key::Confirmed(number), call);
            }
            None => pending.told(Side::Requests, draft, call),
        }
    }

    /// The number of the confirmation that an operation will have.
    fn number(&mut self) -> Option<u64> {
        let [asked, _] = self.confirmed.as_mut()?;
        *asked += 1;
        Some(*asked - 1)
    }

    fn request(&mut self, unit: &Unit<'_>, operation: Operation<'_>, pending: &mut Waits) {
        match operation {
            Operation::Connect(json) => self.connect(unit, json, pending),
            Operation::Message(message) => self.publish(unit, message, pending),
            Operation::Subscribe { subject, group, sid } => {
                let group = group.map(lossy);
                let mut call = self.call("subscribe", Some(subject));
                call.group.clone_from(&group);
                let subscription = Subscription { subject: subject.to_vec(), group };
                self.subscriptions.insert(sid.to_vec(), subscription);
                self.tell(unit, call, pending);
            }
            Operation::Unsubscribe { sid, later } => {
                let known = self.subscriptions.get(&sid.to_vec());
                let subject = known.map(|known| known.subject.clone());
                let mut call = self.call("unsubscribe", subject.as_deref());
                call.group = known.and_then(|known| known.group.clone());
                if !later {
                    self.subscriptions.remove(&sid.to_vec());
                }
                self.tell(unit, call, pending);
            }
            _ => {}
        }
    }

    fn connect(&mut self, unit: &Unit<'_>, json: &[u8], pending: &mut Waits) {
        let options: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
        let name = options.get("name").and_then(|name| name.as_str());
        self.client = name.filter(|name| !name.is_empty()).map(str::to_owned);
        let verbose = options.get("verbose").and_then(serde_json::Value::as_bool);
        self.confirmed = (verbose == Some(true)).then_some([1, 0]);
        let mut call = self.call("connect", None);
        for (name, key) in
            [("lang", "icecore.nats.client.language"), ("version", "icecore.nats.client.version")]
        {
            let value = options.get(name).and_then(|value| value.as_str());
            call.details.extend(value.map(|value| (key, text(value))));
        }
        let draft = pending.draft(unit).without_content();
        pending.ask(Side::Requests, draft, Key::Connect, call);
    }

    fn publish(&mut self, unit: &Unit<'_>, message: Message<'_>, pending: &mut Waits) {
        let Message { subject, reply, .. } = message;
        let mut call = self.call("publish", Some(subject));
        call.handling = Some(Handling::Send);
        learn(&mut call, unit, &message);
        if let Some(acknowledged) = Acknowledged::read(subject) {
            call.operation = jetstream::word(payload(unit, &message));
            call.handling = Some(Handling::Settle);
            call.destination = self.unacknowledged.get(&subject.to_vec()).cloned();
            call.body_bytes = None;
            acknowledged.tell(&mut call);
            if call.operation != "in_progress" {
                self.unacknowledged.remove(&subject.to_vec());
            }
        } else if jetstream::is_fetch(subject) {
            (call.operation, call.handling) = ("fetch", Some(Handling::Receive));
        } else if reply.is_some() {
            call.operation = "request";
        }
        let fetches = call.operation == "fetch";
        let Some(inbox) = reply.filter(|reply| self.is_own(reply, fetches)) else {
            if call.operation == "request" {
                // Whoever gets the reply is not on this connection.
                call.operation = "publish";
            }
            return self.tell(unit, call, pending);
        };
        self.number();
        let draft = pending.draft(unit);
        pending.ask(Side::Requests, draft, Key::Reply(inbox.to_vec()), call);
    }

    /// What is sent to this subject comes back on this connection. What is fetched is known by its
    /// subscription only.
    fn is_own(&self, subject: &[u8], fetches: bool) -> bool {
        !fetches && subject.starts_with(INBOX)
            || self.subscriptions.values().any(|one| matches(&one.subject, subject))
    }

    fn answer(&mut self, unit: &Unit<'_>, operation: Operation<'_>, pending: &mut Waits) -> Read {
        match operation {
            Operation::Info(json) if jetstream::flag(json, b"\"tls_required\":") => {
                return Read::Last;
            }
            Operation::Pong => Self::connected(unit, None, pending),
            Operation::Fine => self.confirm(unit, None, pending),
            Operation::Error(said) => self.complain(unit, said, pending),
            Operation::Message(message) => self.deliver(unit, message, pending),
            _ => {}
        }
        Read::Understood
    }

    fn connected(unit: &Unit<'_>, error: Option<String>, pending: &mut Waits) {
        if let Some(open) = pending.answer(&Key::Connect, unit) {
            open.call.error = error;
            pending.finish(&Key::Connect);
        }
    }

    /// The next of the operations that the server confirms is through.
    fn confirm(&mut self, unit: &Unit<'_>, error: Option<String>, pending: &mut Waits) {
        let Some([_, done]) = self.confirmed.as_mut() else { return };
        let number = *done;
        *done += 1;
        if number == 0 {
            return Self::connected(unit, error, pending);
        }
        let key = Key::Confirmed(number);
        if let Some(open) = pending.answer(&key, unit) {
            open.call.error = error;
            pending.finish(&key);
        }
    }

    /// The server does not say what it complains of, but to whom it has confirmed all before.
    fn complain(&mut self, unit: &Unit<'_>, said: &[u8], pending: &mut Waits) {
        let said = lossy(said);
        let said = said.trim_matches('\'');
        let (what, subject) = match said.split_once(" for ") {
            Some((what, of)) => (what, of.split('"').nth(1)),
            None => (said, None),
        };
        let error = Some(what.to_owned());
        if pending.waits(&Key::Connect) {
            return Self::connected(unit, error, pending);
        }
        if self.confirmed.is_some_and(|[_, done]| pending.waits(&Key::Confirmed(done))) {
            return self.confirm(unit, error, pending);
        }
        let subject = subject.map(str::as_bytes);
        let call = MessagingCall { error, pushed: true, ..self.call("error", subject) };
        pending.told(Side::Responses, pending.draft(unit), call);
    }

    fn deliver(&mut self, unit: &Unit<'_>, message: Message<'_>, pending: &mut Waits) {
        let Message { subject, sid, reply, .. } = message;
        let headers = headers(unit, &message);
        let key = Key::Reply(subject.to_vec());
        if pending.waits(&key) {
            reply_to(&key, unit, payload(unit, &message), &headers, pending);
            return;
        }
        if subject.starts_with(INBOX) {
            // A second reply, or one to a request that was not seen.
            return pending.unasked();
        }
        self.fetched(unit, sid, pending);
        if headers.status.is_some() {
            // Signs of life, and ends of what was fetched before.
            return;
        }
        let mut call = self.call("deliver", Some(subject));
        (call.handling, call.pushed) = (Some(Handling::Process), true);
        learn(&mut call, unit, &message);
        if let Some(one) = self.subscriptions.get(&sid.to_vec()) {
            call.group.clone_from(&one.group);
            if one.subject != subject && !one.subject.starts_with(INBOX) {
                let pattern = Detail::Text(lossy(&one.subject));
                call.details.push(("messaging.destination.subscription.name", pattern));
            }
        }
        if let Some((reply, how)) =
            reply.and_then(|reply| Some((reply, Acknowledged::read(reply)?)))
        {
            how.tell(&mut call);
            self.unacknowledged.insert(reply.to_vec(), lossy(subject));
        }
        pending.told(Side::Responses, pending.draft(unit), call);
    }

    /// What was fetched comes under its own subject, for the subscription to the inbox.
    fn fetched(&mut self, unit: &Unit<'_>, sid: &[u8], pending: &mut Waits) {
        let Some(one) = self.subscriptions.get(&sid.to_vec()) else { return };
        if !one.subject.starts_with(INBOX) {
            return;
        }
        let fetch = |key: &Key, waiting: &MessagingCall| match key {
            Key::Reply(inbox) => waiting.operation == "fetch" && matches(&one.subject, inbox),
            _ => false,
        };
        let Some(Key::Reply(inbox)) = pending.find_by(fetch) else { return };
        let key = Key::Reply(inbox.clone());
        pending.answer(&key, unit);
        pending.finish(&key);
    }
}

/// The answer to a request has come.
fn reply_to(
    key: &Key,
    unit: &Unit<'_>,
    payload: &[u8],
    headers: &Headers<'_>,
    pending: &mut Waits,
) {
    // A consumer without messages says so, and may say more.
    if headers.status == Some(IDLE) {
        return;
    }
    let Some(open) = pending.answer(key, unit) else { return };
    let call = &mut open.call;
    let fetches = call.operation == "fetch";
    let status = headers.status.filter(|status| !(fetches && NOTHING.contains(status)));
    if fetches && headers.status.is_some() {
        call.messages = Some(0);
    }
    call.error = status.or(headers.error).map(str::to_owned);
    match Outcome::read(payload) {
        Some(Outcome::Stored { sequence }) => {
            call.operation = "publish";
            call.details.push(("icecore.nats.stream.sequence", Detail::Number(sequence)));
        }
        Some(Outcome::NotStored(code)) => {
            call.operation = "publish";
            call.error = Some(code);
        }
        Some(Outcome::Refused(code)) => call.error = Some(code),
        // What went wrong may stand in what was not copied.
        None if unit.holed => return pending.finish_unseen(key),
        None => {}
    }
    pending.finish(key);
}

/// What is kept of the headers of a message.
fn headers<'a>(unit: &Unit<'a>, message: &Message<'_>) -> Headers<'a> {
    let len = usize::try_from(message.header_bytes).unwrap_or(usize::MAX);
    Headers::read(unit.body.get(..len).unwrap_or_default())
}

/// What is kept of the payload of a message.
fn payload<'a>(unit: &Unit<'a>, message: &Message<'_>) -> &'a [u8] {
    let len = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let end = len(message.bytes).min(unit.body.len());
    unit.body.get(len(message.header_bytes)..end).unwrap_or_default()
}

/// What every message says of itself.
fn learn(call: &mut MessagingCall, unit: &Unit<'_>, message: &Message<'_>) {
    let headers = headers(unit, message);
    call.body_bytes = Some(message.bytes - message.header_bytes);
    let conversation = message.reply.filter(|reply| Acknowledged::read(reply).is_none());
    let inbox = call.temporary.then_some(message.subject);
    if let Some(id) = conversation.or(inbox) {
        call.details.push(("messaging.message.conversation_id", Detail::Text(lossy(id))));
    }
    call.details.extend(headers.id.map(|id| ("messaging.message.id", text(id))));
    let header = |name: &str, value: Option<&str>| value.map(|it| (name.into(), it.into()));
    call.headers.extend(header("traceparent", headers.traceparent));
    call.headers.extend(header("tracestate", headers.tracestate));
}

/// A subject is one of those that a subscription is for.
fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let mut tokens = subject.split(|byte| *byte == b'.');
    for wanted in pattern.split(|byte| *byte == b'.') {
        match tokens.next() {
            Some(_) if wanted == b">" => return true,
            Some(token) if wanted == b"*" || wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

impl Correlated for Nats {
    type Key = Key;
    type Call = MessagingCall;

    fn head(&self, side: Side, bytes: &[u8]) -> Head {
        match line::read(side, bytes) {
            Line::More => Head::More,
            Line::Broken => Head::Broken,
            Line::Whole(operation, len) => {
                let headers = match operation {
                    Operation::Message(message) => message.header_bytes,
                    _ => 0,
                };
                let headers = usize::try_from(headers).unwrap_or(usize::MAX);
                let keep = headers.min(self.headers_keep).saturating_add(self.keep);
                Head::Whole { len, body: operation.behind(), keep }
            }
        }
    }

    fn message(&mut self, side: Side, unit: &Unit<'_>, pending: &mut Waits) -> Read {
        let Line::Whole(operation, _) = line::read(side, unit.head) else { return Read::Broken };
        let kept_whole = unit.body.len() as u64 == operation.behind();
        if kept_whole && operation.behind() > 0 && !unit.body.ends_with(line::END) {
            return Read::Broken;
        }
        match side {
            Side::Requests => {
                self.request(unit, operation, pending);
                Read::Understood
            }
            Side::Responses => self.answer(unit, operation, pending),
        }
    }

    fn resume(&self, side: Side, bytes: &[u8], _: &Waits) -> Option<usize> {
        let certain = |at: &usize| {
            let rest = bytes.get(*at..).unwrap_or_default();
            match look::begins(side, rest) {
                look::Begins::Yes => true,
                // Whoever reads little at a time begins with a line all the same.
                look::Begins::Perhaps => *at == 0 && look::is_message(side, rest),
                look::Begins::No => false,
            }
        };
        let ends = memchr::memmem::find_iter(bytes, line::END).map(|at| at + line::END.len());
        std::iter::once(0).chain(ends.take(LINES_MAX)).find(certain)
    }

    fn held_bytes(&self) -> usize {
        self.subscriptions.held_bytes() + self.unacknowledged.held_bytes()
    }

    fn forget(&mut self, _side: Side) {
        self.confirmed = None;
    }

    fn patience(&self, waiting: &MessagingCall, doubtful: bool) -> Option<u64> {
        // Whoever fetches says how long it waits, and is told when that is over.
        let replies = waiting.handling == Some(Handling::Send);
        (replies || doubtful).then_some(self.patience)
    }
}

/// Ends of lines of one segment at which a message is looked for after a loss.
const LINES_MAX: usize = 64;
