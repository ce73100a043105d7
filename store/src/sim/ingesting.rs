//! The ingesters: requests that are acknowledged, and their commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::process::Process;
use super::promises::{Promises, at_of, body};
use crate::error::Error;
use crate::model::{LogPosition, UnixNanos, WriterId};
use crate::sample::logs_at;
use crate::store::{Commit, Store};

/// Rows of other hours than this one, in hours: some are late, and some have a wrong clock.
const HOURS_OFF: [i64; 6] = [-1, -1, -3, -30, 1, 1];

impl Process {
    pub(super) async fn ingest(self, writer: WriterId, store: Arc<Store>) {
        let trimmed = self.world.inside().promises.trimmed();
        while let Err(error) = store.register_writer(writer).await {
            self.tolerate("register", &error);
            self.pause(1, 10).await;
        }
        Promises::check_covered(&store.snapshot(), &trimmed).unwrap_or_else(|lost| {
            panic!("{} starts and does not see everything: {lost}", self.name)
        });
        let mut covered = store.snapshot().covered_to(writer).unwrap_or_default();
        self.world.inside().promises.trim(writer, covered);
        let mut pending: Option<Commit> = None;
        loop {
            let calm = self.world.is_calm();
            self.pause(5, if calm { 10 } else { 180 }).await;
            if !self.world.is_calm() {
                self.acknowledge(writer);
            }
            let commit = pending.take().or_else(|| self.prefix(writer, covered));
            let Some(commit) = commit else {
                if calm {
                    return;
                }
                continue;
            };
            pending = Some(commit.clone());
            let to = commit.covers_to;
            match store.commit(commit).await {
                Ok(()) => covered = to,
                Err(Error::Overtaken { covered_to, .. }) => covered = covered_to,
                Err(error) => {
                    self.tolerate("commit", &error);
                    continue;
                }
            }
            pending = None;
            self.world.note(&self.name, &format!("covered to {}", covered.0));
            self.world.inside().promises.trim(writer, covered);
        }
    }

    /// Requests arrive.
    fn acknowledge(&self, writer: WriterId) {
        let now = i64::try_from(self.world.schedule.now().as_secs()).unwrap();
        for _ in 0..=self.world.below(2) {
            let (bytes, rows) = (60 + self.world.below(100), 1 + self.world.below(3));
            let row = |_| {
                let late = usize::try_from(self.world.below(10)).unwrap();
                let hours_off = HOURS_OFF.get(late).copied().unwrap_or(0);
                let second = now + hours_off * 3600 - i64::try_from(self.world.below(60)).unwrap();
                body(self.world.below(1 << 40), second)
            };
            let rows = (0..rows).map(row).collect();
            self.world.inside().promises.append(writer, bytes, rows);
        }
    }

    /// The commit of some requests from `covered` on.
    fn prefix(&self, writer: WriterId, covered: LogPosition) -> Option<Commit> {
        let count = usize::try_from(1 + self.world.below(4)).unwrap();
        let frames = self.world.inside().promises.prefix(writer, covered, count);
        let covers_to = frames.last()?.to;
        let mut hours: BTreeMap<UnixNanos, Vec<String>> = BTreeMap::new();
        for body in frames.into_iter().flat_map(|frame| frame.rows) {
            hours.entry(at_of(&body).hour()).or_default().push(body);
        }
        let times = |bodies: &[String]| bodies.iter().map(|body| at_of(body).0).collect();
        let rows: Vec<_> = hours.values().map(|bodies| logs_at(times(bodies), bodies)).collect();
        Some(Commit { writer, covers_from: covered, covers_to, rows: Arc::new(rows) })
    }
}
