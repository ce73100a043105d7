//! A process: a store over its own link, and the loops that it plays until it is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::{BoxFuture, Either, join_all, select};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use prometheus_client::registry::Registry;
use ulid::Ulid;
use url::Url;

use super::link::Link;
use super::promises::Promises;
use super::world::{GRACE, SKEW_MAX, World};
use crate::bucket::{Bucket, Puts, stack};
use crate::catalog::{FileEntry, Snapshot};
use crate::chance::{Chance, Machine};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::metrics::Metrics;
use crate::model::{LogPosition, Table, TimeRange, WriterId};
use crate::sample::{HOUR, bodies_of, logs};
use crate::store::{Commit, Store};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Ingest(WriterId),
    Refresh,
    Compact,
    Collect,
    Checkpoint,
    Query,
}

/// One process, in all its lives.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) world: Arc<World>,
    pub(super) name: Arc<str>,
    pub(super) number: u32,
    pub(super) roles: Vec<Role>,
}

impl Process {
    /// Lives, dies, freezes and lives again until the world is calm and its work is done.
    pub(super) async fn supervise(self) {
        let world = Arc::clone(&self.world);
        let mut life = world.schedule.spawn(self.number, self.clone().live());
        while !world.is_calm() {
            let wait = Box::pin(world.schedule.sleep(world.between(60, 900)));
            match select(Box::pin(life.ended()), wait).await {
                Either::Left(_) => return,
                Either::Right(_) if world.is_calm() => break,
                Either::Right(_) => {}
            }
            if world.below(3) == 0 {
                let longest = if world.below(4) == 0 { 3 * GRACE.as_secs() } else { 60 };
                let frozen = world.between(1, longest);
                world.note(&self.name, &format!("freezes for {frozen:?}"));
                world.schedule.stall(self.number, frozen);
                continue;
            }
            // Some that are believed dead go on for a while.
            if world.below(4) == 0 {
                world.note(&self.name, "is believed dead");
                let (schedule, longer) = (world.schedule.clone(), world.between(1, 600));
                drop(world.schedule.spawn(0, async move {
                    schedule.sleep(longer).await;
                    life.kill();
                }));
            } else {
                life.kill();
                world.note(&self.name, "is killed");
            }
            world.schedule.sleep(world.between(1, 60)).await;
            life = world.schedule.spawn(self.number, self.clone().live());
        }
        life.ended().await;
    }

    /// One life.
    async fn live(self) {
        let store = loop {
            match self.open().await {
                Ok(store) => break Arc::new(store),
                Err(error) => self.tolerate("open", &error),
            }
            self.pause(1, 10).await;
        };
        self.world.note(&self.name, &format!("is open at {}", self.known(&store)));
        let loops = self.roles.iter().map(|role| self.clone().play(*role, Arc::clone(&store)));
        join_all(loops.collect::<Vec<_>>()).await;
    }

    fn known(&self, store: &Store) -> String {
        let snapshot = store.snapshot();
        let files = snapshot.totals(Table::Logs).files;
        format!("{} records, {files} files", snapshot.records())
    }

    /// A store of its own, without anything from an earlier life.
    pub(super) async fn open(&self) -> Result<Store, Error> {
        let link = Link { world: Arc::clone(&self.world), who: Arc::clone(&self.name) };
        let chance = Chance::seeded(self.world.below(u64::MAX));
        let machine = Machine { clock: self.world.clock(), chance };
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let process = machine.chance.id(&*machine.clock);
        let config = config();
        let objects = Arc::new(stack(link, &config, &machine, &metrics));
        let bucket = Bucket::new(objects, "memory:///", Puts::CreateOnly);
        Store::open_over(config, machine, metrics, bucket, process).await
    }

    fn play(self, role: Role, store: Arc<Store>) -> BoxFuture<'static, ()> {
        match role {
            Role::Ingest(writer) => Box::pin(self.ingest(writer, store)),
            Role::Refresh => Box::pin(self.refresh(store)),
            Role::Compact => Box::pin(self.compact(store)),
            Role::Collect => Box::pin(self.collect(store)),
            Role::Checkpoint => Box::pin(self.checkpoint(store)),
            Role::Query => Box::pin(self.query(store)),
        }
    }

    async fn pause(&self, from: u64, to: u64) {
        self.world.schedule.sleep(self.world.between(from, to)).await;
    }

    /// A bucket that is away is no fault of ours; everything else is.
    fn tolerate(&self, what: &str, error: &Error) {
        let kind = error.kind();
        // Errors hold ids, which differ from run to run.
        self.world.note(&self.name, &format!("cannot {what}: {kind:?}"));
        assert!(
            matches!(kind, ErrorKind::Unavailable | ErrorKind::Conflict),
            "{} cannot {what}: {kind:?}: {error}, {:?}",
            self.name,
            std::error::Error::source(error)
        );
    }

    async fn refresh(self, store: Arc<Store>) {
        while !self.world.is_calm() {
            self.pause(1, 20).await;
            if let Err(error) = store.refresh().await {
                self.tolerate("refresh", &error);
            }
        }
    }

    async fn compact(self, store: Arc<Store>) {
        loop {
            self.pause(10, 120).await;
            let (calm, began) = (self.world.is_calm(), self.world.schedule.now());
            match store.compact().await {
                Ok(report) if calm && report.merges == 0 && report.void == 0 => return,
                Ok(report) => {
                    let (merges, void) = (report.merges, report.void);
                    self.world.note(&self.name, &format!("merged {merges}, void {void}"));
                }
                // It was frozen for so long that its inputs are gone.
                Err(error)
                    if error.kind() == ErrorKind::Damaged
                        && self.world.schedule.now() - began > GRACE - SKEW_MAX =>
                {
                    self.world.note(&self.name, "merged too slowly");
                }
                Err(error) => self.tolerate("compact", &error),
            }
        }
    }

    async fn collect(self, store: Arc<Store>) {
        while !self.world.is_calm() {
            self.pause(GRACE.as_secs() / 8, GRACE.as_secs() / 2).await;
            match store.collect_garbage().await {
                Ok(deleted) => self.world.note(&self.name, &format!("deleted {deleted}")),
                Err(error) => self.tolerate("collect", &error),
            }
        }
    }

    async fn checkpoint(self, store: Arc<Store>) {
        while !self.world.is_calm() {
            self.pause(60, 600).await;
            let records_min = 1 + self.world.below(10);
            if let Err(error) = store.checkpoint_when_due(records_min).await {
                self.tolerate("checkpoint", &error);
            }
        }
    }

    async fn ingest(self, writer: WriterId, store: Arc<Store>) {
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
        for _ in 0..=self.world.below(2) {
            let (bytes, rows) = (60 + self.world.below(100), 1 + self.world.below(3));
            let row = |row| {
                let hour = [0, 0, 0, -1, 1][usize::try_from(self.world.below(5)).unwrap()];
                (format!("{}-{bytes}-{row}", self.world.below(1 << 40)), hour)
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
        let mut hours: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (body, hour) in frames.into_iter().flat_map(|frame| frame.rows) {
            hours.entry(hour).or_default().push(body);
        }
        let start = |hour: i64| HOUR + hour * crate::UnixNanos::HOUR;
        let rows: Vec<_> = hours.iter().map(|(hour, names)| logs(start(*hour), names)).collect();
        Some(Commit { writer, covers_from: covered, covers_to, rows: Arc::new(rows) })
    }

    async fn query(self, store: Arc<Store>) {
        let mut old: Option<(Arc<Snapshot>, Duration)> = None;
        while !self.world.is_calm() {
            self.pause(5, 120).await;
            if let Some((snapshot, until)) = &old {
                self.check(&store, snapshot, *until).await;
            }
            let trimmed = self.world.inside().promises.trimmed();
            let began = self.world.schedule.now();
            match store.refresh().await {
                Ok(snapshot) => {
                    let covered = Promises::check_covered(&snapshot, &trimmed);
                    covered.unwrap_or_else(|lost| panic!("{}: {lost}", self.name));
                    let until = began + GRACE - SKEW_MAX;
                    self.check(&store, &snapshot, until).await;
                    if old.is_none() || self.world.below(3) == 0 {
                        old = Some((snapshot, until));
                    }
                }
                Err(error) => self.tolerate("refresh", &error),
            }
        }
    }

    /// Reads everything that a snapshot has; until `until` every file of it must be there.
    pub(super) async fn check(&self, store: &Store, snapshot: &Snapshot, until: Duration) {
        let mut found = BTreeMap::new();
        for file in snapshot.files(Table::Logs, TimeRange::ALL) {
            match self.bodies(store, &file).await {
                Ok(bodies) => bodies.iter().for_each(|body| {
                    *found.entry(body.clone()).or_default() += 1;
                }),
                Err(error) if error.kind() == ErrorKind::Unavailable => return,
                Err(_) if self.world.schedule.now() >= until => return,
                Err(error) => panic!("{} cannot read {}: {error}", self.name, file.path()),
            }
        }
        let wrong = self.world.inside().promises.check_rows(snapshot, &found);
        wrong.unwrap_or_else(|wrong| panic!("{} at {}: {wrong}", self.name, snapshot.id()));
    }

    /// The bodies in a file. It is decoded once in a run, and looked for every time.
    async fn bodies(
        &self,
        store: &Store,
        file: &Arc<FileEntry>,
    ) -> Result<Arc<Vec<String>>, Error> {
        let known = self.world.inside().contents.get(&file.id).cloned();
        if let Some(known) = known {
            let found = store.bucket.objects().head(&Path::from(file.path())).await;
            found.map_err(|source| {
                let path = file.path();
                Error::Bucket { action: "read", path, source }
            })?;
            return Ok(known);
        }
        let batches: Vec<_> = store.read_rows(file, TimeRange::ALL, None).try_collect().await?;
        let bodies = Arc::new(bodies_of(&batches));
        self.world.inside().contents.insert(file.id, Arc::clone(&bodies));
        Ok(bodies)
    }
}

/// Settings under which much happens in little time.
fn config() -> Config {
    let mut config = Config::new(Url::parse("memory:///").expect("it is a URL"), None);
    config.compaction.files_min = 3;
    config.compaction.files_max = 5;
    config.compaction.settle_after = Duration::from_secs(20);
    config.garbage_grace = GRACE;
    config.retries_max = 2;
    config
}

/// A writer's name.
pub(super) fn writer(number: u64) -> WriterId {
    WriterId(Ulid::from_parts(1, u128::from(number)))
}
