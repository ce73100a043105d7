//! What was typed before, in a file that only its owner may read: a query can name secrets.
//!
//! Invariant: at most [`ENTRIES_MAX`] entries are kept; a file that cannot be read or written costs
//! the history and nothing else.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

/// Entries that are kept.
const ENTRIES_MAX: usize = 1000;

/// Statements, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: Vec<String>,
    file: Option<PathBuf>,
}

impl History {
    /// Reads the file; shortens one that has grown.
    pub(super) fn open(file: Option<PathBuf>) -> Self {
        let text = file.as_ref().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        // An entry a line, as JSON, since a statement has lines of its own.
        let all: Vec<String> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let start = all.len().saturating_sub(ENTRIES_MAX);
        let mut history = Self { entries: all.into_iter().skip(start).collect(), file };
        if start > 0 {
            history.write(false);
        }
        history
    }

    /// Adds one, unless it is the last one again.
    pub(super) fn add(&mut self, entry: &str) {
        if entry.trim().is_empty() || self.entries.last().is_some_and(|last| last == entry) {
            return;
        }
        self.entries.push(entry.to_owned());
        if self.entries.len() > ENTRIES_MAX {
            self.entries.remove(0);
        }
        self.write(true);
    }

    /// The newest before `place` (counted from the oldest) that `fits`, and its place.
    pub(super) fn before(
        &self,
        place: usize,
        fits: impl Fn(&str) -> bool,
    ) -> Option<(usize, &str)> {
        let older = self.entries.iter().enumerate().take(place).rev();
        older.map(|(at, entry)| (at, entry.as_str())).find(|(_, entry)| fits(entry))
    }

    /// The oldest behind `place` that `fits`, and its place.
    pub(super) fn after(&self, place: usize, fits: impl Fn(&str) -> bool) -> Option<(usize, &str)> {
        let newer = self.entries.iter().enumerate().skip(place + 1);
        newer.map(|(at, entry)| (at, entry.as_str())).find(|(_, entry)| fits(entry))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Writes the last entry behind the others, or all of them anew.
    fn write(&mut self, last_only: bool) {
        let Some(file) = &self.file else { return };
        let from = if last_only { self.entries.len() - 1 } else { 0 };
        let lines: String = self
            .entries
            .iter()
            .skip(from)
            .map(|entry| format!("{}\n", serde_json::Value::from(entry.as_str())))
            .collect();
        let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
        let written = folder.and_then(|()| {
            let mut options = OpenOptions::new();
            let options = options.create(true).mode(0o600);
            let options =
                if last_only { options.append(true) } else { options.write(true).truncate(true) };
            let mut out = options.open(file)?;
            out.set_permissions(fs::Permissions::from_mode(0o600))?;
            out.write_all(lines.as_bytes())
        });
        if let Err(error) = written {
            super::super::note(&format!(
                "the history cannot be kept in `{}`: {error}",
                file.display()
            ));
            self.file = None;
        }
    }
}

/// Where the history is: `$XDG_STATE_HOME/icecore/history`, or in the home folder.
pub(super) fn file() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    let state =
        folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|it| it.join(".local/state")));
    state.map(|state| state.join("icecore/history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: entries of several lines, repeated, more than are kept; the file read again.
    /// Guarantees: whole and in order, each repeated one once, bounded, readable by its owner only.
    #[test]
    fn entries_are_kept_for_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/history");
        let file = Some(path.clone());
        let mut history = History::open(file.clone());
        for entry in ["SELECT\n1;", "SELECT\n1;", " ", "SELECT 2;"] {
            history.add(entry);
        }
        let mut again = History::open(file.clone());
        assert_eq!(again.entries, ["SELECT\n1;", "SELECT 2;"]);
        assert_eq!(again.before(2, |_| true), Some((1, "SELECT 2;")));
        assert_eq!(again.before(2, |it| it.starts_with("SELECT\n")), Some((0, "SELECT\n1;")));
        assert_eq!(
            (again.before(0, |_| true), again.after(0, |_| true)),
            (None, Some((1, "SELECT 2;")))
        );
        for number in 0..ENTRIES_MAX + 5 {
            again.add(&number.to_string());
        }
        let last = History::open(file);
        assert_eq!((last.len(), last.entries[0].as_str()), (ENTRIES_MAX, "5"));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), ENTRIES_MAX);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
