//! A process: a store over its own link, and the loops that it plays until it is killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Either, join_all, select};
use prometheus_client::registry::Registry;
use ulid::Ulid;
use url::Url;

use super::grounds::Rule;
use super::link::Link;
use super::shelf::Shelf;
use super::world::{GRACE, SKEW_MAX, World};
use crate::bucket::{Bucket, Puts, stack};
use crate::chance::{Chance, Machine};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::metrics::Metrics;
use crate::model::{Table, WriterId};
use crate::retention::RetentionRule;
use crate::retention::tests::bench::BodyConditions;
use crate::store::Store;

/// Uploads go in parts of so many bytes: a merged file has a few of them.
const PART_BYTES: usize = 4 << 10;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Ingest(WriterId),
    Refresh,
    Compact,
    Retain,
    Collect,
    Checkpoint,
    Query,
    Hold,
    Erase,
    Rebuild,
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
        let (store, _shelf) = loop {
            match self.open().await {
                Ok((store, shelf)) => break (Arc::new(store), shelf),
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

    /// A store of its own, perhaps with an index that an earlier life left.
    pub(super) async fn open(&self) -> Result<(Store, Option<Shelf>), Error> {
        // It is let go of after the store.
        let shelf = self.world.indexed.then(|| Shelf::new(&self.world, &self.name));
        let link = Link { world: Arc::clone(&self.world), who: Arc::clone(&self.name) };
        let chance = Chance::seeded(self.world.below(u64::MAX));
        let machine = Machine { clock: self.world.clock(), chance };
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let process = machine.chance.id(&*machine.clock);
        let index = shelf.as_ref().map(|shelf| shelf.folder.clone());
        let config = config(&self.world, index);
        let objects = Arc::new(stack(link, &config, &machine, &metrics));
        let puts = if self.world.overwrites { Puts::Overwrite } else { Puts::CreateOnly };
        let bucket = Bucket::new(objects, "memory:///", puts).in_parts_of(PART_BYTES);
        let store = Store::open_over(config, machine, metrics, bucket, process).await?;
        store.understand(Arc::new(BodyConditions))?;
        Ok((store, shelf))
    }

    fn play(self, role: Role, store: Arc<Store>) -> BoxFuture<'static, ()> {
        match role {
            Role::Ingest(writer) => Box::pin(self.ingest(writer, store)),
            Role::Refresh => Box::pin(self.refresh(store)),
            Role::Compact => Box::pin(self.compact(store)),
            Role::Collect => Box::pin(self.collect(store)),
            Role::Checkpoint => Box::pin(self.checkpoint(store)),
            Role::Query => Box::pin(self.query(store)),
            Role::Retain => Box::pin(self.retain(store)),
            Role::Hold => Box::pin(self.hold(store)),
            Role::Erase => Box::pin(self.erase(store)),
            Role::Rebuild => Box::pin(self.rebuild(store)),
        }
    }

    /// As [`Self::tolerate`]; and what was read may be gone where somebody was frozen for too long,
    /// or wanted files deleted at once.
    pub(super) fn tolerate_gone(&self, what: &str, error: &Error, began: Duration) {
        let slow = self.world.schedule.now() - began > GRACE - SKEW_MAX;
        let gone = slow || self.world.inside().oracle.hurried_since(began);
        if error.kind() == ErrorKind::Damaged && gone {
            self.world.note(&self.name, &format!("cannot {what}: files are gone"));
            return;
        }
        self.tolerate(what, error);
    }

    pub(super) async fn pause(&self, from: u64, to: u64) {
        self.world.schedule.sleep(self.world.between(from, to)).await;
    }

    /// A bucket that is away is no fault of ours; everything else is.
    pub(super) fn tolerate(&self, what: &str, error: &Error) {
        let kind = error.kind();
        // Errors hold ids, which differ from run to run.
        self.world.note(&self.name, &format!("cannot {what}: {kind:?}"));
        let owned = self.world.overwrites && matches!(error, Error::Owned { .. });
        assert!(
            owned || matches!(kind, ErrorKind::Unavailable | ErrorKind::Conflict),
            "{} cannot {what}: {kind:?}: {error}, {:?}",
            self.name,
            std::error::Error::source(error)
        );
    }
}

/// Settings under which much happens in little time.
fn config(world: &World, index: Option<PathBuf>) -> Config {
    let mut config = Config::new(Url::parse("memory:///").expect("it is a URL"), index);
    config.compaction.files_min = 3;
    config.compaction.files_max = 5;
    config.compaction.settle_after = Duration::from_secs(20);
    config.garbage_grace = GRACE;
    config.retries_max = 2;
    if world.hasty {
        // Owners that live and work are replaced all the time.
        config.owner_timeout = Duration::from_secs(2);
    }
    config.retention = world.rules.iter().map(rule).collect();
    config
}

fn rule((keep, text): &Rule) -> RetentionRule {
    RetentionRule {
        table: Table::Logs,
        keep: keep.map(Duration::from_secs),
        condition: (!text.is_empty()).then(|| format!("body has {text}")),
    }
}

/// A writer's name.
pub(super) fn writer(number: u64) -> WriterId {
    WriterId(Ulid::from_parts(1, u128::from(number)))
}
