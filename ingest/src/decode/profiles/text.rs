//! The two texts that rows have of a stack: names of frames, and what else is known of them.
//!
//! Invariant: both are JSON arrays of the same length. A frame whose function has a name goes by it;
//! any other says in its details that the name is not the function's.

use icecore_store::model::value::{write_int, write_string};

use super::super::wire::{Broken, text};
use super::stack::{Line, Location, Mapping};

/// How long a text can become in JSON.
pub(super) fn written_max(text: &[u8]) -> usize {
    const ESCAPED: usize = "\\u0000".len();
    let escaped = |byte: &&u8| byte.is_ascii_control() || matches!(byte, b'"' | b'\\');
    text.len() + (ESCAPED - 1) * text.iter().filter(escaped).count()
}

/// Texts under construction; their memory is kept from stack to stack.
#[derive(Debug, Default)]
pub(super) struct StackText {
    /// The column `stack`.
    pub(super) names: String,
    details: String,
    /// Whether any frame has a detail.
    detailed: bool,
    /// Whether the frame has one so far.
    of_frame: bool,
}

impl StackText {
    pub(super) fn clear(&mut self) {
        let Self { names, details, detailed, of_frame } = self;
        names.clear();
        names.push('[');
        details.clear();
        details.push('[');
        (*detailed, *of_frame) = (false, false);
    }

    pub(super) fn finish(&mut self) {
        self.names.push(']');
        self.details.push(']');
    }

    /// The column `frames`.
    pub(super) fn frames(&self) -> Option<&str> {
        self.detailed.then_some(self.details.as_str())
    }

    pub(super) fn bytes(&self) -> usize {
        self.names.len() + self.details.len()
    }

    pub(super) fn begin_frame(&mut self) {
        for text in [&mut self.names, &mut self.details] {
            if text.len() > 1 {
                text.push(',');
            }
        }
        self.details.push('{');
        self.of_frame = false;
    }

    pub(super) fn end_frame(&mut self) {
        self.details.push('}');
    }

    /// The function, else what the linker calls it, else where it is.
    pub(super) fn name(
        &mut self,
        line: Option<&Line<'_>>,
        location: &Location<'_>,
        mapping: &Mapping<'_>,
    ) -> Result<(), Broken> {
        let known = line.map(|line| [line.name, line.system_name]).unwrap_or_default();
        if let Some(name) = known.into_iter().find(|name| !name.is_empty()) {
            write_string(&mut self.names, text(name)?);
            return Ok(());
        }
        let file = text(mapping.file)?;
        let file = file.rsplit('/').next().unwrap_or_default();
        let plus = if file.is_empty() { "" } else { "+" };
        write_string(&mut self.names, &format!("{file}{plus}{:#x}", location.address));
        Ok(())
    }

    /// What is known from the source.
    pub(super) fn line(&mut self, line: &Line<'_>) -> Result<(), Broken> {
        if line.name.is_empty() {
            self.detail("function").push_str("\"\"");
        }
        self.text("system_name", line.system_name)?;
        self.text("file", line.file)?;
        self.number("line", line.line);
        self.number("column", line.column);
        self.number("start_line", line.start_line);
        Ok(())
    }

    /// A detail whose value is appended by the caller.
    pub(super) fn detail(&mut self, key: &str) -> &mut String {
        if self.of_frame {
            self.details.push(',');
        }
        (self.detailed, self.of_frame) = (true, true);
        write_string(&mut self.details, key);
        self.details.push(':');
        &mut self.details
    }

    pub(super) fn text(&mut self, key: &str, content: &[u8]) -> Result<(), Broken> {
        if !content.is_empty() {
            write_string(self.detail(key), text(content)?);
        }
        Ok(())
    }

    fn number(&mut self, key: &str, number: i64) {
        if number != 0 {
            write_int(self.detail(key), number);
        }
    }

    /// As hex text: many a JSON reader rounds numbers of that size.
    pub(super) fn address(&mut self, key: &str, address: u64) {
        if address != 0 {
            write_string(self.detail(key), &format!("{address:#x}"));
        }
    }

    /// A text that is an object already; an empty one is none.
    pub(super) fn object(&mut self, key: &str, object: &str) {
        if !object.is_empty() {
            self.detail(key).push_str(object);
        }
    }
}
