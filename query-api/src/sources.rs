//! Where live rows are: with this process, and with the ingesters that it was told of.
//!
//! Invariant: an ingester that was named is asked or said not to answer, never left out. One that was
//! late is given less time for a while: it is missing from answers, not slowing them.

mod ingesters;
mod remote_live;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use icecore_store::{
    Clock, LiveRows, LiveSnapshot, LogPosition, PortError, Snapshot, Store, Table, TimeRange,
    WriterId,
};
use tokio::sync::Mutex;

use self::ingesters::Ingesters;
pub use self::ingesters::{BadIngester, IngesterName};

/// All that live rows can come from.
#[derive(Debug)]
pub(crate) struct Sources {
    own: Vec<Source>,
    ingesters: Vec<Ingesters>,
    /// The longest that anybody is waited for.
    wait: Duration,
    /// Queries that find the catalog behind an ingester read on once, not each for itself.
    reading_on: Mutex<()>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// As an operator knows it.
    name: String,
    rows: Arc<dyn LiveRows>,
    wait: Duration,
    clock: Arc<dyn Clock>,
    /// When it was last waited for in vain, where it did not answer since.
    late: Arc<StdMutex<Option<Duration>>>,
}

/// How long somebody who was late is given a tenth of the time.
const LATE_FOR: Duration = Duration::from_secs(10);

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
    ) -> Result<Self, BadIngester> {
        let named = ingesters.iter().map(|name| Ingesters::open(name, wait, Arc::clone(clock)));
        let ingesters = named.collect::<Result<_, _>>()?;
        let own = own
            .into_iter()
            .enumerate()
            .map(|(at, rows)| Source::new(format!("source {at}"), rows, wait, Arc::clone(clock)));
        let own = own.collect();
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
        let (mut sources, mut lost) = (self.own.clone(), Vec::new());
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
    fn new(name: String, rows: Arc<dyn LiveRows>, wait: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { name, rows, wait, clock, late: Arc::default() }
    }

    /// How long it is waited for now.
    fn wait(&self) -> Duration {
        let late = *self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = late.is_some_and(|at| self.clock.elapsed() < at + LATE_FOR);
        if lately { self.wait / 10 } else { self.wait }
    }

    /// What it has now.
    ///
    /// # Errors
    /// Where it does not say so in time.
    pub(crate) async fn live_rows(
        &self,
        table: Table,
        time: TimeRange,
    ) -> Result<LiveSnapshot, PortError> {
        let wait = self.wait();
        let answer = tokio::time::timeout(wait, self.rows.live_rows(table, time)).await;
        let late = answer.is_err().then(|| self.clock.elapsed());
        *self.late.lock().unwrap_or_else(PoisonError::into_inner) = late;
        answer.unwrap_or_else(|_late| {
            let reason = format!("nothing came within {wait:?}");
            Err(PortError::Unavailable { part: self.name.clone(), reason })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use icecore_store::SystemClock;

    use super::*;

    /// Says nothing while it hangs.
    #[derive(Debug, Default)]
    struct Hanging(AtomicBool);

    #[async_trait::async_trait]
    impl LiveRows for Hanging {
        async fn live_rows(&self, _: Table, _: TimeRange) -> Result<LiveSnapshot, PortError> {
            if self.0.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let (covered_to, blocks) = Default::default();
            Ok(LiveSnapshot { writer: WriterId(Default::default()), covered_to, blocks })
        }
    }

    /// Scenario: a source that does not answer, asked twice, and answers the third time.
    /// Guarantees: the second time it is given a tenth of the time, and all of it once it answered.
    #[tokio::test]
    async fn who_was_late_is_given_less() {
        let rows = Arc::new(Hanging::default());
        let (wait, clock) = (Duration::from_millis(500), Arc::new(SystemClock::new()));
        let source = Source::new("one".to_owned(), Arc::clone(&rows) as _, wait, clock);
        rows.0.store(true, Ordering::Relaxed);
        for wait in [wait, wait / 10] {
            assert_eq!(source.wait(), wait);
            let error = source.live_rows(Table::Spans, TimeRange::ALL).await.unwrap_err();
            assert!(error.to_string().contains(&format!("{wait:?}")), "{error}");
        }
        rows.0.store(false, Ordering::Relaxed);
        assert!(source.live_rows(Table::Spans, TimeRange::ALL).await.is_ok());
        assert_eq!(source.wait(), wait);
    }
}
