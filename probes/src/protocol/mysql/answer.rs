//! What waits for an answer, and where in that answer the next packet stands.
//!
//! Invariant: the end of an answer is told from its packets alone, whichever of the two ways to end
//! a list the ends have agreed on.

use std::sync::Arc;

use crate::protocol::dialogue::{Call, Unit};
use crate::protocol::sql::Statement;
use crate::protocol::{DatabaseCall, Said};

const OK: u8 = 0x00;
const FILE: u8 = 0xfb;
const EOF: u8 = 0xfe;
const ERROR: u8 = 0xff;
/// A packet with only this many bytes ends a list in the old way.
const EOF_BYTES: u64 = 5;
/// `SERVER_MORE_RESULTS_EXISTS`
const MORE_RESULTS: u16 = 0x0008;
/// `SERVER_STATUS_CURSOR_EXISTS`: rows come when they are fetched.
const CURSOR: u16 = 0x0040;
/// In place of the number of an error: how far MariaDB has come.
const PROGRESS: u16 = 0xffff;

/// What the next packet of an answer should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expects {
    /// What a login comes to.
    Login,
    /// That it is done, and nothing else.
    Plain,
    /// As `Plain`; this database is used from then on.
    Database(Option<String>),
    /// One packet, whatever it is.
    Line,
    /// That it is done, or how many columns a result has.
    Result,
    /// The number of a statement and of what is told of it.
    Prepared(Arc<Statement>),
    /// Descriptions of parameters, and then of columns.
    Descriptions { parameters: u64, columns: u64, statement: Arc<Statement>, number: u32 },
    /// Descriptions of so many columns.
    Columns(u64),
    /// The end of the descriptions, or the first row.
    FirstRow,
    /// A row, or their end.
    Rows,
    /// What came of a file that the client sends.
    File,
}

#[derive(Debug)]
pub(super) struct Waiting {
    call: DatabaseCall,
    expects: Expects,
    prepared: Option<(u32, Arc<Statement>)>,
    logs_in: bool,
    /// A packet of which nobody knows whether it comes may still come.
    unsure: bool,
    /// The database that is used from then on, if it succeeds; its name may be unknown.
    database: Option<Option<String>>,
}

impl Waiting {
    pub(super) fn new(expects: Expects, call: DatabaseCall) -> Self {
        let database = match &expects {
            Expects::Database(name) => Some(name.clone()),
            Expects::Result if call.operation.as_deref() == Some("USE") => {
                Some(used(call.text.as_deref()))
            }
            _ => None,
        };
        let logs_in = expects == Expects::Login;
        Self { call, expects, prepared: None, logs_in, unsure: false, database }
    }

    pub(super) fn succeeded(&self) -> bool {
        self.call.status.is_none() && self.call.error.is_none()
    }

    /// The statement that it has prepared, with its number.
    pub(super) fn prepared(&self) -> Option<(u32, Arc<Statement>)> {
        self.prepared.clone()
    }

    pub(super) fn database(&self) -> Option<Option<String>> {
        self.database.clone()
    }

    pub(super) fn logs_in(&self) -> bool {
        self.logs_in
    }

    /// Nothing more can come.
    pub(super) fn sure(&self) -> bool {
        !self.unsure
    }

    /// The server has asked for a file.
    pub(super) fn takes_file(&self) -> bool {
        self.expects == Expects::File
    }

    /// A packet of the answer. True: the last one; none: it cannot come here. `deprecates_eof`: lists
    /// have no packet of their own behind them, if that is known or becomes known here.
    pub(super) fn answer(
        &mut self,
        unit: &Unit<'_>,
        deprecates_eof: &mut Option<bool>,
    ) -> Option<bool> {
        // Without its first byte nobody knows what it is.
        let kind = *unit.body.first()?;
        if kind == ERROR && !matches!(self.expects, Expects::Line) {
            return Some(self.failed(unit));
        }
        match &mut self.expects {
            // More is asked of the client, or it is in.
            Expects::Login => Some(kind == OK),
            Expects::Plain | Expects::Database(_) => matches!(kind, OK | EOF).then_some(true),
            Expects::Line => Some(true),
            Expects::File => Some(self.done(unit, kind)?),
            Expects::Result if kind == FILE => {
                self.expects = Expects::File;
                Some(false)
            }
            Expects::Result if matches!(kind, OK | EOF) => self.done(unit, kind),
            Expects::Result => self.columns(unit),
            Expects::Prepared(statement) => {
                let statement = Arc::clone(statement);
                self.begin_descriptions(unit, statement, *deprecates_eof)
            }
            Expects::Descriptions { .. } => self.describe(unit, deprecates_eof),
            Expects::Columns(left) => {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.expects = Expects::FirstRow;
                }
                Some(false)
            }
            Expects::FirstRow if is_eof(unit) && *deprecates_eof != Some(true) => {
                *deprecates_eof = Some(false);
                self.expects = Expects::Rows;
                Some(status_of_eof(unit)? & CURSOR != 0)
            }
            Expects::FirstRow | Expects::Rows => self.row(unit, kind),
        }
    }

    fn failed(&mut self, unit: &Unit<'_>) -> bool {
        let code =
            unit.body.get(1..3).and_then(<[u8]>::first_chunk).map(|it| u16::from_le_bytes(*it));
        if code == Some(PROGRESS) {
            return false;
        }
        self.call.error = Some("_OTHER");
        self.call.status = code.map(|code| code.to_string());
        true
    }

    /// That something is done, with the word whether more follows.
    fn done(&mut self, unit: &Unit<'_>, kind: u8) -> Option<bool> {
        let status = if kind == EOF && is_eof(unit) { status_of_eof(unit)? } else { status(unit)? };
        let more = status & MORE_RESULTS != 0;
        self.expects = Expects::Result;
        Some(!more)
    }

    fn columns(&mut self, unit: &Unit<'_>) -> Option<bool> {
        let (count, rest) = length(unit.body)?;
        self.call.rows = Some(self.call.rows.unwrap_or(0));
        // A client of MariaDB may know the columns already.
        let known = rest.first() == Some(&0);
        let short = unit.body_bytes <= 10 && rest.len() <= 1;
        self.expects = if known { Expects::FirstRow } else { Expects::Columns(count) };
        (short && count > 0).then_some(false)
    }

    fn row(&mut self, unit: &Unit<'_>, kind: u8) -> Option<bool> {
        if kind == EOF && unit.body_bytes < super::PACKET_BYTES_MAX {
            return self.done(unit, kind);
        }
        self.expects = Expects::Rows;
        self.call.rows = Some(self.call.rows.unwrap_or(0) + 1);
        Some(false)
    }

    fn begin_descriptions(
        &mut self,
        unit: &Unit<'_>,
        statement: Arc<Statement>,
        deprecates_eof: Option<bool>,
    ) -> Option<bool> {
        let [OK, a, b, c, d, columns_low, columns_high, low, high] = *unit.body.first_chunk()?
        else {
            return None;
        };
        let number = u32::from_le_bytes([a, b, c, d]);
        let columns = u64::from(u16::from_le_bytes([columns_low, columns_high]));
        let parameters = u64::from(u16::from_le_bytes([low, high]));
        self.prepared = Some((number, Arc::clone(&statement)));
        if parameters + columns == 0 {
            return Some(true);
        }
        // Each list has a packet behind it, in the old way.
        let behind = u64::from(deprecates_eof == Some(false));
        let with_end = |count: u64| if count > 0 { count + behind } else { 0 };
        let (parameters, columns) = (with_end(parameters), with_end(columns));
        self.expects = Expects::Descriptions { parameters, columns, statement, number };
        Some(false)
    }

    fn describe(&mut self, unit: &Unit<'_>, deprecates_eof: &mut Option<bool>) -> Option<bool> {
        let Expects::Descriptions { parameters, columns, .. } = &mut self.expects else {
            return None;
        };
        if deprecates_eof.is_none() && is_eof(unit) {
            // Not among those that were counted; there is another one behind the columns.
            *deprecates_eof = Some(false);
            *columns += u64::from(*columns > 0);
            return Some(*columns == 0);
        }
        if *parameters > 0 {
            *parameters -= 1;
        } else {
            *columns = columns.saturating_sub(1);
        }
        self.unsure = deprecates_eof.is_none();
        Some(*parameters + *columns == 0)
    }
}

/// `USE name`
fn used(text: Option<&str>) -> Option<String> {
    let name = text?.split_whitespace().nth(1)?;
    Some(name.trim_matches(['`', ';']).to_owned())
}

/// The end of a list, in the old way.
pub(super) fn is_eof(unit: &Unit<'_>) -> bool {
    unit.body.first() == Some(&EOF) && unit.body_bytes == EOF_BYTES
}

fn status_of_eof(unit: &Unit<'_>) -> Option<u16> {
    let bytes = unit.body.get(3..).and_then(<[u8]>::first_chunk);
    bytes.map(|bytes| u16::from_le_bytes(*bytes))
}

/// Behind the rows that were changed and the number that was given out.
fn status(unit: &Unit<'_>) -> Option<u16> {
    let (_, rest) = length(unit.body.get(1..)?)?;
    let (_, rest) = length(rest)?;
    rest.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

/// A number of one, three, four or nine bytes.
pub(super) fn length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let count = match first {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return None,
        small => return Some((u64::from(small), rest)),
    };
    let (number, rest) = rest.split_at_checked(count)?;
    let mut wide = [0; 8];
    wide.iter_mut().zip(number).for_each(|(to, from)| *to = *from);
    Some((u64::from_le_bytes(wide), rest))
}

impl Call for Waiting {
    fn behind_bytes(&self) -> usize {
        self.call.behind_bytes()
    }

    fn said(self) -> Option<Said> {
        // A login that goes well is no operation.
        let told = !self.logs_in || !self.succeeded();
        told.then_some(Said::Database(self.call))
    }

    fn settled(&self) -> bool {
        self.call.error.is_some()
    }
}
