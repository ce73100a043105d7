//! How long rows are kept: rules by table, condition and age. Pure but for the compiler of
//! conditions.
//!
//! A row is kept for the longest age of the rules that select it, and for ever where none does.
//!
//! Invariant: a rule speaks of a file only once all of the file is older than its age, so that
//! what it says of the file never changes afterwards: a file is looked into once for each age.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{FileEntry, Snapshot};
use crate::error::Error;
use crate::model::{Table, TimeRange, UnixNanos};
use crate::ports::{Condition, ConditionError, Conditions};
use crate::retention::select::{Selection, Wanted};

/// One rule, as an operator gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// The table whose rows it is about.
    pub table: Table,
    /// How long they are kept; `None` for ever.
    pub keep: Option<Duration>,
    /// Which rows, as a SQL condition; all where it is not given.
    pub condition: Option<String>,
}

impl fmt::Display for RetentionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, keep, condition } = self;
        match keep {
            Some(keep) => write!(f, "{table} {keep:?}")?,
            None => write!(f, "{table} forever")?,
        }
        condition.as_ref().map_or(Ok(()), |condition| write!(f, " where {condition}"))
    }
}

/// A rule that is understood.
#[derive(Debug)]
struct Rule {
    keep: Option<Duration>,
    selection: Selection,
    /// Tells it from another rule.
    mark: u64,
}

/// The rules of every table.
#[derive(Debug)]
pub(super) struct Rules {
    tables: [Vec<Rule>; Table::ALL.len()],
}

impl Rules {
    /// Compiles the rules over a snapshot; the error names the first that is not understood.
    pub(super) fn compile(
        rules: &[RetentionRule],
        conditions: Option<&Arc<dyn Conditions>>,
        snapshot: &Snapshot,
    ) -> Result<Self, Error> {
        let mut tables: [Vec<Rule>; Table::ALL.len()] = Default::default();
        for rule in rules {
            let RetentionRule { table, keep, condition } = rule;
            let condition = match condition {
                None => None,
                Some(sql) => {
                    Some(compile(conditions, *table, sql, snapshot).map_err(|source| {
                        Error::RetentionRule { rule: rule.to_string(), source }
                    })?)
                }
            };
            let selection = Selection { condition, ..Selection::ALL };
            let mark = hash(&rule.to_string());
            tables[*table as usize].push(Rule { keep: *keep, selection, mark });
        }
        Ok(Self { tables })
    }

    /// What the rules want of a file at a time, holds apart; and a mark that stays the same for as
    /// long as that does.
    pub(super) fn wanted(&self, file: &FileEntry, now: UnixNanos) -> (Wanted, u64) {
        let mut wanted = Wanted::default();
        let mut marks = DefaultHasher::new();
        for rule in &self.tables[file.table as usize] {
            let passed = rule.keep.is_some_and(|keep| {
                let keep = i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX);
                file.time.end().0 <= now.0.saturating_sub(keep)
            });
            (rule.mark, passed).hash(&mut marks);
            let selections = if passed { &mut wanted.due } else { &mut wanted.spared };
            selections.push(rule.selection.clone());
        }
        (wanted, marks.finish())
    }

    /// The time before which some rule speaks of rows of a table; `None` where none ever does.
    pub(super) fn old(&self, table: Table, now: UnixNanos) -> Option<TimeRange> {
        let keeps = self.tables[table as usize].iter().filter_map(|rule| rule.keep);
        let keep = i64::try_from(keeps.min()?.as_nanos()).unwrap_or(i64::MAX);
        TimeRange::new(TimeRange::ALL.start(), UnixNanos(now.0.saturating_sub(keep)))
    }
}

/// Compiles a condition, or says that nobody here can.
pub(super) fn compile(
    conditions: Option<&Arc<dyn Conditions>>,
    table: Table,
    sql: &str,
    snapshot: &Snapshot,
) -> Result<Arc<dyn Condition>, ConditionError> {
    let Some(conditions) = conditions else {
        return Err(ConditionError {
            reason: "this process understands no SQL conditions".to_owned(),
            hint: Some("use a binary that was built with the query API".to_owned()),
        });
    };
    conditions.compile(table, sql, snapshot)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
