//! Redis: RESP2 and RESP3, inline commands, pipelines, pushes.
//!
//! Invariants: what the server sends unasked (messages, invalidations, monitored commands) is never
//! taken for a reply; credentials are kept in no form.

mod command;
mod look;
mod reply;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use command::{Command, Commands};
pub(super) use look::look;
use reply::{Replies, Reply};

use super::dialogue::{Call, Dialogue, Draft, Grammar, Head, Queue, Read, Side, Unit};
use super::{DatabaseCall, Limits, Protocol, Role, Said, Statements};

/// More digits than a length that can be sent.
const LENGTH_BYTES_MAX: usize = 24;
/// What is looked at of a value: enough for names of commands, of channels' kinds, and of errors.
const NAME_BYTES_MAX: usize = 64;

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    let redis = Redis::new(&limits, from_start);
    Box::new(Dialogue::new(redis, &limits, role, from_start))
}

/// What is known of a connection.
#[derive(Debug)]
struct Redis {
    keep: usize,
    whole: bool,
    value_bytes_max: usize,
    commands: Commands,
    replies: Replies,
    /// The number of the database, where it is certain.
    namespace: Option<String>,
    resp3: bool,
    subscribed: Subscribed,
    monitored: bool,
    muted: Muted,
}

/// Subscriptions, as the server counts them.
#[derive(Debug, Clone, Copy, Default)]
struct Subscribed {
    channels: u64,
    patterns: u64,
    shards: u64,
}

/// The server was told not to reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Muted {
    No,
    Next,
    Yes,
}

/// A command that waits for its reply.
#[derive(Debug)]
struct Waiting {
    call: DatabaseCall,
    kind: Kind,
}

/// What a command means for the connection, if it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Plain,
    Select(String),
    Hello {
        resp3: bool,
    },
    Reset,
    Monitor,
    /// So many confirmations follow; none: as many as there are subscriptions of its kind.
    Subscribe {
        left: Option<u64>,
    },
}

impl Call for Waiting {
    fn said(self) -> Option<Said> {
        Some(Said::Database(self.call))
    }

    fn behind_bytes(&self) -> usize {
        self.call.behind_bytes()
    }
}

impl Redis {
    fn new(limits: &Limits, from_start: bool) -> Self {
        let whole = limits.statements == Statements::Whole;
        let text_bytes_max = if whole { limits.value_bytes_max } else { 0 };
        Self {
            keep: NAME_BYTES_MAX.max(limits.body_bytes_max).max(text_bytes_max),
            whole,
            value_bytes_max: limits.value_bytes_max,
            commands: Commands::default(),
            replies: Replies::default(),
            namespace: from_start.then(|| "0".to_owned()),
            resp3: false,
            subscribed: Subscribed::default(),
            monitored: false,
            muted: Muted::No,
        }
    }

    /// A command is whole.
    fn ask(&mut self, command: Command, queue: &mut Queue<Waiting>) -> Read {
        let name = command.name();
        if matches!(name.as_str(), "PSYNC" | "SYNC") {
            // From here on the server sends the commands.
            return Read::Last;
        }
        let kind = kind(&name, &command);
        let call = DatabaseCall {
            system: "redis",
            text: Some(command.text(self.whole, self.value_bytes_max)),
            operation: (!name.is_empty()).then_some(name),
            namespace: self.namespace.clone(),
            ..DatabaseCall::default()
        };
        let mute = command.reply_mode();
        let unanswered = match (self.muted, mute) {
            (_, Some(mode)) => {
                self.muted = mode;
                mode != Muted::No
            }
            (Muted::No, None) => false,
            (Muted::Next, None) => {
                self.muted = Muted::No;
                true
            }
            (Muted::Yes, None) => true,
        };
        let waiting = Waiting { call, kind };
        let draft = command.draft();
        if unanswered {
            queue.told(draft, waiting);
        } else {
            queue.ask(draft, waiting);
        }
        Read::Understood
    }

    /// A reply or a push is whole.
    fn take(&mut self, reply: Reply, queue: &mut Queue<Waiting>) {
        let confirms = reply.confirms();
        let waits_for_confirmation =
            queue.front().is_some_and(|front| matches!(front.call.kind, Kind::Subscribe { .. }));
        if let (Some(confirmed), true) = (confirms, waits_for_confirmation) {
            return self.confirm(confirmed, reply, queue);
        }
        if self.is_push(&reply, confirms.is_some(), queue.len() == 0) {
            return;
        }
        let Some(front) = queue.front() else { return queue.unasked() };
        front.call.call.status = reply.error();
        let succeeded = front.call.call.status.is_none();
        if succeeded && !reply.is_queued() {
            let kind = front.call.kind.clone();
            self.apply(kind);
        }
        queue.answered(reply.draft());
        queue.finish();
    }

    fn is_push(&mut self, reply: &Reply, confirms: bool, nobody_waits: bool) -> bool {
        if reply.is_push() {
            self.resp3 = true;
            return true;
        }
        let subscriber = self.subscribed.any() && !self.resp3;
        if (subscriber || nobody_waits) && (reply.is_message() || confirms) {
            return true;
        }
        self.monitored && reply.is_monitored()
    }

    fn apply(&mut self, kind: Kind) {
        match kind {
            Kind::Plain | Kind::Subscribe { .. } => {}
            Kind::Select(database) => self.namespace = Some(database),
            Kind::Hello { resp3 } => self.resp3 = resp3,
            Kind::Monitor => self.monitored = true,
            Kind::Reset => {
                self.namespace = Some("0".to_owned());
                (self.resp3, self.monitored) = (false, false);
                self.subscribed = Subscribed::default();
            }
        }
    }

    /// One of the confirmations of the command in front has come.
    fn confirm(&mut self, confirmed: Confirmed, reply: Reply, queue: &mut Queue<Waiting>) {
        let before = self.subscribed.of(confirmed.family);
        self.subscribed.note(confirmed);
        let Some(front) = queue.front() else { return };
        let Kind::Subscribe { left } = &mut front.call.kind else { return };
        let still = left.unwrap_or(before.max(1)).saturating_sub(1);
        *left = Some(still);
        queue.answered(reply.draft());
        if still == 0 {
            queue.finish();
        }
    }
}

/// The three kinds of subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Channel,
    Pattern,
    Shard,
}

/// A confirmation: a subscription more, or one less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Confirmed {
    family: Family,
    /// Subscriptions to channels and patterns together, or to shards.
    total: u64,
}

impl Subscribed {
    fn any(self) -> bool {
        self.channels + self.patterns + self.shards > 0
    }

    fn of(self, family: Family) -> u64 {
        match family {
            Family::Channel => self.channels,
            Family::Pattern => self.patterns,
            Family::Shard => self.shards,
        }
    }

    fn note(&mut self, Confirmed { family, total }: Confirmed) {
        match family {
            Family::Channel => self.channels = total.saturating_sub(self.patterns),
            Family::Pattern => self.patterns = total.saturating_sub(self.channels),
            Family::Shard => self.shards = total,
        }
    }
}

fn kind(name: &str, command: &Command) -> Kind {
    match name {
        "SELECT" => Kind::Select(command.argument(1)),
        "HELLO" if command.count() > 1 => Kind::Hello { resp3: command.argument(1) == "3" },
        "RESET" => Kind::Reset,
        "MONITOR" => Kind::Monitor,
        "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE"
        | "SUNSUBSCRIBE" => {
            let named = command.count().saturating_sub(1);
            Kind::Subscribe { left: (named > 0).then_some(named) }
        }
        _ => Kind::Plain,
    }
}

impl Grammar for Redis {
    type Call = Waiting;

    fn head(&self, side: Side, bytes: &[u8]) -> Head {
        match (side, bytes.first()) {
            (_, None) => Head::More,
            (Side::Requests, Some(b'$')) if self.commands.in_array() => bulk(bytes, self.keep),
            (Side::Requests, Some(_)) if self.commands.in_array() => Head::Broken,
            (Side::Requests, Some(b'*')) => line(bytes, LENGTH_BYTES_MAX),
            (Side::Requests, Some(byte)) if byte.is_ascii_graphic() || b"\r\n".contains(byte) => {
                inline(bytes)
            }
            (Side::Requests, Some(_)) => Head::Broken,
            (Side::Responses, Some(b'$' | b'!' | b'=')) => bulk(bytes, self.keep),
            (Side::Responses, Some(b'+' | b'-')) => line(bytes, usize::MAX),
            (Side::Responses, Some(b'(' | b',')) => line(bytes, 1 << 10),
            (Side::Responses, Some(b':' | b'_' | b'#' | b'*' | b'%' | b'~' | b'>' | b'|')) => {
                line(bytes, LENGTH_BYTES_MAX)
            }
            (Side::Responses, Some(_)) => Head::Broken,
        }
    }

    fn request(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        let room = if self.whole { self.value_bytes_max } else { NAME_BYTES_MAX * 4 };
        match self.commands.take(unit, queue.captured_max(), room) {
            Some(Some(command)) => self.ask(command, queue),
            Some(None) => Read::Understood,
            None => Read::Broken,
        }
    }

    fn response(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        match self.replies.take(unit, queue.captured_max()) {
            Some(Some(reply)) => {
                self.take(reply, queue);
                Read::Understood
            }
            Some(None) => Read::Understood,
            None => Read::Broken,
        }
    }

    fn begins_request(&self, bytes: &[u8]) -> bool {
        look::begins_command(bytes) == look::Begins::Command
    }

    fn forget(&mut self) {
        self.commands = Commands::default();
        self.replies = Replies::default();
        self.namespace = None;
        self.muted = Muted::No;
    }
}

/// A line, and nothing behind it. Longer than `bytes_max`: broken.
fn line(bytes: &[u8], bytes_max: usize) -> Head {
    match memchr::memchr(b'\n', bytes) {
        Some(end) if end < bytes_max && end > 1 && bytes.get(end - 1) == Some(&b'\r') => {
            Head::Whole { len: end + 1, body: 0, keep: 0 }
        }
        Some(_) => Head::Broken,
        None if bytes.len() >= bytes_max => Head::Broken,
        None => Head::More,
    }
}

/// A length, so many bytes, and a line end.
fn bulk(bytes: &[u8], keep: usize) -> Head {
    match line(bytes, LENGTH_BYTES_MAX) {
        Head::Whole { len, .. } => match bytes.get(1..len).and_then(number) {
            Some(-1) => Head::Whole { len, body: 0, keep: 0 },
            Some(length) => match u64::try_from(length) {
                Ok(length) if length <= 1 << 40 => Head::Whole { len, body: length + 2, keep },
                _ => Head::Broken,
            },
            None => Head::Broken,
        },
        other => other,
    }
}

/// A command as people type it.
fn inline(bytes: &[u8]) -> Head {
    match memchr::memchr(b'\n', bytes) {
        Some(end) => Head::Whole { len: end + 1, body: 0, keep: 0 },
        None => Head::More,
    }
}

/// A whole number with its line end.
fn number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes.trim_ascii_end()).ok()?.parse().ok()
}
