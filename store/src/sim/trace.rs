//! What happened, line by line, with short names, so that two runs can be compared and one read.

use std::collections::BTreeMap;
use std::time::Duration;

use ulid::Ulid;

/// The events of one run.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) lines: Vec<String>,
    names: BTreeMap<Ulid, usize>,
}

impl Trace {
    /// One more event.
    pub(super) fn note(&mut self, now: Duration, who: &str, what: &str) {
        self.lines.push(format!("{:>12.6} {who:<12} {what}", now.as_secs_f64()));
    }

    /// A path, with ids in the order in which they were first seen: ids hold the time of the run.
    pub(super) fn short(&mut self, path: &str) -> String {
        let mut parts: Vec<String> = Vec::new();
        for part in path.split('/') {
            if part.starts_with("date=") {
                continue;
            }
            let (stem, ending) = part.split_once('.').unwrap_or((part, ""));
            let id = stem.rsplit('-').next().and_then(|id| id.parse::<Ulid>().ok());
            parts.push(match id {
                Some(id) => {
                    let count = self.names.len();
                    let known = *self.names.entry(id).or_insert(count);
                    format!("#{known}{}{ending}", if ending.is_empty() { "" } else { "." })
                }
                None => part.trim_start_matches('0').to_owned(),
            });
        }
        parts.join("/")
    }

    /// The last events, for a person.
    pub(super) fn tail(&self, lines: usize) -> String {
        self.lines[self.lines.len().saturating_sub(lines)..].join("\n")
    }
}
