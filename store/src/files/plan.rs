//! What is read of a file, row group by row group.
//!
//! Invariant: a row that every filter keeps stays, in its order; what a filter looks at is there before it
//! is asked.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::ahead::Together;
use super::chunks::Fetched;
use super::footer::Footer;
use super::point::Points;
use super::read::Wanted;
use super::request::RowFilter;
use super::source::{Source, bytes};
use crate::error::Error;

/// What does not change while a file is read.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) footer: Arc<Footer>,
    pub(super) filters: Vec<(Arc<dyn RowFilter>, Arc<Source>)>,
    pub(super) answer: Arc<Source>,
    /// What filters look at, and what only the answer needs.
    filtered: Vec<usize>,
    answered: Vec<usize>,
}

impl Plan {
    pub(super) fn new(
        footer: Arc<Footer>,
        filters: Vec<(Arc<dyn RowFilter>, Arc<Source>)>,
        answer: Arc<Source>,
    ) -> Self {
        let leaves = filters.iter().flat_map(|(_, source)| source.leaves());
        let filtered: BTreeSet<usize> = leaves.copied().collect();
        let answered = answer.leaves().iter().filter(|leaf| !filtered.contains(leaf));
        let answered = answered.copied().collect();
        Self { footer, filters, answer, filtered: filtered.into_iter().collect(), answered }
    }

    /// The row groups that are fetched together.
    pub(super) fn next(&self, left: &mut VecDeque<Wanted>, bytes_max: u64) -> Together {
        let mut together = Together { groups: Vec::new(), bytes: 0 };
        while let Some((group, rows)) = left.front() {
            let leaves = [&self.filtered, &self.answered];
            let more: u64 =
                leaves.map(|leaves| bytes(&self.footer, *group, leaves, rows)).iter().sum();
            if together.bytes + more > bytes_max && !together.groups.is_empty() {
                break;
            }
            together.bytes += more;
            together.groups.extend(left.pop_front());
        }
        together
    }

    /// What is fetched of a row group before anything is filtered.
    pub(super) fn first(&self, (group, rows): &Wanted, ahead_max: u64) -> Vec<&Arc<Source>> {
        let mut sources: Vec<_> = self.filters.iter().map(|(_, source)| source).collect();
        let with_answer = || bytes(&self.footer, *group, &self.answered, rows) <= ahead_max;
        if sources.is_empty() || (ahead_max > 0 && with_answer()) {
            sources.push(&self.answer);
        }
        sources
    }

    /// The rows that pass all filters. Each filter decodes only what those before it left.
    pub(super) fn filter(
        &self,
        fetched: &Arc<Fetched>,
        groups: Vec<Wanted>,
    ) -> Result<Vec<Wanted>, Error> {
        let mut kept = Vec::with_capacity(groups.len());
        for (group, mut rows) in groups {
            for (filter, source) in &self.filters {
                if rows.is_empty() {
                    break;
                }
                if let Some(ids) = filter.ids() {
                    let points = Points { footer: &self.footer, group, fetched };
                    if let Some(found) = source.with_id(points, &rows, ids)? {
                        rows = found;
                        continue;
                    }
                }
                let batches = source.decode(&self.footer, fetched, group, &rows)?;
                let masks = batches
                    .map(|batch| filter.keep(&batch?).map_err(|source| Error::Filter { source }));
                rows = rows.kept(&masks.collect::<Result<Vec<_>, _>>()?);
            }
            if !rows.is_empty() {
                kept.push((group, rows));
            }
        }
        Ok(kept)
    }
}
