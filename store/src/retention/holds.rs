//! Holds: made, released, listed, and understood by whoever removes rows.
//!
//! Invariant: after `Ok`, the hold stands in the common sequence, and every removal after it was
//! published by somebody who had read it.

use std::sync::Arc;

use tracing::{info, warn};

use crate::catalog::append::{Appended, append};
use crate::catalog::record::{Body, Record, Sequence};
use crate::catalog::{FileEntry, Snapshot};
use crate::error::Error;
use crate::model::{Hold, HoldName, Table, TimeRange};
use crate::ports::{ConditionError, Conditions};
use crate::retention::rules::compile;
use crate::retention::select::Selection;
use crate::store::Store;

/// Holds that can stand at one time: each costs every pass over the catalog a little.
const HOLDS_MAX: usize = 1000;

/// The longest condition, in bytes: those of holds are kept in memory by every process.
const CONDITION_BYTES_MAX: usize = 64 << 10;

/// How often the next number of the common sequence may be taken by others before a caller is
/// told to come back.
const ATTEMPTS: u32 = 64;

/// The catalog, and the number of the one record that may be decided on over it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) snapshot: Snapshot,
    pub(super) number: u64,
}

/// A hold that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRequest {
    /// What it is to be called.
    pub name: HoldName,
    /// Rows whose time is in it.
    pub time: TimeRange,
    /// Of these, only rows that this SQL condition accepts; all where there is none.
    pub condition: Option<String>,
    /// Of these tables; none for every table on which the condition is understood.
    pub tables: Vec<Table>,
}

/// What came of a wish for a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldOutcome {
    /// It stands from now on.
    Made(Hold),
    /// It stood already, the very same.
    Same(Hold),
    /// Another hold has the name, and nothing was changed.
    Other(Hold),
    /// As many holds stand as can, and nothing was changed.
    TooMany(usize),
}

/// A hold and the files that it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFiles {
    /// The hold.
    pub hold: Hold,
    /// Files with rows in its window. The condition is not looked at.
    pub files: u64,
    /// Rows of these files: at least as many as the hold keeps.
    pub rows: u64,
    /// Bytes of these files.
    pub bytes: u64,
}

impl Store {
    /// Makes a hold. What was removed before it cannot be brought back.
    pub async fn hold(&self, request: HoldRequest) -> Result<HoldOutcome, Error> {
        for _ in 0..ATTEMPTS {
            let Head { snapshot, number } = self.head().await?;
            let hold = self.wished(&request, &snapshot)?;
            if let Some(known) = snapshot.hold(&hold.name) {
                return Ok(match known.is_same(&hold) {
                    true => HoldOutcome::Same(known.clone()),
                    false => HoldOutcome::Other(known.clone()),
                });
            }
            if snapshot.holds().count() >= HOLDS_MAX {
                return Ok(HoldOutcome::TooMany(HOLDS_MAX));
            }
            let Hold { name, time, condition, tables, at } = hold.clone();
            let body = Body::Hold { name, time, condition, tables };
            let record = Record { id: self.mint(), at, body };
            if self.append_at(number, &record).await? {
                info!(name = %hold.name, from = %hold.time.start(), to = %hold.time.end(), "held");
                // As everybody has it from now on: it is dated from when it landed.
                let stands = self.snapshot().hold(&hold.name).cloned();
                return Ok(HoldOutcome::Made(stands.unwrap_or(hold)));
            }
        }
        Err(Error::Crowded { attempts: ATTEMPTS })
    }

    /// Lets a hold go; `None` where none has the name.
    pub async fn release(&self, name: &HoldName) -> Result<Option<Hold>, Error> {
        for _ in 0..ATTEMPTS {
            let Head { snapshot, number } = self.head().await?;
            let Some(hold) = snapshot.hold(name).cloned() else { return Ok(None) };
            let body = Body::Release { name: name.clone() };
            let record = Record { id: self.mint(), at: self.clock.now(), body };
            if self.append_at(number, &record).await? {
                info!(%name, "released");
                return Ok(Some(hold));
            }
        }
        Err(Error::Crowded { attempts: ATTEMPTS })
    }

    /// The holds that stand, by name, each with what it keeps.
    pub async fn holds(&self) -> Result<Vec<HeldFiles>, Error> {
        let snapshot = self.refresh().await?;
        Ok(snapshot.holds().map(|hold| held_files(&snapshot, hold)).collect())
    }

    /// Reads what others wrote, and where that leaves the common sequence.
    pub(super) async fn head(&self) -> Result<Head, Error> {
        self.refresh().await?;
        Ok(self.known_head().await)
    }

    /// The same by what is known here. Whoever publishes over it and is not the first learns what
    /// was missing.
    pub(super) async fn known_head(&self) -> Head {
        let state = self.state.lock().await;
        let number = state.next(Sequence::Compaction);
        Head { snapshot: state.snapshot().clone(), number }
    }

    /// Appends a record that was decided on over all records before `number`; `false` where
    /// somebody was first, who is then known here.
    pub(super) async fn append_at(&self, number: u64, record: &Record) -> Result<bool, Error> {
        self.own_as_process().await?;
        match append(&self.bucket, Sequence::Compaction, number, record).await? {
            Appended::Ours => {
                self.apply(Sequence::Compaction, number, record.clone()).await?;
                Ok(true)
            }
            Appended::Taken(_) => {
                self.refresh().await?;
                Ok(false)
            }
        }
    }

    /// The hold that is asked for, with its tables spelled out.
    fn wished(&self, request: &HoldRequest, snapshot: &Snapshot) -> Result<Hold, Error> {
        let HoldRequest { name, time, condition, tables } = request;
        let tables = self.understood(condition.as_deref(), tables, snapshot)?;
        let (name, condition) = (name.clone(), condition.clone());
        Ok(Hold { name, time: *time, condition, tables, at: self.clock.now() })
    }

    /// The tables among `tables`, or among all, on which a condition is understood. One that is
    /// named and does not understand it is an error, and so is a condition that none does.
    pub(super) fn understood(
        &self,
        condition: Option<&str>,
        tables: &[Table],
        snapshot: &Snapshot,
    ) -> Result<Vec<Table>, Error> {
        let named = |table: &Table| tables.is_empty() || tables.contains(table);
        let candidates = Table::ALL.into_iter().filter(named);
        let Some(sql) = condition else { return Ok(candidates.collect()) };
        if sql.len() > CONDITION_BYTES_MAX {
            let reason = format!("it is longer than {CONDITION_BYTES_MAX} bytes");
            return Err(not_understood("…", ConditionError { reason, hint: None }));
        }
        let (mut understood, mut refused) = (Vec::new(), None);
        for table in candidates {
            match compile(self.conditions.get(), table, sql, snapshot) {
                Ok(_) => understood.push(table),
                Err(source) if tables.is_empty() => {
                    refused.get_or_insert(source);
                }
                Err(source) => return Err(not_understood(sql, source)),
            }
        }
        match refused {
            Some(source) if understood.is_empty() => Err(not_understood(sql, source)),
            _ => Ok(understood),
        }
    }
}

fn not_understood(sql: &str, source: ConditionError) -> Error {
    Error::Condition { what: format!("understand the condition `{sql}`"), source }
}

fn held_files(snapshot: &Snapshot, hold: &Hold) -> HeldFiles {
    let mut held = HeldFiles { hold: hold.clone(), files: 0, rows: 0, bytes: 0 };
    for table in &hold.tables {
        for file in snapshot.files(*table, hold.time) {
            held.files += 1;
            held.rows += file.rows;
            held.bytes += file.bytes;
        }
    }
    held
}

/// The holds of one snapshot, understood.
#[derive(Debug, Default)]
pub(super) struct Holding {
    selections: Vec<(Table, Selection)>,
    /// Changes with the holds.
    pub(super) mark: u64,
}

impl Holding {
    /// A hold whose condition is not understood here keeps all rows of its window.
    pub(super) fn of(snapshot: &Snapshot, conditions: Option<&Arc<dyn Conditions>>) -> Self {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let (mut selections, mut mark) = (Vec::new(), DefaultHasher::new());
        for hold in snapshot.holds() {
            (hold.name.as_str(), hold.at).hash(&mut mark);
            for table in &hold.tables {
                let understood = hold.condition.as_deref().map(|sql| {
                    compile(conditions, *table, sql, snapshot).inspect_err(|error| {
                        let name = &hold.name;
                        warn!(%name, %table, %error, "a hold is not understood: it keeps its window");
                    })
                });
                let condition = understood.and_then(Result::ok);
                selections.push((*table, Selection { time: hold.time, condition }));
            }
        }
        Self { selections, mark: mark.finish() }
    }

    /// What the holds keep of a file.
    pub(super) fn over(&self, file: &FileEntry) -> Vec<Selection> {
        let touching = |(table, selection): &&(Table, Selection)| {
            *table == file.table && selection.may_touch(file)
        };
        self.selections.iter().filter(touching).map(|(_, selection)| selection.clone()).collect()
    }
}
