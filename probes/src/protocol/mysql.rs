//! MySQL and MariaDB: greeting and login, queries, prepared statements, several results, large
//! packets, errors, also compressed.
//!
//! Invariants: a command is one packet numbered 0, or several if it is large; what belongs to a
//! login is never kept; a connection that is encrypted is let go.

mod answer;
mod login;
mod look;
mod packed;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use answer::{Expects, Waiting};
use login::Login;
pub(super) use look::{look, look_packed};
use packed::Packing;

use super::dialogue::{Dialogue, Draft, Grammar, Head, Queue, Read, Side, Step, Unit};
use super::prepared::Prepared;
use super::sql::{Dialect, Statement, statement};
use super::{DatabaseCall, Limits, Protocol, Role, Statements};

/// Length and number of a packet.
const HEAD_BYTES: usize = 4;
/// A packet of this length goes on in the next.
const PACKET_BYTES_MAX: u64 = 0xff_ffff;
/// What is looked at of a packet that is no statement.
const FIELDS_BYTES_MAX: usize = 512;
/// The statement that was prepared last, for a client that did not wait for its number.
const LAST_PREPARED: u32 = u32::MAX;

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    let mysql = MySql::new(&limits, from_start);
    Box::new(Dialogue::new(mysql, &limits, role, from_start))
}

/// A parser for a connection whose packets were compressed before anybody looked.
pub(super) fn parser_packed(limits: Arc<Limits>, role: Role, _: bool) -> Box<dyn Protocol> {
    let packing = Some(Packing::default());
    let mysql = MySql { packing, ..MySql::new(&limits, false) };
    Box::new(Dialogue::new(mysql, &limits, role, false))
}

/// What is known of a connection.
#[derive(Debug)]
struct MySql {
    whole: bool,
    keep: usize,
    captured_max: usize,
    login: Login,
    system: &'static str,
    namespace: Option<String>,
    /// Lists of columns have no packet behind them, if it is known.
    deprecates_eof: Option<bool>,
    prepared: Prepared<u32>,
    last_prepared: Option<Arc<Statement>>,
    /// The packet before was of full length, by side.
    continues: [bool; 2],
    /// Packets travel in compressed ones.
    packing: Option<Packing>,
}

/// The commands that are understood.
mod command {
    pub(super) const QUIT: u8 = 0x01;
    pub(super) const INIT_DB: u8 = 0x02;
    pub(super) const QUERY: u8 = 0x03;
    pub(super) const FIELD_LIST: u8 = 0x04;
    pub(super) const STATISTICS: u8 = 0x09;
    pub(super) const PROCESS_INFO: u8 = 0x0a;
    pub(super) const PING: u8 = 0x0e;
    pub(super) const CHANGE_USER: u8 = 0x11;
    pub(super) const PREPARE: u8 = 0x16;
    pub(super) const EXECUTE: u8 = 0x17;
    pub(super) const SEND_LONG_DATA: u8 = 0x18;
    pub(super) const CLOSE: u8 = 0x19;
    pub(super) const FETCH: u8 = 0x1c;
    pub(super) const BULK_EXECUTE: u8 = 0xfa;

    /// What is answered in one packet, by the name of the operation.
    pub(super) fn plain(command: u8) -> Option<&'static str> {
        Some(match command {
            0x05 => "CREATE DB",
            0x06 => "DROP DB",
            0x07 => "REFRESH",
            0x08 => "SHUTDOWN",
            0x0c => "KILL",
            0x0d => "DEBUG",
            PING => "PING",
            0x1a => "RESET STATEMENT",
            0x1b => "SET OPTION",
            0x1f => "RESET CONNECTION",
            _ => return None,
        })
    }

    /// From here on the server sends without being asked.
    pub(super) fn replicates(command: u8) -> bool {
        matches!(command, 0x12 | 0x15 | 0x1e)
    }
}

impl MySql {
    fn new(limits: &Limits, from_start: bool) -> Self {
        Self {
            whole: limits.statements == Statements::Whole,
            keep: limits.value_bytes_max.max(limits.body_bytes_max),
            captured_max: limits.body_bytes_max,
            login: if from_start { Login::Greeting } else { Login::Done },
            system: "mysql",
            namespace: None,
            deprecates_eof: None,
            prepared: Prepared::new(limits.prepared_max),
            last_prepared: None,
            continues: [false; 2],
            packing: None,
        }
    }

    /// The rest of a packet that was too long for one.
    fn goes_on(&mut self, side: Side, unit: &Unit<'_>) -> bool {
        let [requests, responses] = &mut self.continues;
        let continues = if side == Side::Requests { requests } else { responses };
        std::mem::replace(continues, unit.body_bytes == PACKET_BYTES_MAX)
    }

    fn call(&self, statement: Option<&Statement>) -> DatabaseCall {
        let namespace = self.namespace.clone();
        DatabaseCall { namespace, ..DatabaseCall::of_statement(self.system, statement) }
    }

    fn named(&self, operation: &str) -> DatabaseCall {
        DatabaseCall { operation: Some(operation.to_owned()), ..self.call(None) }
    }

    fn statement(&self, text: &[u8], unit: &Unit<'_>) -> Arc<Statement> {
        let cut = (unit.body.len() as u64) < unit.body_bytes;
        Arc::new(statement(text, cut, Dialect::MySql, self.whole))
    }

    /// A packet before the first command.
    fn log_in(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        if self.login == Login::Answered {
            // Whatever the way to prove who the client is asks of it.
            return Read::Understood;
        }
        let Some(client) = login::Client::read(unit.body, &self.login) else { return Read::Broken };
        if client.encrypts {
            return Read::Last;
        }
        self.deprecates_eof = Some(client.deprecates_eof);
        self.namespace.clone_from(&client.database);
        self.login = if client.compresses { Login::AnsweredCompressed } else { Login::Answered };
        let mut draft = Draft::default();
        draft.add(unit, 0);
        queue.join(draft, Waiting::new(Expects::Login, self.named("CONNECT")));
        Read::Understood
    }

    fn ask(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        let Some((&command, rest)) = unit.body.split_first() else { return Read::Broken };
        let (expects, call) = match command {
            command::QUIT | command::SEND_LONG_DATA => return Read::Understood,
            command::CLOSE => {
                number(rest).inspect(|number| self.prepared.remove(number));
                return Read::Understood;
            }
            command::QUERY => {
                let statement = self.statement(without_attributes(rest), unit);
                (Expects::Result, self.call(Some(&statement)))
            }
            command::PREPARE => {
                let statement = self.statement(rest, unit);
                let mut call = self.call(Some(&statement));
                call.summary = call.summary.map(|summary| format!("PREPARE {summary}"));
                call.operation = Some("PREPARE".to_owned());
                self.last_prepared = Some(Arc::clone(&statement));
                (Expects::Prepared(statement), call)
            }
            command::EXECUTE | command::BULK_EXECUTE => {
                let statement = match number(rest) {
                    Some(LAST_PREPARED) => self.last_prepared.clone(),
                    Some(number) => self.prepared.get(&number).cloned(),
                    None => None,
                };
                (Expects::Result, self.call(statement.as_deref()))
            }
            command::INIT_DB => {
                let database = (!unit.holed).then(|| String::from_utf8_lossy(rest).into_owned());
                let text = database.as_ref().map(|database| format!("USE {database}"));
                (Expects::Database(database), DatabaseCall { text, ..self.named("USE") })
            }
            command::FETCH => (Expects::Rows, self.named("FETCH")),
            command::FIELD_LIST => (Expects::Rows, self.named("FIELD LIST")),
            command::PROCESS_INFO => (Expects::Result, self.named("PROCESS INFO")),
            command::STATISTICS => (Expects::Line, self.named("STATISTICS")),
            command::CHANGE_USER => {
                self.login = Login::Answered;
                (Expects::Login, self.named("CHANGE USER"))
            }
            command if command::replicates(command) => return Read::Last,
            command => match command::plain(command) {
                Some(name) => (Expects::Plain, self.named(name)),
                None => return Read::Broken,
            },
        };
        let mut draft = Draft::default();
        let captured_max = if command == command::CHANGE_USER { 0 } else { queue.captured_max() };
        draft.add(unit, captured_max);
        queue.ask(draft, Waiting::new(expects, call));
        Read::Understood
    }

    /// The greeting of a server, or that it does not want the client.
    fn greet(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        match unit.body.first() {
            Some(0xff) => queue.unasked(),
            Some(0x0a) => match login::Server::read(unit.body) {
                Some(server) => {
                    self.system = server.system;
                    self.login = Login::Greeted(server.capabilities);
                }
                None => return Read::Broken,
            },
            _ => return Read::Broken,
        }
        Read::Understood
    }

    /// The answer in front is whole: what it changes.
    fn finish(&mut self, queue: &mut Queue<Waiting>) {
        let Some(front) = queue.front() else { return };
        let succeeded = front.call.succeeded();
        if let (true, Some((number, statement))) = (succeeded, front.call.prepared()) {
            self.prepared.insert(number, statement);
        }
        if let (true, Some(database)) = (succeeded, front.call.database()) {
            self.namespace = database;
        }
        let logs_in = front.call.logs_in();
        let sure = front.call.sure();
        queue.finish_as(sure);
        if logs_in {
            if self.login == Login::AnsweredCompressed && succeeded {
                self.packing = Some(Packing::default());
            }
            self.login = Login::Done;
        }
    }
}

impl MySql {
    /// A packet of the client, however it came.
    fn asked(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        if self.goes_on(Side::Requests, unit) {
            queue.ask_back(unit);
            return Read::Understood;
        }
        if !self.login.is_done() {
            return self.log_in(unit, queue);
        }
        match unit.head.last() {
            Some(0) => self.ask(unit, queue),
            // A file that the server has asked for.
            Some(_) if queue.front().is_some_and(|front| front.call.takes_file()) => {
                queue.ask_front(unit);
                Read::Understood
            }
            _ => Read::Broken,
        }
    }

    /// A packet of the server, however it came.
    fn answered(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        if self.goes_on(Side::Responses, unit) {
            queue.answer(unit);
            return Read::Understood;
        }
        if self.login == Login::Greeting {
            return self.greet(unit, queue);
        }
        queue.answer(unit);
        let Some(front) = queue.front() else {
            if !answer::is_eof(unit) {
                queue.unasked();
            }
            return Read::Understood;
        };
        match front.call.answer(unit, &mut self.deprecates_eof) {
            Some(true) => self.finish(queue),
            Some(false) => {}
            None => return Read::Broken,
        }
        Read::Understood
    }

    fn packet(&mut self, side: Side, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        match side {
            Side::Requests => self.asked(unit, queue),
            Side::Responses => self.answered(unit, queue),
        }
    }

    /// What travels is a packet, or a compressed one with packets in it.
    fn travelled(&mut self, side: Side, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        let Some(mut packing) = self.packing.take() else { return self.packet(side, unit, queue) };
        let read = self.unpack(side, unit, queue, &mut packing);
        self.packing = Some(packing);
        read
    }

    fn unpack(
        &mut self,
        side: Side,
        unit: &Unit<'_>,
        queue: &mut Queue<Waiting>,
        packing: &mut Packing,
    ) -> Read {
        let begins = side == Side::Requests && packed::is_first(unit.head);
        let lane = packing.lane(side);
        if begins && lane.is_amid() && !queue.certain() {
            // What was taken for the head of a packet after a loss was none.
            return Read::Broken;
        }
        let Some(carried) = packed::carried(unit) else { return Read::Broken };
        let mut input = carried.input(unit.ended);
        loop {
            let step = lane.next(&mut input, HEAD_BYTES, |bytes| self.packet_head(side, bytes));
            let packet = match step {
                Step::More => return Read::Understood,
                Step::Broken => return Read::Broken,
                Step::Unit(packet) => packet,
            };
            let packet = Unit { began: packet.began.min(unit.began), ..packet };
            let read = self.packet(side, &packet, queue);
            if read != Read::Understood || queue.must_go_blind() {
                return read;
            }
        }
    }

    fn packet_head(&self, side: Side, bytes: &[u8]) -> Head {
        let Some([a, b, c, _]) = bytes.first_chunk::<HEAD_BYTES>() else { return Head::More };
        let body = u64::from(u32::from_le_bytes([*a, *b, *c, 0]));
        let keep = match (side, self.login.is_done()) {
            (Side::Requests, true) => self.keep,
            (Side::Responses, true) => FIELDS_BYTES_MAX.max(self.captured_max),
            (_, false) => FIELDS_BYTES_MAX,
        };
        Head::Whole { len: HEAD_BYTES, body, keep }
    }
}

impl Grammar for MySql {
    type Call = Waiting;

    fn head(&self, side: Side, bytes: &[u8]) -> Head {
        if self.packing.is_some() { packed::head(bytes) } else { self.packet_head(side, bytes) }
    }

    fn request(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        self.travelled(Side::Requests, unit, queue)
    }

    fn response(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        self.travelled(Side::Responses, unit, queue)
    }

    fn begins_request(&self, bytes: &[u8]) -> bool {
        match self.packing {
            Some(_) => packed::begins_command(bytes),
            None => look::begins_command(bytes),
        }
    }

    fn forget(&mut self) {
        if self.packing.is_some() || self.login == Login::AnsweredCompressed {
            self.packing = Some(Packing::default());
        }
        self.login = Login::Done;
        self.namespace = None;
        self.prepared.clear();
        self.last_prepared = None;
        self.continues = [false; 2];
    }

    fn held_bytes(&self) -> usize {
        self.prepared.held_bytes() + self.packing.as_ref().map_or(0, Packing::held_bytes)
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The text behind the attributes of a query, if there are none of them but their number.
fn without_attributes(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(&[0, 1]).unwrap_or(bytes)
}
