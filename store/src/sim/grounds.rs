//! On what grounds a row may go: rules, erasures that somebody asked for, and the holds against
//! both, in the plainest way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::promises::at_of;
use crate::catalog::record::Cause;
use crate::model::{HoldName, TimeRange, UnixNanos};

/// A rule of retention, in seconds; none is for ever. Of rows whose body has the text.
pub(super) type Rule = (Option<u64>, &'static str);

/// A hold, in all its time.
#[derive(Debug)]
struct Held {
    name: HoldName,
    time: TimeRange,
    text: String,
    made: Duration,
    released: Option<Duration>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Grounds {
    rules: &'static [Rule],
    /// Texts that somebody wants to be forgotten, and whether at once.
    asked: BTreeMap<String, bool>,
    holds: Vec<Held>,
}

/// The text of a condition; all rows have none.
fn text_of(condition: Option<&str>) -> &str {
    condition.and_then(|sql| sql.strip_prefix("body has ")).unwrap_or_default()
}

impl Held {
    fn keeps(&self, body: &str) -> bool {
        self.time.contains(at_of(body)) && body.contains(&self.text)
    }
}

impl Grounds {
    /// These rules, and nothing else yet.
    pub(super) fn ruled_by(rules: &'static [Rule]) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Rows with this text may go from now on, whoever asked.
    pub(super) fn ask(&mut self, text: &str, now: bool) {
        *self.asked.entry(text.to_owned()).or_default() |= now;
    }

    /// Holds will land again.
    pub(super) fn forget_holds(&mut self) {
        self.holds.clear();
    }

    /// A hold landed. One with the name of one that stands is void.
    pub(super) fn hold(
        &mut self,
        (name, time): (HoldName, TimeRange),
        condition: Option<&str>,
        made: Duration,
    ) {
        if !self.stands(&name) {
            let text = text_of(condition).to_owned();
            self.holds.push(Held { name, time, text, made, released: None });
        }
    }

    /// A release landed.
    pub(super) fn release(&mut self, name: &HoldName, now: Duration) {
        for held in &mut self.holds {
            if held.name == *name {
                held.released.get_or_insert(now);
            }
        }
    }

    fn stands(&self, name: &HoldName) -> bool {
        self.holds.iter().any(|held| held.name == *name && held.released.is_none())
    }

    /// Whether a hold of this name was made since.
    pub(super) fn was_made(&self, name: &HoldName, since: Duration) -> bool {
        self.holds.iter().any(|held| held.name == *name && held.made >= since)
    }

    /// Whether a hold kept the row at some time since.
    pub(super) fn was_held(&self, body: &str, since: Duration) -> bool {
        let stood = |held: &&Held| held.released.is_none_or(|released| released >= since);
        self.holds.iter().filter(stood).any(|held| held.keeps(body))
    }

    /// Whether a hold that stands keeps the row.
    pub(super) fn is_held(&self, body: &str) -> bool {
        self.holds.iter().any(|held| held.released.is_none() && held.keeps(body))
    }

    /// Whether rules let a row of this time go.
    pub(super) fn is_due(&self, body: &str, at: UnixNanos, now: UnixNanos) -> bool {
        let selects = self.rules.iter().filter(|(_, text)| body.contains(text));
        let longest = selects.map(|(keep, _)| keep.unwrap_or(u64::MAX)).max();
        let age_s = u64::try_from((now.0 - at.0) / 1_000_000_000).unwrap_or(0);
        longest.is_some_and(|longest| age_s >= longest)
    }

    /// Whether a file with such a row may be deleted without its grace.
    pub(super) fn hurries(&self, body: &str) -> bool {
        self.asked.iter().any(|(text, now)| *now && body.contains(text))
    }

    /// Panics where the row must not go.
    pub(super) fn check(&self, cause: Cause, body: &str, now: UnixNanos) {
        assert!(!self.is_held(body), "{body} goes, and a hold keeps it");
        let may_go = match cause {
            Cause::Retention => self.is_due(body, at_of(body), now),
            Cause::Erasure => self.asked.keys().any(|text| body.contains(text)),
        };
        assert!(may_go, "{body} goes by {cause:?} without a reason");
    }
}
