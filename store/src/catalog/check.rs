//! Reads everything again and says what does not fit together.

use std::collections::{BTreeMap, BTreeSet};

use crate::bucket::Bucket;
use crate::catalog::collect::{id_of, list_data};
use crate::catalog::invariants::{file_is_not_empty, file_is_within_its_hour};
use crate::catalog::read::read_new;
use crate::catalog::state::State;
use crate::catalog::{FileEntry, Snapshot};
use crate::error::Error;
use crate::model::{FileId, Table};
use crate::store::CheckReport;

/// Faults that are listed; more are counted in one line.
const FAULTS_MAX: usize = 1000;

/// Compares the bucket with itself, and with what this process knew of it.
pub(crate) async fn check(bucket: &Bucket, known: &Snapshot) -> Result<CheckReport, Error> {
    let mut state = State::default();
    let mut faults = Vec::new();
    for run in read_new(bucket, &BTreeMap::new()).await? {
        let sequence = run.sequence;
        let mut changes = Vec::new();
        state.apply_run(run, &mut changes)?;
        for change in changes {
            if change.void && change.removed.is_empty() && change.garbage.is_empty() {
                let number = change.applied.next - 1;
                faults.push(format!("`{}` overlaps the commit before it", sequence.path(number)));
            }
        }
    }
    let listed: BTreeSet<String> = list_data(bucket).await?.into_iter().collect();
    let files: BTreeMap<FileId, &FileEntry> = entries(state.snapshot());
    faults.extend(files.values().filter_map(|file| fault_of(file, &listed)));
    let named = |path: &&String| id_of(path).is_some_and(|id| files.contains_key(&id));
    let report = CheckReport {
        records: state.snapshot().records(),
        files: files.len() as u64,
        unnamed: listed.iter().filter(|path| !named(path)).count() as u64,
        index_agrees: same(known, &state),
        faults: bound(faults),
    };
    Ok(report)
}

fn entries(snapshot: &Snapshot) -> BTreeMap<FileId, &FileEntry> {
    let files = Table::ALL.into_iter().flat_map(|table| snapshot.all(table));
    files.map(|file| (file.id, &**file)).collect()
}

fn fault_of(file: &FileEntry, listed: &BTreeSet<String>) -> Option<String> {
    let path = file.path();
    if !listed.contains(&path) {
        return Some(format!("`{path}` is in the catalog but not in the bucket"));
    }
    if !file_is_not_empty(file) || !file_is_within_its_hour(file) {
        return Some(format!("`{path}` does not fit what the catalog says of it"));
    }
    None
}

/// Commits go on while a check runs, so the two may be some records apart: what both know must
/// be equal, and all of it where they have read the same records.
fn same(known: &Snapshot, state: &State) -> bool {
    let (known_files, files) = (entries(known), entries(state.snapshot()));
    if known.id() == state.snapshot().id() {
        return known_files == files && known.covered() == state.snapshot().covered();
    }
    known_files.iter().all(|(id, file)| files.get(id).is_none_or(|other| other == file))
}

fn bound(mut faults: Vec<String>) -> Vec<String> {
    let more = faults.len().saturating_sub(FAULTS_MAX);
    faults.truncate(FAULTS_MAX);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    faults
}
