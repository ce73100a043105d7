//! PostgreSQL, version 3 of its protocol: simple and extended queries, prepared ones, pipelines,
//! copies, errors, wishes for encryption and cancellation.
//!
//! Invariants: an operation is a simple query or an execution, with the messages that led to it; what
//! an error makes the server skip is told as skipped; passwords are never kept.

mod call;
mod look;
mod message;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use call::{Kind, Waiting};
pub(super) use look::look;
use message::{Message, STARTUP_HEAD_BYTES, Startup};

use super::dialogue::{Dialogue, Draft, Grammar, Head, Queue, Read, Side, Unit};
use super::prepared::Prepared;
use super::sql::{Dialect, Statement, statement};
use super::{DatabaseCall, Limits, Protocol, Role, Statements};

const SYSTEM: &str = "postgresql";
/// Portals that are remembered; more are forgotten together.
const PORTALS_MAX: usize = 64;
/// What is looked at of a message that is not a statement.
const FIELDS_BYTES_MAX: usize = 1 << 10;

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    let postgres = Postgres {
        whole: limits.statements == Statements::Whole,
        text_bytes_max: limits.value_bytes_max,
        captured_max: limits.body_bytes_max,
        starting: from_start,
        wish: false,
        namespace: None,
        prepared: Prepared::new(limits.prepared_max),
        portals: HashMap::new(),
        skipping: false,
    };
    Box::new(Dialogue::new(postgres, &limits, role, from_start))
}

/// What is known of a connection.
#[derive(Debug)]
struct Postgres {
    whole: bool,
    text_bytes_max: usize,
    captured_max: usize,
    /// The client has not said yet who it is.
    starting: bool,
    /// It wished for encryption, which is answered with one byte.
    wish: bool,
    namespace: Option<String>,
    prepared: Prepared<Vec<u8>>,
    portals: HashMap<Vec<u8>, Option<Arc<Statement>>>,
    /// After an error, until the client says where it goes on.
    skipping: bool,
}

impl Postgres {
    fn startup(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        match Startup::read(unit) {
            Some(Startup::Encryption) => self.wish = true,
            Some(Startup::Cancel) => {}
            Some(Startup::Session { database }) => {
                self.starting = false;
                self.namespace = database;
                let mut draft = Draft::default();
                draft.add(unit, 0);
                queue.join(draft, Waiting::new(Kind::Session, self.call(None)));
            }
            None => return Read::Broken,
        }
        Read::Understood
    }

    fn call(&self, statement: Option<&Statement>) -> DatabaseCall {
        let namespace = self.namespace.clone();
        DatabaseCall { namespace, ..DatabaseCall::of_statement(SYSTEM, statement) }
    }

    /// `cut`: the zero behind the text was not kept.
    fn statement(&self, text: &[u8], cut: bool) -> Arc<Statement> {
        Arc::new(statement(text, cut, Dialect::Postgres, self.whole))
    }

    fn simple(
        &mut self,
        unit: &Unit<'_>,
        statement: Option<&Statement>,
        queue: &mut Queue<Waiting>,
    ) {
        // A group that was flushed, not synchronised, has no more parts: drivers prepare like that.
        if let Some(back) = queue.back() {
            back.call.close();
        }
        self.settle(queue);
        let mut draft = Draft::default();
        draft.add(unit, queue.captured_max());
        queue.ask(draft, Waiting::new(Kind::Simple, self.call(statement)));
    }

    /// A part of an extended query: of the group that the client is putting together, or of a new
    /// one.
    fn part(&self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) {
        if queue.back().is_some_and(|back| back.call.is_open()) {
            return queue.ask_back(unit);
        }
        let mut draft = Draft::default();
        draft.add(unit, queue.captured_max());
        let waiting = Waiting::new(Kind::Group, self.call(None));
        // What is not behind a point of synchronisation of its own is sent with what is before it.
        if queue.back().is_some_and(|back| !back.call.synchronises()) {
            queue.join(draft, waiting);
        } else {
            queue.ask(draft, waiting);
        }
    }

    fn expect(queue: &mut Queue<Waiting>, steps: &[u8]) {
        if let Some(back) = queue.back() {
            back.call.expect(steps);
        }
    }

    fn parse(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) {
        self.part(unit, queue);
        let (name, rest) = message::until_nul(unit.body);
        let (text, _) = message::until_nul(rest);
        let statement = self.statement(text, text.len() == rest.len());
        if let Some(back) = queue.back() {
            back.call.prepares(self.call(Some(&statement)));
        }
        self.prepared.insert(name.to_vec(), statement);
        Self::expect(queue, b"1");
    }

    fn bind(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) {
        self.part(unit, queue);
        let (portal, rest) = message::until_nul(unit.body);
        let (name, _) = message::until_nul(rest);
        if self.portals.len() >= PORTALS_MAX {
            self.portals.clear();
        }
        self.portals.insert(portal.to_vec(), self.prepared.get(&name.to_vec()).cloned());
        Self::expect(queue, b"2");
    }

    fn execute(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) {
        self.part(unit, queue);
        let (portal, _) = message::until_nul(unit.body);
        let statement = self.portals.get(portal).cloned().flatten();
        let call = self.call(statement.as_deref());
        Self::expect(queue, b"C");
        if let Some(back) = queue.back() {
            back.call.executes(call);
        }
        self.skip(queue);
    }

    /// The client waits for what a statement is like before it runs it: by what the bytes say and
    /// not by when answers come, so that both ends count alike.
    fn flush(&self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) {
        queue.ask_back(unit);
        if let Some(back) = queue.back() {
            back.call.flush();
        }
        self.settle(queue);
    }

    fn sync(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) {
        if queue.back().is_some_and(|back| !back.call.synchronises()) {
            queue.ask_back(unit);
        } else {
            let mut draft = Draft::default();
            draft.add(unit, 0);
            queue.join(draft, Waiting::new(Kind::Sync, self.call(None)));
        }
        self.skip(queue);
        self.skipping = false;
        Self::expect(queue, b"Z");
        if let Some(back) = queue.back() {
            back.call.close();
        }
    }

    /// After an error nothing is done until the next synchronisation.
    fn skip(&mut self, queue: &mut Queue<Waiting>) {
        if self.skipping
            && let Some(back) = queue.back()
        {
            back.call.skip();
        }
    }

    /// The group in front has failed, and with it all up to the next synchronisation.
    fn failed(&mut self, status: Option<String>, queue: &mut Queue<Waiting>) {
        let mut synchronised = false;
        for (at, open) in queue.iter_mut().enumerate() {
            if at == 0 {
                synchronised = open.call.fail(status.clone());
            } else {
                synchronised = open.call.skip();
            }
            if synchronised {
                break;
            }
        }
        self.skipping = !synchronised;
        self.settle(queue);
    }

    /// Lets go what waits for nothing any more.
    fn settle(&self, queue: &mut Queue<Waiting>) {
        while queue.front().is_some_and(|front| front.call.is_done()) {
            queue.finish();
        }
    }
}

impl Grammar for Postgres {
    type Call = Waiting;

    fn head(&self, side: Side, bytes: &[u8]) -> Head {
        if side == Side::Requests && self.starting {
            return Startup::head(bytes);
        }
        if side == Side::Responses && self.wish && bytes.first() != Some(&b'E') {
            return Head::Whole { len: 1, body: 0, keep: 0 };
        }
        Message::head(side, bytes, |tag| match tag {
            // The names before a statement are short.
            b'Q' | b'P' => self.text_bytes_max.max(self.captured_max),
            b'p' => 0,
            _ => FIELDS_BYTES_MAX.max(self.captured_max),
        })
    }

    fn request(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        if self.starting && unit.head.len() == STARTUP_HEAD_BYTES {
            return self.startup(unit, queue);
        }
        match unit.head.first() {
            Some(b'Q') => {
                let (text, _) = message::until_nul(unit.body);
                let statement = self.statement(text, text.len() == unit.body.len());
                self.simple(unit, Some(&statement), queue);
            }
            Some(b'F') => self.simple(unit, None, queue),
            Some(b'P') => self.parse(unit, queue),
            Some(b'B') => self.bind(unit, queue),
            Some(b'D') => {
                self.part(unit, queue);
                let of_statement = unit.body.first() == Some(&b'S');
                Self::expect(queue, if of_statement { b"tT" } else { b"T" });
            }
            Some(b'E') => self.execute(unit, queue),
            Some(b'C') => {
                self.part(unit, queue);
                if let [b'S', name @ ..] = unit.body {
                    self.prepared.remove(&message::until_nul(name).0.to_vec());
                }
                Self::expect(queue, b"3");
            }
            Some(b'S') => self.sync(unit, queue),
            Some(b'H') => self.flush(unit, queue),
            Some(b'd' | b'c' | b'f') => queue.ask_front(unit),
            // Credentials, and good-bye.
            Some(b'p' | b'X') => {}
            _ => return Read::Broken,
        }
        Read::Understood
    }

    fn response(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        if std::mem::take(&mut self.wish) && unit.head.len() == 1 {
            return match unit.head {
                b"N" => Read::Understood,
                b"S" | b"G" => Read::Last,
                _ => Read::Broken,
            };
        }
        let Some(&tag) = unit.head.first() else { return Read::Broken };
        queue.answer(unit);
        match tag {
            // These may come at any time.
            b'N' | b'S' | b'A' => return Read::Understood,
            // What was asked for has begun. A stream of changes ends with its connection, after days, and is no answer.
            b'W' => {
                queue.finish();
                return Read::Last;
            }
            b'E' => {
                let status = message::error_code(unit.body);
                if queue.len() == 0 {
                    queue.unasked();
                    return Read::Understood;
                }
                self.failed(status, queue);
                return Read::Understood;
            }
            _ => {}
        }
        let Some(front) = queue.front() else {
            queue.unasked();
            return Read::Understood;
        };
        if !front.call.answer(tag) {
            return Read::Broken;
        }
        self.settle(queue);
        Read::Understood
    }

    fn begins_request(&self, bytes: &[u8]) -> bool {
        look::asks(bytes) != look::Walk::Other
    }

    fn forget(&mut self) {
        self.starting = false;
        self.wish = false;
        self.skipping = false;
        self.prepared.clear();
        self.portals.clear();
    }

    fn held_bytes(&self) -> usize {
        self.prepared.held_bytes()
    }
}
