//! Where live rows are: with this process, and with the ingesters that it was told of.
//!
//! Invariant: an ingester that was named is asked or said not to answer, never left out.

mod ingesters;
mod remote_live;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use futures::future::join_all;
use icecore_store::{
    Clock, LiveRows, LiveSnapshot, LogPosition, PortError, Snapshot, Store, Table, TimeRange,
    WriterId,
};
use tokio::sync::Mutex;

pub use self::ingesters::IngesterName;
use self::ingesters::Ingesters;

/// All that live rows can come from.
#[derive(Debug)]
pub(crate) struct Sources {
    own: Vec<Arc<dyn LiveRows>>,
    ingesters: Vec<Ingesters>,
    /// The longest that anybody is waited for.
    wait: Duration,
    /// Queries that find the catalog behind an ingester read on once, not each for itself.
    reading_on: Mutex<()>,
}

/// One of them, at this moment.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// As an operator knows it.
    name: String,
    rows: Arc<dyn LiveRows>,
    wait: Duration,
}

impl Sources {
    /// Those of this process, and what these names stand for. To be called on the runtime that
    /// connections are to be on, which is not one that queries run on.
    ///
    /// # Errors
    /// Where a name is none.
    pub(crate) fn open(
        own: Vec<Arc<dyn LiveRows>>,
        ingesters: &[IngesterName],
        wait: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let named = ingesters.iter().map(|name| Ingesters::open(name, wait, Arc::clone(clock)));
        let ingesters = named.collect::<Result<_, _>>()?;
        Ok(Self { own, ingesters, wait, reading_on: Mutex::new(()) })
    }

    /// Whether rows arrive nowhere.
    pub(crate) const fn is_empty(&self) -> bool {
        self.own.is_empty() && self.ingesters.is_empty()
    }

    /// Whether some are with other processes.
    pub(crate) const fn are_far(&self) -> bool {
        !self.ingesters.is_empty()
    }

    /// All of them now, and why some that were named cannot be found.
    pub(crate) async fn now(&self) -> (Vec<Source>, Vec<PortError>) {
        let own = self.own.iter().enumerate().map(|(at, rows)| {
            let (name, rows) = (format!("source {at}"), Arc::clone(rows));
            Source { name, rows, wait: self.wait }
        });
        let (mut sources, mut lost) = (own.collect::<Vec<_>>(), Vec::new());
        let named = join_all(self.ingesters.iter().map(Ingesters::now)).await;
        for (found, why) in named {
            sources.extend(found);
            lost.extend(why);
        }
        (sources, lost)
    }

    /// A catalog that has everything that these writers said is in the store, as far as it can be
    /// read in time. Taken after them, see [`LiveRows`].
    pub(crate) async fn catalog(
        &self,
        store: &Store,
        covered: &BTreeMap<WriterId, LogPosition>,
    ) -> Arc<Snapshot> {
        let files = store.snapshot();
        if behind(&files, covered).next().is_none() {
            return files;
        }
        let read_on = async {
            let _turn = self.reading_on.lock().await;
            // Somebody else may have read it while this one waited.
            let files = store.snapshot();
            if behind(&files, covered).next().is_none() {
                return files;
            }
            // What fails is found out below, by what is still behind.
            store.refresh().await.unwrap_or(files)
        };
        match tokio::time::timeout(self.wait, read_on).await {
            Ok(files) => files,
            Err(_late) => store.snapshot(),
        }
    }
}

/// The writers that a catalog does not know as much of as they said is in the store.
pub(crate) fn behind<'a>(
    files: &'a Snapshot,
    covered: &'a BTreeMap<WriterId, LogPosition>,
) -> impl Iterator<Item = WriterId> + 'a {
    let known = |writer: WriterId| files.covered_to(writer).unwrap_or_default();
    covered.iter().filter(move |(writer, to)| known(**writer) < **to).map(|(writer, _)| *writer)
}

impl Source {
    /// What it has now.
    ///
    /// # Errors
    /// Where it does not say so in time.
    pub(crate) async fn live_rows(
        &self,
        table: Table,
        time: TimeRange,
    ) -> Result<LiveSnapshot, PortError> {
        let answer = tokio::time::timeout(self.wait, self.rows.live_rows(table, time)).await;
        answer.unwrap_or_else(|_late| {
            let reason = format!("nothing came within {:?}", self.wait);
            Err(PortError::Unavailable { part: self.name.clone(), reason })
        })
    }
}
