//! MongoDB: commands and their answers, compressed ones too, handshakes in the manner of old.
//!
//! Invariants: an answer goes to the command that it names; what holds credentials is kept in no
//! form; of an answer that was cut off before it said how it went, that is not known.

mod bson;
mod look;
mod message;
mod packed;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bson::{Document, Value};
pub(super) use look::look;
use message::{Begins, HEAD_BYTES, Kind, Said, Start};

use super::dialogue::{Call, Correlated, Correlation, Head, Pending, Read, Side, Unit};
use super::{DatabaseCall, Detail, Limits, Protocol, Role, Said as Exchanged, Statements};

/// Commands that name a collection where they are named.
const OF_COLLECTIONS: [&str; 22] = [
    "find",
    "insert",
    "update",
    "delete",
    "aggregate",
    "count",
    "distinct",
    "findAndModify",
    "findandmodify",
    "create",
    "drop",
    "createIndexes",
    "dropIndexes",
    "listIndexes",
    "collMod",
    "collStats",
    "validate",
    "killCursors",
    "mapReduce",
    "compact",
    "reIndex",
    "convertToCapped",
];
/// Commands with credentials in them, or in their answers.
const SECRET: [&str; 12] = [
    "saslStart",
    "saslContinue",
    "authenticate",
    "getnonce",
    "createUser",
    "updateUser",
    "copydbgetnonce",
    "copydbsaslstart",
    "copydb",
    "hello",
    "isMaster",
    "ismaster",
];
/// By what a command is compressed, and its answer.
const COMPRESSOR: &str = "icecore.mongodb.compressor";
const COMPRESSOR_OF_ANSWER: &str = "icecore.mongodb.response.compressor";
/// What is unpacked of a message: commands are shorter, and answers say at their beginning how it went. With zlib it
/// takes some fifty microseconds.
const UNPACKED_BYTES_MAX: usize = 16 << 10;
/// An error without a number.
const OTHER: &str = "_OTHER";

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    let mongo = MongoDb {
        keep: limits.head_bytes_max.max(limits.body_bytes_max),
        unpack: UNPACKED_BYTES_MAX.max(limits.body_bytes_max),
        whole: limits.statements == Statements::Whole,
        text_bytes_max: limits.value_bytes_max,
        patience: limits.answer_nanos_max,
        streamed: None,
    };
    Box::new(Correlation::new(mongo, &limits, role, from_start))
}

/// What is known of a connection.
#[derive(Debug)]
struct MongoDb {
    keep: usize,
    unpack: usize,
    whole: bool,
    text_bytes_max: usize,
    patience: u64,
    /// The answer behind which another one comes, that nobody asks for.
    streamed: Option<i32>,
}

/// A command that waits for its answer.
#[derive(Debug)]
struct Waiting {
    call: DatabaseCall,
}

impl Call for Waiting {
    fn said(self) -> Option<Exchanged> {
        Some(Exchanged::Database(self.call))
    }

    fn behind_bytes(&self) -> usize {
        self.call.behind_bytes()
    }
}

type Waits = Pending<i32, Waiting>;

impl MongoDb {
    fn request(
        &self,
        unit: &Unit<'_>,
        start: Start,
        by: Option<&'static str>,
        pending: &mut Waits,
    ) -> Option<()> {
        let mut call = DatabaseCall { system: "mongodb", ..DatabaseCall::default() };
        call.details.extend(by.map(|by| (COMPRESSOR, Detail::Text(by.to_owned()))));
        let (mut secret, mut answered) = (false, true);
        match message::read(start.kind, unit.body) {
            Some(Said::Document { document, more }) => {
                secret = self.command(document, &mut call);
                answered = !more;
            }
            Some(Said::Collection(collection)) => {
                call.operation = Some(older_word(start.kind).to_owned());
                let (namespace, name) = collection.split_once('.')?;
                call.namespace = Some(self.cut(namespace));
                call.collection = Some(self.cut(name));
                answered = matches!(start.kind, Kind::Query | Kind::GetMore);
            }
            Some(Said::Compressed(by)) => {
                // What is asked, and with what credentials, is not known.
                secret = true;
                call.details.push((COMPRESSOR, Detail::Text(by.to_owned())));
            }
            Some(Said::Nothing) => {
                call.operation = Some(older_word(start.kind).to_owned());
                answered = false;
            }
            // A sequence of documents is in front, of which the end was not kept.
            None if unit.body.len() as u64 != unit.body_bytes => secret = true,
            None => return None,
        }
        let draft = pending.draft(unit);
        let draft = if secret { draft.secret() } else { draft };
        let waiting = Waiting { call };
        if answered {
            pending.ask(Side::Requests, draft, start.id, waiting);
        } else {
            pending.told(Side::Requests, draft, waiting);
        }
        Some(())
    }

    /// What a command says of itself; true where it holds credentials.
    fn command(&self, document: Document<'_>, call: &mut DatabaseCall) -> bool {
        let Some((name, about)) = document.elements().next() else { return true };
        let secret = SECRET.contains(&name);
        call.operation = Some(self.cut(name));
        call.namespace = document.text("$db").map(|name| self.cut(name));
        call.collection = match (name, about) {
            ("getMore", _) => document.text("collection").map(|name| self.cut(name)),
            (_, Value::Text(name_of)) if OF_COLLECTIONS.contains(&name) => Some(self.cut(name_of)),
            _ => None,
        };
        call.text = (!secret).then(|| bson::show(document, self.whole, self.text_bytes_max));
        secret
    }

    fn cut(&self, text: &str) -> String {
        text.get(..text.floor_char_boundary(self.text_bytes_max)).unwrap_or_default().to_owned()
    }

    fn response(
        &mut self,
        unit: &Unit<'_>,
        start: Start,
        by: Option<&'static str>,
        pending: &mut Waits,
    ) -> Option<()> {
        let said = message::read(start.kind, unit.body)?;
        let more = matches!(said, Said::Document { more: true, .. });
        let unasked = self.streamed == Some(start.answers);
        if more || unasked {
            self.streamed = more.then_some(start.id);
        }
        let key = start.answers;
        let Some(open) = pending.answer(&key, unit) else {
            if !unasked {
                pending.unasked();
            }
            return Some(());
        };
        let call = &mut open.call.call;
        let by = if let Said::Compressed(by) = said { Some(by) } else { by };
        call.details.extend(by.map(|by| (COMPRESSOR_OF_ANSWER, Detail::Text(by.to_owned()))));
        let known = match said {
            Said::Document { document, .. } => learn(document, call),
            Said::Compressed(_) | Said::Collection(_) | Said::Nothing => false,
        };
        if known {
            pending.finish(&key)
        } else {
            pending.finish_unseen(&key)
        }
        Some(())
    }
}

/// What an answer says of how it went; false where it was cut off before that.
fn learn(document: Document<'_>, call: &mut DatabaseCall) -> bool {
    let code =
        |of: Document<'_>| of.get("code").and_then(Value::whole).map(|code| code.to_string());
    let (mut ok, mut known) = (None, false);
    for (name, value) in document.elements() {
        match (name, value) {
            ("ok", value) => ok = value.whole(),
            ("cursor", Value::Document(cursor)) => {
                // Whoever has failed has no cursor.
                known = true;
                let batch = cursor.get("firstBatch").or_else(|| cursor.get("nextBatch"));
                if let Some(Value::Array(batch)) = batch {
                    call.rows = batch.count();
                }
            }
            ("writeErrors", Value::Array(errors)) => {
                let first = errors.elements().next();
                if let Some((_, Value::Document(first))) = first {
                    call.status = code(first);
                }
            }
            ("writeConcernError", Value::Document(error)) => {
                call.status = call.status.take().or_else(|| code(error));
            }
            _ => {}
        }
    }
    if ok == Some(0) {
        call.status = code(document).or(call.status.take());
        if call.status.is_none() && document.whole {
            call.error = Some(OTHER);
        }
    }
    // What has gone through may still say which writes have not.
    known || document.whole || call.status.is_some()
}

fn older_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Insert => "insert",
        Kind::Update => "update",
        Kind::Delete => "delete",
        Kind::GetMore => "getMore",
        Kind::KillCursors => "killCursors",
        Kind::Query | Kind::Reply | Kind::Compressed | Kind::Message => "find",
    }
}

impl Correlated for MongoDb {
    type Key = i32;
    type Call = Waiting;

    fn head(&self, side: Side, bytes: &[u8]) -> Head {
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Head::More };
        match message::start(side, *head) {
            Some(start) => Head::Whole { len: HEAD_BYTES, body: start.body_bytes, keep: self.keep },
            None => Head::Broken,
        }
    }

    fn message(&mut self, side: Side, unit: &Unit<'_>, pending: &mut Waits) -> Read {
        let start = unit.head.first_chunk().and_then(|head| message::start(side, *head));
        let Some(start) = start else { return Read::Broken };
        let packed = start.kind == Kind::Compressed;
        let inside = packed.then(|| packed::inside(unit, self.unpack)).flatten();
        // One of which too little could be unpacked is one that cannot be.
        let inside = inside.filter(|one| message::read(one.kind, one.unit(unit).body).is_some());
        let (unit, kind, by) = match &inside {
            Some(inside) => (&inside.unit(unit), inside.kind, Some(inside.by)),
            None => (unit, start.kind, None),
        };
        let start = Start { kind, ..start };
        let read = match side {
            Side::Requests => self.request(unit, start, by, pending),
            Side::Responses => self.response(unit, start, by, pending),
        };
        read.map_or(Read::Broken, |()| Read::Understood)
    }

    fn resume(&self, side: Side, bytes: &[u8], pending: &Waits) -> Option<usize> {
        let meant = |at: &usize| match message::begins(side, bytes.get(*at..).unwrap_or_default()) {
            Begins::Yes(start) => side == Side::Requests || pending.waits(&start.answers),
            Begins::Perhaps | Begins::No => false,
        };
        // Where the kind is that most messages are of.
        let kinds = memchr::memmem::find_iter(bytes, b"\xdd\x07\0\0");
        let starts = kinds.filter_map(|at| at.checked_sub(HEAD_BYTES - 4));
        std::iter::once(0).chain(starts).find(meant)
    }

    fn forget(&mut self, _: Side) {
        self.streamed = None;
    }

    fn patience(&self, _: &Waiting, doubtful: bool) -> Option<u64> {
        doubtful.then_some(self.patience)
    }
}
