//! Statements that are sent together, as one operation.
//!
//! Invariant: what is told of all of them is true of each; what was not seen of them is said to be cut.

use super::SYSTEM;
use crate::protocol::sql::Statement;
use crate::protocol::{DatabaseCall, Detail};

/// Stands between the texts of statements.
const BETWEEN: &str = "; ";
/// Stands for what was not kept of a text, or is not known of it.
const CUT: &str = "\u{2026}";

/// What statements have in common.
#[derive(Debug, Default, PartialEq, Eq)]
enum Same {
    #[default]
    Nothing,
    All(Option<String>),
    Differ,
}

impl Same {
    fn add(&mut self, one: Option<&String>) {
        match self {
            Self::Nothing => *self = Self::All(one.cloned()),
            Self::All(all) if all.as_ref() != one => *self = Self::Differ,
            Self::All(_) | Self::Differ => {}
        }
    }

    fn told(self) -> Option<String> {
        if let Self::All(all) = self { all } else { None }
    }
}

/// A batch that is being read.
#[derive(Debug)]
pub(super) struct Together {
    size: u16,
    seen: u16,
    text_bytes_max: usize,
    texts: Vec<String>,
    text_bytes: usize,
    cut: bool,
    text: Same,
    operation: Same,
    collection: Same,
    summary: Same,
    unknown: bool,
}

impl Together {
    pub(super) fn new(size: u16, text_bytes_max: usize) -> Self {
        Self {
            size,
            seen: 0,
            text_bytes_max,
            texts: Vec::new(),
            text_bytes: 0,
            cut: false,
            text: Same::default(),
            operation: Same::default(),
            collection: Same::default(),
            summary: Same::default(),
            unknown: false,
        }
    }

    /// One more of them; none: it was prepared unseen.
    pub(super) fn add(&mut self, statement: Option<&Statement>) {
        self.seen += 1;
        self.unknown |= statement.is_none();
        self.text.add(statement.map(|one| &one.text));
        self.operation.add(statement.and_then(|one| one.operation.as_ref()));
        self.collection.add(statement.and_then(|one| one.collection.as_ref()));
        self.summary.add(statement.and_then(|one| one.summary.as_ref()));
        let text = statement.map_or(CUT, |one| &one.text);
        self.text_bytes += text.len() + BETWEEN.len();
        if self.text_bytes <= self.text_bytes_max + BETWEEN.len() {
            self.texts.push(text.to_owned());
        } else {
            self.cut = true;
        }
    }

    /// What is told of them.
    pub(super) fn call(self, kind: &str) -> DatabaseCall {
        let all_seen = self.seen == self.size;
        let same = |same: Same| same.told().filter(|_| all_seen);
        let text = match same(self.text) {
            Some(text) => text,
            None => {
                let mut text = self.texts.join(BETWEEN);
                if self.cut || !all_seen {
                    text.push_str(CUT);
                }
                text
            }
        };
        let batch = |what: Option<String>| match what {
            Some(what) if self.size == 1 => what,
            Some(what) => format!("BATCH {what}"),
            None => "BATCH".to_owned(),
        };
        let mut details = vec![("icecore.cassandra.batch.type", Detail::Text(kind.to_owned()))];
        if self.size != 1 {
            // A single statement is no batch, as the conventions have it.
            details.push(("db.operation.batch.size", Detail::Number(i64::from(self.size))));
        }
        if self.unknown {
            let unknown = Detail::Text("unknown".to_owned());
            details.push(("icecore.cassandra.prepared.statement", unknown));
        }
        DatabaseCall {
            system: SYSTEM,
            operation: Some(batch(same(self.operation))),
            collection: same(self.collection),
            text: Some(text).filter(|text| !text.is_empty()),
            summary: Some(batch(same(self.summary))),
            details,
            ..DatabaseCall::default()
        }
    }
}
