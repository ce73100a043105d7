//! Reads the few columns that decide, and counts the rows that would go.

use std::sync::Arc;

use futures::TryStreamExt;

use crate::catalog::FileEntry;
use crate::error::Error;
use crate::retention::select::{Fates, RowRule};
use crate::store::Store;
use crate::work::off_runtime;

/// What is in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Looked {
    /// Rows that go.
    pub(super) going: u64,
    /// Rows that would, were there no hold.
    pub(super) held: u64,
}

impl Store {
    /// Looks into one file; holds a few batches of the columns that decide.
    pub(super) async fn look(
        &self,
        rule: &RowRule,
        file: &Arc<FileEntry>,
    ) -> Result<Looked, Error> {
        let mut batches = self.read_in_bucket(rule.request(file));
        let (mut looked, rule) = (Looked::default(), Arc::new(rule.clone()));
        while let Some(batch) = batches.try_next().await? {
            let rule = Arc::clone(&rule);
            let fates = off_runtime("looking for rows to remove", move || rule.fates(&batch));
            let Fates { goes, held } = fates.await?;
            looked.going += goes.true_count() as u64;
            looked.held += held;
        }
        Ok(looked)
    }
}
