//! Queries under way, and those who look on while rows arrive: who asked, how far each is, and how it
//! is ended from outside.
//!
//! Invariant: a query is listed from before it waits for its turn until its answer ended or its
//! caller left, and no two that are listed have one id.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use icecore_store::Clock;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::table::{ScanFigures, ScanStats};

/// The longest id that a caller may give.
const ID_BYTES_MAX: usize = 64;
/// How much of a query's text is kept to show it.
const SQL_CHARS_MAX: usize = 500;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Where from: what one address may have is bounded.
    pub(crate) client: IpAddr,
    /// The id that the caller gave the query, to look after it.
    pub(crate) id: Option<String>,
}

/// The queries under way.
#[derive(Debug)]
pub(crate) struct Queries {
    listed: Mutex<BTreeMap<String, Arc<Entry>>>,
    numbered: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// A question with an answer.
    Query,
    /// Rows as they arrive, until somebody ends it.
    Tail,
}

/// One query under way.
#[derive(Debug)]
pub(crate) struct Entry {
    id: String,
    kind: Kind,
    client: IpAddr,
    sql: String,
    since: Duration,
    runs: AtomicBool,
    rows: AtomicU64,
    reads: OnceLock<Arc<ScanStats>>,
    end: CancellationToken,
}

/// How far a query is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Progress {
    /// Its id.
    pub(crate) id: String,
    /// Whether it has an end of its own.
    kind: Kind,
    /// Who asked.
    client: String,
    /// The beginning of its text.
    sql: String,
    /// Whether it waits for its turn, or runs.
    state: &'static str,
    /// Time since it was asked.
    elapsed_ms: u64,
    /// Rows of its answer that were handed on.
    rows: u64,
    /// What it read so far; none before it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<ScanFigures>,
}

/// A query's place in the list; it leaves the list when this is dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    queries: Arc<Queries>,
    entry: Arc<Entry>,
}

impl Queries {
    /// None yet.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { listed: Mutex::default(), numbered: AtomicU64::new(1), clock }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a query.
    ///
    /// # Errors
    /// Where the id that the caller gave is none, or belongs to another query under way.
    pub(crate) fn list(self: &Arc<Self>, caller: &Caller, sql: &str) -> Result<Listed, Error> {
        self.enter(caller, Kind::Query, sql)
    }

    /// Lists somebody who looks on, whose turn never has to come.
    ///
    /// # Errors
    /// As [`Queries::list`].
    pub(crate) fn list_tail(
        self: &Arc<Self>,
        caller: &Caller,
        what: &str,
    ) -> Result<Listed, Error> {
        self.enter(caller, Kind::Tail, what).inspect(|listed| listed.started())
    }

    fn enter(self: &Arc<Self>, caller: &Caller, kind: Kind, sql: &str) -> Result<Listed, Error> {
        let number = || format!("q{}", self.numbered.fetch_add(1, Ordering::Relaxed));
        let id = caller.id.clone().unwrap_or_else(|| self.free(number));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(allowed) {
            return Err(Error::Request(format!(
                "`{}` is no id of a query: 1 to {ID_BYTES_MAX} letters, digits, `-`, `_` or `.` are",
                id.escape_debug()
            )));
        }
        let entry = Arc::new(Entry {
            id: id.clone(),
            kind,
            client: caller.client,
            sql: sql.chars().take(SQL_CHARS_MAX).collect(),
            since: self.clock.elapsed(),
            runs: AtomicBool::new(false),
            rows: AtomicU64::new(0),
            reads: OnceLock::new(),
            end: CancellationToken::new(),
        });
        let mut listed = self.lock();
        if listed.contains_key(&id) {
            return Err(Error::Request(format!("another query with the id `{id}` is under way")));
        }
        listed.insert(id, Arc::clone(&entry));
        Ok(Listed { queries: Arc::clone(self), entry })
    }

    /// The first of these ids that no caller has given to a query under way.
    pub(crate) fn free(&self, mut next: impl FnMut() -> String) -> String {
        loop {
            let id = next();
            if self.one(&id).is_none() {
                return id;
            }
        }
    }

    /// How far each is.
    pub(crate) fn all(&self) -> Vec<Progress> {
        let now = self.clock.elapsed();
        self.lock().values().map(|entry| entry.progress(now)).collect()
    }

    /// How far one is.
    pub(crate) fn one(&self, id: &str) -> Option<Progress> {
        let now = self.clock.elapsed();
        self.lock().get(id).map(|entry| entry.progress(now))
    }

    /// Ends one; says how far it was.
    pub(crate) fn end(&self, id: &str) -> Option<Progress> {
        let entry = self.lock().get(id).cloned()?;
        entry.end.cancel();
        Some(entry.progress(self.clock.elapsed()))
    }
}

impl Entry {
    /// Its turn has come.
    pub(crate) fn started(&self) {
        self.runs.store(true, Ordering::Relaxed);
    }

    /// What it reads is counted there.
    pub(crate) fn reads(&self, stats: &Arc<ScanStats>) {
        // Set once: a query is started once.
        drop(self.reads.set(Arc::clone(stats)));
    }

    /// So many more rows were handed on.
    pub(crate) fn sent(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Bytes fetched of files so far, from the bucket and from what is kept of it on local disk.
    pub(crate) fn fetched_bytes(&self) -> u64 {
        let figures = self.reads.get().map(|stats| stats.figures());
        figures.map_or(0, |figures| figures.read.fetched_bytes + figures.read.cached_bytes)
    }

    /// Returns when somebody asks for its end.
    pub(crate) async fn ended(&self) {
        self.end.cancelled().await;
    }

    fn progress(&self, now: Duration) -> Progress {
        let elapsed = now.saturating_sub(self.since);
        Progress {
            id: self.id.clone(),
            kind: self.kind,
            client: self.client.to_string(),
            sql: self.sql.clone(),
            state: if self.runs.load(Ordering::Relaxed) { "running" } else { "waiting" },
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            rows: self.rows.load(Ordering::Relaxed),
            stats: self.reads.get().map(|stats| stats.figures()),
        }
    }
}

impl std::ops::Deref for Listed {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Listed {
    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.entry.id
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.queries.lock().remove(&self.entry.id);
    }
}

#[cfg(test)]
mod tests {
    use icecore_store::SystemClock;

    use super::*;

    fn caller(id: Option<&str>) -> Caller {
        Caller { client: [127, 0, 0, 1].into(), id: id.map(str::to_owned) }
    }

    /// Scenario: queries with ids of their own, without, with one that is taken, with nonsense.
    /// Guarantees: each is listed once under its id until it is dropped; the rest is refused.
    #[test]
    fn ids_are_unique_while_listed() {
        let queries = Arc::new(Queries::new(Arc::new(SystemClock::new())));
        let first = queries.list(&caller(Some("a-1")), "SELECT 1").unwrap();
        let second = queries.list(&caller(None), "SELECT 2").unwrap();
        assert_eq!((first.id(), second.id()), ("a-1", "q1"));
        assert!(queries.list(&caller(Some("a-1")), "SELECT 3").is_err());
        for wrong in ["", "a b", "a/b", &"x".repeat(65)] {
            assert!(queries.list(&caller(Some(wrong)), "SELECT 3").is_err(), "{wrong}");
        }
        assert_eq!(queries.all().len(), 2);
        let _taken = queries.list(&caller(Some("q2")), "SELECT 3").unwrap();
        let third = queries.list(&caller(None), "SELECT 3").unwrap();
        assert_eq!(third.id(), "q3");
        drop(first);
        assert!(queries.one("a-1").is_none());
        assert!(queries.list(&caller(Some("a-1")), "SELECT 4").is_ok());
    }

    /// Scenario: one query is ended by its id, then one that is not there.
    /// Guarantees: the one hears of it, with how far it was; the other is not found.
    #[tokio::test]
    async fn a_query_is_ended_by_its_id() {
        let queries = Arc::new(Queries::new(Arc::new(SystemClock::new())));
        let listed = queries.list(&caller(Some("a")), "SELECT 1").unwrap();
        listed.started();
        listed.sent(3);
        let progress = queries.end("a").unwrap();
        assert_eq!((progress.rows, progress.state), (3, "running"));
        listed.ended().await;
        assert!(queries.end("b").is_none());
    }
}
