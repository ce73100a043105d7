//! Memcached: the text protocol with its meta commands, and the binary one.
//!
//! Invariants: a command that asks for no reply takes nobody's; of quiet commands those that kept
//! silent are told apart from those that answered by what the answer names; a miss is no error.

mod binary;
mod look;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

pub(super) use look::look;

use super::dialogue::{Call, Dialogue, Draft, Grammar, Head, Queue, Read, Side, Unit};
use super::{DatabaseCall, Limits, Protocol, Role, Said, Statements};

/// Question marks in a text; more keys are shown as three dots.
const SHOWN_MAX: usize = 8;

/// A parser for a connection.
pub(super) fn parser(limits: Arc<Limits>, role: Role, from_start: bool) -> Box<dyn Protocol> {
    let memcached = Memcached {
        whole: limits.statements == Statements::Whole,
        keep: limits.body_bytes_max,
        text_bytes_max: limits.value_bytes_max,
    };
    Box::new(Dialogue::new(memcached, &limits, role, from_start))
}

/// All answers say by themselves what they are: nothing is remembered.
#[derive(Debug)]
struct Memcached {
    whole: bool,
    keep: usize,
    text_bytes_max: usize,
}

/// What an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// One line, with a value behind it or not.
    One,
    /// Values, and a line that ends them.
    Values,
    /// Lines of figures, and one that ends them.
    Figures,
    /// One packet.
    Packet,
    /// Packets, and one without a key.
    Packets,
}

#[derive(Debug)]
struct Waiting {
    call: DatabaseCall,
    answers: Answers,
    /// It may keep silent.
    quiet: bool,
    /// What its answer would name.
    mark: Mark,
}

/// What an answer names of its command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Mark {
    /// The command's own word, or its number.
    opcode: Option<u8>,
    opaque: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl Mark {
    /// Both may belong together.
    fn fits(&self, answer: &Self) -> bool {
        let fits = |own: &Option<Vec<u8>>, its: &Option<Vec<u8>>| match (own, its) {
            (Some(own), Some(its)) => own == its,
            // Whoever names nothing in its command is not named in the answer.
            (None, Some(_)) => false,
            (_, None) => true,
        };
        let opcode = answer.opcode.is_none() || answer.opcode == self.opcode;
        opcode && fits(&self.opaque, &answer.opaque) && fits(&self.key, &answer.key)
    }
}

impl Call for Waiting {
    fn said(self) -> Option<Said> {
        Some(Said::Database(self.call))
    }
}

/// A command that was read.
struct Command {
    waiting: Waiting,
    /// It is not answered at all.
    silent: bool,
}

impl Memcached {
    fn call(operation: &str, text: String) -> DatabaseCall {
        DatabaseCall {
            system: "memcached",
            operation: Some(operation.to_owned()),
            text: Some(text),
            ..DatabaseCall::default()
        }
    }

    fn ask(unit: &Unit<'_>, command: Command, queue: &mut Queue<Waiting>) {
        let mut draft = Draft::default();
        draft.add(unit, queue.captured_max());
        let Command { waiting, silent } = command;
        if silent {
            return queue.told(draft, waiting);
        }
        // Several quiet ones are sent as one with what makes the server answer.
        if queue.back().is_some_and(|back| back.call.quiet) {
            queue.join(draft, waiting);
        } else {
            queue.ask(draft, waiting);
        }
    }

    /// Lets go the quiet commands in front that this answer does not belong to.
    fn pass_silent(mark: &Mark, silent: impl Fn(&Waiting) -> bool, queue: &mut Queue<Waiting>) {
        while let Some(front) = queue.front()
            && front.call.quiet
            && !front.begun()
            && (!front.call.mark.fits(mark) || silent(&front.call))
        {
            queue.finish();
        }
    }
}

impl Grammar for Memcached {
    type Call = Waiting;

    fn head(&self, side: Side, bytes: &[u8]) -> Head {
        match bytes.first() {
            None => Head::More,
            Some(&binary::REQUEST | &binary::RESPONSE) => binary::head(side, bytes, self.keep),
            Some(_) => text::head(side, bytes, self.keep),
        }
    }

    fn request(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        let command = if unit.head.first() == Some(&binary::REQUEST) {
            binary::command(unit)
        } else {
            text::command(unit.head, self.whole, self.text_bytes_max)
        };
        match command {
            Ok(Some(command)) => Self::ask(unit, command, queue),
            Ok(None) => {}
            Err(read) => return read,
        }
        Read::Understood
    }

    fn response(&mut self, unit: &Unit<'_>, queue: &mut Queue<Waiting>) -> Read {
        if unit.head.first() == Some(&binary::RESPONSE) {
            binary::answer(unit, queue)
        } else {
            text::answer(unit, queue)
        }
    }

    fn begins_request(&self, bytes: &[u8]) -> bool {
        look::begins_command(bytes) == Some(true)
    }

    fn forget(&mut self) {}
}
