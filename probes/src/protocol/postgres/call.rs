//! What waits for an answer, and what that has to be made of.
//!
//! Invariant: an answer that is not the next one of what is expected is refused, never passed over.

use std::collections::VecDeque;

use crate::protocol::dialogue::Call;
use crate::protocol::{DatabaseCall, Said};

/// More messages of one group are not expected one by one.
const STEPS_MAX: usize = 4_096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// From who the client is to the server's being ready.
    Session,
    /// A simple query.
    Simple,
    /// Parts of an extended query up to its execution.
    Group,
    /// A synchronisation by itself.
    Sync,
}

#[derive(Debug)]
pub(super) struct Waiting {
    kind: Kind,
    call: DatabaseCall,
    /// Answers that are still to come, by the tag of the usual one.
    steps: VecDeque<u8>,
    /// The client may add to it.
    open: bool,
    executes: bool,
    prepares: bool,
    binds: bool,
    synchronises: bool,
    skipped: bool,
}

impl Waiting {
    pub(super) fn new(kind: Kind, call: DatabaseCall) -> Self {
        let session = matches!(kind, Kind::Session | Kind::Simple);
        Self {
            kind,
            call,
            steps: if session { VecDeque::from([b'Z']) } else { VecDeque::new() },
            open: kind == Kind::Group,
            executes: false,
            prepares: false,
            binds: false,
            synchronises: session,
            skipped: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// It ends with the server's being ready.
    pub(super) fn synchronises(&self) -> bool {
        self.synchronises
    }

    pub(super) fn expect(&mut self, steps: &[u8]) {
        if self.steps.len() < STEPS_MAX {
            self.steps.extend(steps);
        }
        self.binds |= steps.contains(&b'2');
        self.synchronises |= steps.contains(&b'Z');
    }

    /// It prepares this statement.
    pub(super) fn prepares(&mut self, call: DatabaseCall) {
        self.prepares = true;
        self.call = call;
    }

    /// It runs this statement, and is whole but for a synchronisation.
    pub(super) fn executes(&mut self, call: DatabaseCall) {
        self.executes = true;
        self.open = false;
        self.call = call;
    }

    /// The client asked for the answers so far. A statement that was only prepared is whole then;
    /// a bound one is still to be executed.
    pub(super) fn flush(&mut self) {
        self.open &= !self.prepares || self.binds;
    }

    /// Nothing more belongs to it.
    pub(super) fn close(&mut self) {
        self.open = false;
    }

    /// It failed. True if it is the last of what failed with it.
    pub(super) fn fail(&mut self, status: Option<String>) -> bool {
        self.call.error = Some("_OTHER");
        self.call.status = status;
        self.synchronise()
    }

    /// It is skipped, since something before it failed. True if it is the last.
    pub(super) fn skip(&mut self) -> bool {
        self.skipped |= self.call.error.is_none() && self.kind == Kind::Group;
        self.synchronise()
    }

    fn synchronise(&mut self) -> bool {
        if matches!(self.kind, Kind::Group | Kind::Sync) {
            self.steps.retain(|step| *step == b'Z');
        }
        self.synchronises
    }

    pub(super) fn is_done(&self) -> bool {
        self.steps.is_empty() && !self.open
    }

    /// A message of the server with this tag. False: it cannot come here.
    pub(super) fn answer(&mut self, tag: u8) -> bool {
        if matches!(self.kind, Kind::Session | Kind::Simple) {
            self.call.rows = rows(self.call.rows, tag, self.kind == Kind::Simple);
            if tag == b'Z' {
                self.steps.clear();
            }
            return !matches!(tag, b'1' | b'2' | b'3' | b't' | b's');
        }
        let Some(&next) = self.steps.front() else { return false };
        match (next, tag) {
            (b'T', b'T' | b'n') | (b'C', b'C' | b'I' | b's') => self.steps.pop_front().is_some(),
            (b'C', b'D' | b'T' | b'G' | b'H' | b'd' | b'c') => {
                self.call.rows = rows(self.call.rows, tag, true);
                true
            }
            _ if next == tag => self.steps.pop_front().is_some(),
            _ => false,
        }
    }
}

/// Rows so far; none where there are none to be had.
fn rows(rows: Option<u64>, tag: u8, counts: bool) -> Option<u64> {
    match tag {
        b'T' if counts => Some(rows.unwrap_or(0)),
        b'D' => Some(rows.unwrap_or(0) + 1),
        _ => rows,
    }
}

impl Call for Waiting {
    fn behind_bytes(&self) -> usize {
        self.call.behind_bytes()
    }

    fn said(self) -> Option<Said> {
        let Self { kind, mut call, executes, prepares, skipped, .. } = self;
        if skipped && call.error.is_none() {
            call.error = Some("pipeline_aborted");
        }
        match kind {
            Kind::Simple => {}
            // A session that is refused is told, one that begins well is not.
            Kind::Session => {
                call.error?;
                call.operation = Some("CONNECT".to_owned());
            }
            Kind::Group if executes => {}
            Kind::Group if prepares => {
                call.summary = call.summary.map(|summary| format!("PREPARE {summary}"));
                call.operation = Some("PREPARE".to_owned());
            }
            Kind::Group | Kind::Sync => return None,
        }
        Some(Said::Database(call))
    }

    fn settled(&self) -> bool {
        self.call.error.is_some()
    }
}
