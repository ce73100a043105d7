//! `icecore sql` at a terminal: statements are typed, edited, completed and run, one by one.
//!
//! Invariant: the terminal is as it was when the shell ends, however it ends.

mod buffer;
mod complete;
mod history;
mod keys;
mod screen;

use std::io::{Read as _, Write as _};

use rustix::termios::{self, OptionalActions, Termios};
use serde_json::json;

use self::buffer::Buffer;
use self::complete::Names;
use self::history::History;
use self::keys::{Key, Keys};
use self::screen::Screen;
use super::client::get_json;
use super::{note, print, sql, terminal};
use crate::error::{Failure, Outcome};

const HELP: &str = "A statement ends with `;` and may have many lines. Tab completes tables, columns, functions and keys of
attributes; the arrows up and down go through what was typed before, and with some text typed, through
what began like it. Ctrl-R finds what has it anywhere. Ctrl-C cancels what is typed or what runs, Ctrl-D leaves.

  \\d          tables and views           \\x          a line a value, or a line a row
  \\d TABLE    columns of one             \\q          leave
";

/// What a typed text comes to.
enum Typed {
    Text(String),
    Nothing,
    End,
}

/// Reads statements and runs them until the end of input.
pub(super) async fn run(url: &str) -> Outcome {
    let schema = get_json(url, "/api/v1/schema").await?;
    let mut editor = Editor {
        names: Names::of(&schema),
        history: History::open(history::file()),
        keys: Keys::default(),
        screen: Screen::default(),
    };
    print(&format!("Icecore at {url}. \\? helps, \\q leaves.\n"))?;
    let mut expanded = false;
    loop {
        let text = match editor.read()? {
            Typed::Text(text) => text,
            Typed::Nothing => continue,
            Typed::End => return Ok(()),
        };
        match text.trim() {
            "\\q" | "quit" | "exit" | "quit;" | "exit;" => return Ok(()),
            "\\?" | "help" | "help;" => print(HELP)?,
            "\\x" => expanded = !expanded,
            text => {
                editor.history.add(text);
                if let Err(failure) = statement(url, text, expanded).await {
                    super::tell(&failure);
                }
            }
        }
    }
}

async fn statement(url: &str, text: &str, expanded: bool) -> Outcome {
    let query = match text.strip_prefix('\\') {
        None => text.trim_end_matches(';').to_owned(),
        Some("d") => "SELECT table_name, table_type FROM information_schema.tables \
                      WHERE table_schema = 'public' ORDER BY 2, 1"
            .to_owned(),
        Some(command) => match command.strip_prefix("d ") {
            Some(table) => format!("DESCRIBE {}", table.trim().trim_end_matches(';')),
            None => return Err(Failure::usage(format!("there is no `\\{command}`; \\? helps"))),
        },
    };
    if query.trim().is_empty() {
        return Ok(());
    }
    let answer = sql::json_answer(url, "/api/v1/sql", &json!({ "query": query })).await?;
    sql::print_table(&answer, expanded)
}

/// Whether a text is a whole statement or command: it ends with `;` that is in no quotes or comment.
fn is_whole(text: &str) -> bool {
    let text = text.trim();
    if text.starts_with('\\') || ["", "quit", "exit", "help"].contains(&text) {
        return true;
    }
    let mut rest = text;
    let mut ends = false;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '\'' | '"' => closing(rest, 1, if first == '"' { "\"" } else { "'" }),
            '-' if rest.starts_with("--") => closing(rest, 2, "\n"),
            '/' if rest.starts_with("/*") => closing(rest, 2, "*/"),
            _ => Some(first.len_utf8()),
        };
        let Some(skipped) = skipped else { return ends && rest.starts_with("--") };
        let is_space = first.is_whitespace() || rest.starts_with("--") || rest.starts_with("/*");
        ends = first == ';' || (ends && is_space);
        rest = rest.get(skipped..).unwrap_or_default();
    }
    ends
}

/// Where what begins with `begun` bytes is behind its end.
fn closing(text: &str, begun: usize, end: &str) -> Option<usize> {
    let at = text.get(begun..)?.find(end)?;
    Some(begun + at + end.len())
}

/// Reads what is typed.
struct Editor {
    names: Names,
    history: History,
    keys: Keys,
    screen: Screen,
}

/// What is being typed, and where in the history one is.
struct Line {
    buffer: Buffer,
    /// What was typed before one went into the history, and the place there.
    recalled: Option<(String, usize)>,
    /// What is searched for, while it is.
    search: Option<String>,
}

impl Editor {
    /// Reads one statement.
    fn read(&mut self) -> Result<Typed, Failure> {
        let raw = Raw::enter()?;
        let mut line = Line { buffer: Buffer::default(), recalled: None, search: None };
        self.show(&line)?;
        let mut bytes = [0; 4096];
        loop {
            let read = std::io::stdin().read(&mut bytes);
            let read =
                read.map_err(|error| Failure::from_error("cannot read the terminal", &error))?;
            if read == 0 {
                return Ok(Typed::End);
            }
            for key in self.keys.feed(bytes.get(..read).unwrap_or_default()) {
                if let Some(typed) = self.press(&mut line, key)? {
                    drop(raw);
                    return Ok(typed);
                }
            }
            self.show(&line)?;
        }
    }

    /// Does what a key says; returns what was typed when it is whole.
    fn press(&mut self, line: &mut Line, key: Key) -> Result<Option<Typed>, Failure> {
        if line.search.is_some() && self.search(line, &key) {
            return Ok(None);
        }
        let buffer = &mut line.buffer;
        match key {
            Key::Enter if is_whole(buffer.text()) => {
                while buffer.down() {}
                buffer.end();
                self.show(line)?;
                write("\r\n")?;
                self.screen = Screen::default();
                let text = line.buffer.text();
                let nothing = text.trim().is_empty();
                return Ok(Some(if nothing {
                    Typed::Nothing
                } else {
                    Typed::Text(text.to_owned())
                }));
            }
            Key::Interrupt => {
                write("^C\r\n")?;
                self.screen = Screen::default();
                return Ok(Some(Typed::Nothing));
            }
            Key::Close if buffer.text().is_empty() => {
                write("\r\n")?;
                return Ok(Some(Typed::End));
            }
            Key::Tab => self.complete(buffer)?,
            Key::Up if !buffer.up() => self.recall(line, false),
            Key::Down if !buffer.down() => self.recall(line, true),
            Key::Clear => write("\u{1b}[H\u{1b}[2J")?,
            Key::Search => line.search = Some(String::new()),
            key => edit(buffer, key),
        }
        Ok(None)
    }

    /// Goes on with a search; false where the key ends it and has yet to be done.
    fn search(&self, line: &mut Line, key: &Key) -> bool {
        let place = line.recalled.as_ref().map_or(self.history.len(), |(_, place)| *place);
        let Some(mut wanted) = line.search.take() else { return false };
        let from = match key {
            Key::Text(text) => {
                wanted.push_str(text);
                self.history.len()
            }
            Key::Backspace => {
                wanted.pop();
                self.history.len()
            }
            Key::Search => place,
            Key::Interrupt => return true,
            _ => return false,
        };
        if let Some((place, entry)) = self.history.before(from, |entry| entry.contains(&wanted)) {
            let typed =
                line.recalled.take().map_or_else(|| line.buffer.text().to_owned(), |it| it.0);
            line.buffer = Buffer::of(entry);
            line.recalled = Some((typed, place));
        }
        line.search = Some(wanted);
        true
    }

    /// Goes to another entry of the history that begins like what was typed.
    fn recall(&self, line: &mut Line, newer: bool) {
        let (typed, place) = match line.recalled.take() {
            Some(recalled) => recalled,
            None => (line.buffer.text().to_owned(), self.history.len()),
        };
        let fits = |entry: &str| entry.starts_with(&typed);
        let found =
            if newer { self.history.after(place, fits) } else { self.history.before(place, fits) };
        match found {
            Some((place, entry)) => {
                line.buffer = Buffer::of(entry);
                line.recalled = Some((typed, place));
            }
            None if newer => line.buffer = Buffer::of(&typed),
            None => line.recalled = Some((typed, place)),
        }
    }

    /// Completes the word before the cursor as far as all choices agree, or shows them.
    fn complete(&mut self, buffer: &mut Buffer) -> Outcome {
        let choices = self.names.choices(buffer.before());
        let typed = buffer.before().len() - choices.from;
        let shared = choices.shared();
        let one = choices.words.len() == 1;
        if one || shared.len() > typed {
            let space = if one && !shared.ends_with(['(', ']']) { " " } else { "" };
            buffer.replace(choices.from, &format!("{shared}{space}"));
            return Ok(());
        }
        if choices.words.is_empty() {
            return write("\u{7}");
        }
        let columns = terminal::columns().unwrap_or(80);
        let words: Vec<String> =
            choices.words.iter().map(|word| terminal::one_line(word)).collect();
        let wide = words.iter().map(|word| terminal::width(word)).max().unwrap_or(1) + 2;
        let mut shown = self.screen.gone();
        for row in words.chunks((columns / wide).max(1)) {
            let cells = row
                .iter()
                .map(|word| format!("{word}{}", " ".repeat(wide - terminal::width(word))));
            shown.push_str(&format!("{}\r\n", cells.collect::<String>().trim_end()));
        }
        write(&shown)
    }

    fn show(&mut self, line: &Line) -> Outcome {
        let columns = terminal::columns().unwrap_or(80);
        let mut drawn = self.screen.draw(line.buffer.before(), line.buffer.after(), columns);
        if let Some(wanted) = &line.search {
            let found = self.screen.gone();
            let text = format!("{}\n-- finds: {wanted}", line.buffer.text());
            drawn = format!("{found}{}", self.screen.draw(&text, "", columns));
        }
        write(&drawn)
    }
}

/// The keys that only change the text.
fn edit(buffer: &mut Buffer, key: Key) {
    match key {
        Key::Text(text) | Key::Paste(text) => buffer.insert(&text),
        Key::Enter | Key::Break => buffer.insert("\n"),
        Key::Backspace => buffer.backspace(),
        Key::Delete | Key::Close => buffer.delete(),
        Key::Left => buffer.left(),
        Key::Right => buffer.right(),
        Key::WordLeft => buffer.word_left(),
        Key::WordRight => buffer.word_right(),
        Key::Home => buffer.home(),
        Key::End => buffer.end(),
        Key::CutEnd => buffer.cut(Buffer::end),
        Key::CutStart => buffer.cut(Buffer::home),
        Key::CutWord => buffer.cut(Buffer::word_left),
        Key::Tab | Key::Up | Key::Down | Key::Clear | Key::Search | Key::Interrupt => {}
    }
}

/// The terminal as it gives every key at once; as it was when this is dropped.
struct Raw {
    was: Termios,
}

impl Raw {
    fn enter() -> Result<Self, Failure> {
        let failed =
            |error: rustix::io::Errno| Failure::from_error("cannot set up the terminal", &error);
        let stdin = std::io::stdin();
        let was = termios::tcgetattr(&stdin).map_err(failed)?;
        let mut raw = was.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Drain, &raw).map_err(failed)?;
        // What is pasted comes marked, so that a line break in it runs nothing.
        write("\u{1b}[?2004h")?;
        Ok(Self { was })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        drop(write("\u{1b}[?2004l"));
        if let Err(error) = termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.was)
        {
            note(&format!("the terminal cannot be set back: {error}"));
        }
    }
}

/// Sends to the terminal.
fn write(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    let sent = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    sent.map_err(|error| Failure::from_error("cannot write to the terminal", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: statements whose `;` is at the end, in quotes, in comments; commands.
    /// Guarantees: Enter runs what is whole and breaks the line of what is not.
    #[test]
    fn a_statement_ends_with_a_semicolon() {
        for whole in [
            "",
            "SELECT 1;",
            "SELECT ';';  ",
            "\\d spans",
            "quit",
            "SELECT 1; -- done",
            "SELECT 1 /* ; */;",
        ] {
            assert!(is_whole(whole), "{whole}");
        }
        for open in [
            "SELECT 1",
            "SELECT ';",
            "SELECT 1 -- ;",
            "/* ; */",
            "SELECT \";\"",
            "SELECT 1; SELECT 2",
        ] {
            assert!(!is_whole(open), "{open}");
        }
    }
}
