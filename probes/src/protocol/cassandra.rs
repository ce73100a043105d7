//! Cassandra: requests and answers by stream, versions 3 to 5 of the native protocol, also in segments
//! and compressed.
//!
//! Invariants: an answer goes to the request of its stream; a statement that was prepared unseen is
//! said to be unknown; no value that is bound to a statement and no credential is kept.

mod batch;
mod carried;
mod envelope;
mod field;
mod look;
mod lz4;
mod request;
mod response;
mod segment;
mod snappy;
#[cfg(test)]
mod tests;
mod unpacked;

use std::borrow::Cow;
use std::sync::Arc;

use batch::Together;
use carried::{Came, Carried};
use envelope::{HEAD_BYTES, Kind, SEGMENTED, Start};
use field::Text;
pub(super) use look::look;
use look::{Begins, begins, begins_segment};
use request::{Asked, Batch, One, Parameters};
use response::Answered;
use segment::Form;
pub(super) use snappy::unpack_to as unpack_snappy;
use unpacked::Method;

use super::dialogue::{Call, Correlated, Correlation, Head, Pending, Read, Side, Unit};
use super::prepared::Prepared;
use super::sql::{Dialect, Statement, statement};
use super::{DatabaseCall, Detail, Limits, Protocol, Role, Said, Statements};

const SYSTEM: &str = "cassandra";
/// An error of which the number was not seen.
const OTHER: &str = "_OTHER";

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    let cassandra = Cassandra {
        keep: limits.head_bytes_max.max(limits.body_bytes_max),
        whole: limits.statements == Statements::Whole,
        text_bytes_max: limits.value_bytes_max,
        patience: limits.answer_nanos_max,
        version: None,
        method: None,
        form: [None; 2],
        carried: [Carried::default(), Carried::default()],
        namespace: None,
        prepared: Prepared::new(limits.prepared_max),
    };
    Box::new(Correlation::new(cassandra, &limits, role, from_start))
}

/// What is known of a connection.
#[derive(Debug)]
struct Cassandra {
    keep: usize,
    whole: bool,
    text_bytes_max: usize,
    patience: u64,
    /// That of the last request that travelled by itself.
    version: Option<u8>,
    /// By what bodies are compressed, where they are.
    method: Option<Method>,
    /// Messages travel in segments of this form, by side.
    form: [Option<Form>; 2],
    carried: [Carried; 2],
    namespace: Option<String>,
    /// Statements by the names that the server has given them.
    prepared: Prepared<Vec<u8>>,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Waiting {
    call: DatabaseCall,
    /// What has a name once this is answered.
    prepares: Option<Arc<Statement>>,
}

impl Call for Waiting {
    fn said(self) -> Option<Said> {
        Some(Said::Database(self.call))
    }

    fn behind_bytes(&self) -> usize {
        self.call.behind_bytes()
    }
}

type Waits = Pending<i16, Waiting>;

impl Waiting {
    fn of(call: DatabaseCall) -> Self {
        Self { call, prepares: None }
    }

    /// What is told by its kind alone; nothing where that is not enough to tell what was done.
    fn of_kind(kind: Kind) -> Self {
        let operation = kind.operation().map(str::to_owned);
        Self::of(DatabaseCall { system: SYSTEM, operation, ..DatabaseCall::default() })
    }
}

impl Cassandra {
    /// The body of a message as it was before it was compressed; none where nothing can be made of it.
    fn body<'a>(&mut self, start: Start, unit: &Unit<'a>) -> Option<Cow<'a, [u8]>> {
        if !start.compressed() {
            return Some(Cow::Borrowed(unit.body));
        }
        let (method, bytes) = unpacked::body(self.method, unit.body, self.keep)?;
        self.method = Some(method);
        Some(Cow::Owned(bytes))
    }

    /// What a body that cannot be read is said to be.
    fn unread(&self) -> (&'static str, Detail) {
        let method = self.method.map_or("unknown", Method::name);
        ("icecore.cassandra.compression", Detail::Text(method.to_owned()))
    }

    fn request(&mut self, unit: &Unit<'_>, start: Start, pending: &mut Waits) -> Read {
        let body = self.body(start, unit);
        let fields = body.as_deref().and_then(|body| start.fields(Side::Requests, body));
        let asked = fields.and_then(|fields| request::read(start, fields));
        let whole = unit.body.len() as u64 == unit.body_bytes;
        if asked.is_none() && whole && !start.compressed() {
            return Read::Broken;
        }
        let mut waiting = match asked {
            Some(asked) => self.waiting(start.kind, asked),
            None => Waiting::of_kind(start.kind),
        };
        if waiting.call.namespace.is_none() {
            waiting.call.namespace.clone_from(&self.namespace);
        }
        if body.is_none() {
            waiting.call.details.push(self.unread());
        }
        let draft = match start.kind {
            Kind::Response => pending.draft(unit).secret(),
            // What is compressed cannot be looked through for secrets.
            _ if start.compressed() => pending.draft(unit).without_content(),
            _ => pending.draft(unit),
        };
        pending.ask(Side::Requests, draft, start.stream, waiting);
        if body.is_some() { Read::Understood } else { Read::Unread }
    }

    /// What is remembered of a request.
    fn waiting(&mut self, kind: Kind, asked: Asked<'_>) -> Waiting {
        match asked {
            Asked::Plain => Waiting::of_kind(kind),
            Asked::Startup { compression } => {
                self.method = compression.and_then(Method::named);
                Waiting::of_kind(kind)
            }
            Asked::Query { text, parameters } => {
                let statement = self.statement(text);
                Waiting::of(self.call(Some(&statement), parameters))
            }
            Asked::Prepare { text, keyspace } => {
                let statement = self.statement(text);
                let parameters = Parameters { keyspace, ..Parameters::default() };
                let mut call = self.call(Some(&statement), parameters);
                call.summary = call.summary.map(|summary| format!("PREPARE {summary}"));
                call.operation = Some("PREPARE".to_owned());
                Waiting { prepares: Some(Arc::new(statement)), ..Waiting::of(call) }
            }
            Asked::Execute { id, parameters } => {
                let statement = self.prepared.get(&id.to_vec()).cloned();
                let mut call = self.call(statement.as_deref(), parameters);
                if statement.is_none() {
                    call.details.push(("icecore.cassandra.prepared.id", Detail::Text(hex(id))));
                    call.details.push(unknown());
                }
                Waiting::of(call)
            }
            Asked::Batch(batch) => Waiting::of(self.batch(batch)),
        }
    }

    fn batch(&self, batch: Batch<'_>) -> DatabaseCall {
        let mut together = Together::new(batch.size, self.text_bytes_max);
        let parameters = batch.each(|one| match one {
            One::Text(text) => together.add(Some(&self.statement(text))),
            One::Id(id) => {
                together.add(self.prepared.get(&id.to_vec()).map(|statement| &**statement));
            }
        });
        let mut call = together.call(batch.kind);
        self.add(parameters.unwrap_or_default(), &mut call);
        call
    }

    fn statement(&self, text: Text<'_>) -> Statement {
        let (kept, rest) = text.bytes.split_at(text.bytes.len().min(self.text_bytes_max));
        let cut = text.cut || !rest.is_empty();
        let mut statement = statement(kept, cut, Dialect::Cql, self.whole);
        if statement.operation.as_deref() == Some("BEGIN") {
            // Statements that are sent together, as one text.
            statement.operation = Some("BATCH".to_owned());
            statement.summary.clone_from(&statement.operation);
            statement.collection = None;
        }
        statement
    }

    fn call(&self, statement: Option<&Statement>, parameters: Parameters<'_>) -> DatabaseCall {
        let mut call = DatabaseCall::of_statement(SYSTEM, statement);
        self.add(parameters, &mut call);
        call
    }

    fn add(&self, parameters: Parameters<'_>, call: &mut DatabaseCall) {
        let Parameters { consistency, page_size, keyspace } = parameters;
        let level = consistency.map(|level| Detail::Text(level.to_owned()));
        call.details.extend(level.map(|level| ("cassandra.consistency.level", level)));
        let page_size = page_size.map(|rows| Detail::Number(i64::from(rows)));
        call.details.extend(page_size.map(|rows| ("cassandra.page.size", rows)));
        call.namespace = keyspace.map(|name| cut(name, KEYSPACE_BYTES_MAX));
    }

    fn response(&mut self, unit: &Unit<'_>, start: Start, pending: &mut Waits) -> Read {
        let body = self.body(start, unit);
        let read = if body.is_some() { Read::Understood } else { Read::Unread };
        let fields = body.as_deref().and_then(|body| start.fields(Side::Responses, body));
        let answered = fields.and_then(|fields| response::read(start, fields));
        if let Some(Answered::Keyspace(name)) = answered {
            self.namespace = Some(cut(name, KEYSPACE_BYTES_MAX));
        }
        if start.kind == Kind::Event {
            return read;
        }
        let shown = if start.compressed() { unit.without_content() } else { *unit };
        let Some(open) = pending.answer(&start.stream, &shown) else {
            pending.unasked();
            return read;
        };
        let Waiting { call, prepares, .. } = &mut open.call;
        match answered {
            Some(Answered::Error(code)) => call.status = Some(code.to_string()),
            Some(Answered::Rows(rows)) => call.rows = rows,
            Some(Answered::Prepared(id)) => {
                if let Some(statement) = prepares.take() {
                    self.prepared.insert(id.to_vec(), statement);
                }
            }
            Some(Answered::Keyspace(_) | Answered::Fine) => {}
            // That it is one stands in its head.
            None if start.kind == Kind::Error => call.error = Some(OTHER),
            None => {}
        }
        if body.is_none() {
            call.details.push(self.unread());
        }
        pending.finish_in_any_order(&start.stream);
        read
    }

    /// A message by itself, in a segment or without one.
    fn single(&mut self, side: Side, unit: &Unit<'_>, pending: &mut Waits) -> Read {
        let start = unit.head.first_chunk().and_then(|head| envelope::start(side, *head));
        let Some(start) = start else { return Read::Broken };
        match side {
            Side::Requests => {
                self.version = Some(start.version);
                self.request(unit, start, pending)
            }
            Side::Responses => self.response(unit, start, pending),
        }
    }

    fn segment(&mut self, side: Side, form: Form, unit: &Unit<'_>, pending: &mut Waits) -> Read {
        self.form[side as usize] = Some(form);
        let mut carried = std::mem::take(&mut self.carried[side as usize]);
        let keep = self.keep;
        let came = carried.segment(side, form, unit, keep, |message| {
            self.single(side, message, pending) != Read::Broken
        });
        self.carried[side as usize] = carried;
        match came {
            Came::Whole => Read::Understood,
            Came::Broken => Read::Broken,
            Came::Lost => {
                // Which streams it was about is not known.
                pending.lose(side);
                self.forget(side);
                Read::Unread
            }
        }
    }

    /// Messages of this connection may travel in segments.
    fn may_be_segmented(&self) -> bool {
        self.version.is_none_or(|version| version >= SEGMENTED)
    }

    /// The forms that a segment of this side may have.
    fn forms(&self, side: Side) -> impl Iterator<Item = Form> {
        let known = self.form[side as usize].or(self.form[1 - side as usize]);
        let forms = if self.may_be_segmented() { &[Form::Plain, Form::Packed][..] } else { &[] };
        forms.iter().copied().filter(move |form| known.is_none_or(|known| known == *form))
    }

    fn segment_head(&self, side: Side, bytes: &[u8]) -> Option<Head> {
        self.forms(side).find_map(|form| {
            let header = segment::header(form, bytes)?;
            let keep = usize::try_from(header.body_bytes()).ok()?;
            Some(Head::Whole { len: form.head_bytes(), body: header.body_bytes(), keep })
        })
    }
}

/// Every request has its own; servers take names of no more than 48.
const KEYSPACE_BYTES_MAX: usize = 192;

fn cut(text: &str, bytes_max: usize) -> String {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default().to_owned()
}

fn unknown() -> (&'static str, Detail) {
    ("icecore.cassandra.prepared.statement", Detail::Text("unknown".to_owned()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Correlated for Cassandra {
    type Key = i16;
    type Call = Waiting;

    fn head(&self, side: Side, bytes: &[u8]) -> Head {
        if let Some(form) = self.form[side as usize] {
            if bytes.len() < form.head_bytes() {
                return Head::More;
            }
            return self.segment_head(side, bytes).unwrap_or(Head::Broken);
        }
        // As soon as it is there: its head is shorter than that of a message.
        if let Some(segment) = self.segment_head(side, bytes) {
            return segment;
        }
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Head::More };
        match envelope::start(side, *head) {
            Some(start) => Head::Whole { len: HEAD_BYTES, body: start.body_bytes, keep: self.keep },
            None => Head::Broken,
        }
    }

    fn message(&mut self, side: Side, unit: &Unit<'_>, pending: &mut Waits) -> Read {
        match Form::of_head(unit.head.len()) {
            Some(form) => self.segment(side, form, unit, pending),
            None => self.single(side, unit, pending),
        }
    }

    fn resume(&self, side: Side, bytes: &[u8], pending: &Waits) -> Option<usize> {
        let from = |at: usize| bytes.get(at..).unwrap_or_default();
        let segment =
            |at: &usize| self.forms(side).any(|form| begins_segment(form, from(*at)) == Some(side));
        let meant = |start: Start| side == Side::Requests || pending.waits(&start.stream);
        let single = |at: &usize| match begins(side, from(*at)) {
            Begins::Yes(start) => meant(start),
            // At the beginning of a call, the head of a message is more than chance.
            Begins::Perhaps(Some(start)) => *at == 0 && meant(start),
            Begins::Perhaps(None) | Begins::No => false,
        };
        if self.form.iter().any(Option::is_some) {
            return (0..bytes.len()).find(segment);
        }
        let answer = if side == Side::Responses { 0x80 } else { 0 };
        let mut versions = memchr::memchr3_iter(answer | 3, answer | 4, answer | 5, bytes);
        if segment(&0) || single(&0) {
            return Some(0);
        }
        versions.find(|at| single(at)).or_else(|| (0..bytes.len()).find(segment))
    }

    fn forget(&mut self, side: Side) {
        self.carried[side as usize].forget();
        self.namespace = None;
    }

    fn patience(&self, _: &Waiting, doubtful: bool) -> Option<u64> {
        doubtful.then_some(self.patience)
    }

    fn held_bytes(&self) -> usize {
        let carried = self.carried.iter().map(Carried::held_bytes).sum::<usize>();
        carried + self.prepared.held_bytes()
    }
}
