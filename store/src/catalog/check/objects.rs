//! Every object under `data/`, one day of one table at a time: it counts, or it is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectMeta;

use crate::catalog::FileEntry;
use crate::catalog::check::Findings;
use crate::catalog::check::records::NOT_OURS;
use crate::catalog::collect::{Prospect, prospect};
use crate::catalog::state::State;
use crate::error::Error;
use crate::files::layout::place;
use crate::model::{FileId, Table, UnixNanos};
use crate::store::Store;

/// Files by the folder of their day.
type Days = BTreeMap<String, BTreeMap<FileId, Arc<FileEntry>>>;

impl Store {
    /// The files that count and are there, of the size that the catalog says.
    pub(super) async fn walk(
        &self,
        state: &State,
        findings: &Findings<'_>,
    ) -> Result<Vec<Arc<FileEntry>>, Error> {
        let (mut days, mut present) = (days(state), Vec::new());
        let (tables, strays) = self.bucket.entries("data").await?;
        strays.into_iter().for_each(|object| stray(object, findings));
        for table in tables {
            let folder = format!("data/{table}");
            let (dates, strays) = self.bucket.entries(&folder).await?;
            strays.into_iter().for_each(|object| stray(object, findings));
            for date in dates {
                let folder = format!("{folder}/{date}");
                let mut expected = days.remove(&folder).unwrap_or_default();
                for object in self.bucket.list(&folder).await? {
                    let file = place(object.location.as_ref());
                    let file = file.and_then(|(_, _, id)| expected.remove(&id));
                    match file {
                        Some(file) => present.extend(of_its_size(file, &object, findings)),
                        None => self.orphan(state, object, findings).await?,
                    }
                }
                expected.values().for_each(|file| missing(file, findings));
            }
        }
        days.values().flat_map(BTreeMap::values).for_each(|file| missing(file, findings));
        for object in self.bucket.list("probe").await? {
            findings.orphan(object.location, object.size, "a start that may not delete left it");
        }
        Ok(present)
    }

    async fn orphan(
        &self,
        state: &State,
        object: ObjectMeta,
        findings: &Findings<'_>,
    ) -> Result<(), Error> {
        let path = object.location.to_string();
        let why = match place(&path) {
            Some((_, _, id)) => self.why(state, id, &path).await?,
            None => NOT_OURS.to_owned(),
        };
        findings.orphan(path, object.size, why);
        Ok(())
    }

    /// Why a file is there that does not count.
    async fn why(&self, state: &State, id: FileId, path: &str) -> Result<String, Error> {
        let grace = i64::try_from(self.config.garbage_grace.as_nanos()).unwrap_or(i64::MAX);
        let due = |since: UnixNanos| UnixNanos(since.0.saturating_add(grace));
        let over = |due: UnixNanos| due < self.clock.now();
        if let Some(removed) = state.removed().get(&id) {
            let (at, due) = (removed.at, due(removed.at));
            return Ok(if over(due) {
                format!("it was removed at {at}; the next collection deletes it")
            } else {
                format!("it was removed at {at}; it is deleted from {due} on")
            });
        }
        let made_ms = i64::try_from(id.0.timestamp_ms()).unwrap_or(i64::MAX);
        let made = UnixNanos(made_ms.saturating_mul(1_000_000));
        let due = due(made);
        Ok(match prospect(&self.bucket, state, id, path).await? {
            Prospect::Counts => "a younger record names it".to_owned(),
            Prospect::Unknown => {
                "it is torn, or nothing of Icecore's: nothing deletes it".to_owned()
            }
            Prospect::Never | Prospect::Waits(_, _) if !over(due) => {
                format!("its commit may be under way; it is looked at from {due} on")
            }
            Prospect::Never => {
                "no record will ever name it; the next collection deletes it".to_owned()
            }
            Prospect::Waits(sequence, number) => {
                let record = self.bucket.record_path(sequence, number);
                format!("`{record}` was never written; the next collection takes its number")
            }
        })
    }
}

fn days(state: &State) -> Days {
    let mut days = Days::new();
    for file in Table::ALL.into_iter().flat_map(|table| state.snapshot().all(table)) {
        let path = file.path();
        let day = path.split("/hour=").next().unwrap_or_default().to_owned();
        days.entry(day).or_default().insert(file.id, Arc::clone(file));
    }
    days
}

fn stray(object: ObjectMeta, findings: &Findings<'_>) {
    findings.orphan(object.location, object.size, NOT_OURS);
}

fn missing(file: &FileEntry, findings: &Findings<'_>) {
    findings.fault(file.path(), "it is in the catalog but not in the bucket");
}

fn of_its_size(
    file: Arc<FileEntry>,
    object: &ObjectMeta,
    findings: &Findings<'_>,
) -> Option<Arc<FileEntry>> {
    if file.path() != object.location.as_ref() {
        findings.fault(object.location.as_ref(), format!("it belongs at `{}`", file.path()));
        return None;
    }
    if file.bytes != object.size {
        let what = format!("it has {} bytes, and the catalog says {}", object.size, file.bytes);
        findings.fault(file.path(), what);
        return None;
    }
    Some(file)
}
