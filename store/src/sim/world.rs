//! Everything that outlives a process: the bucket's objects, the promises, the weather.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::grounds::Rule;
use super::oracle::{Bodies, Oracle};
use super::promises::Promises;
use super::schedule::Schedule;
use super::shelf::Shelves;
use super::trace::Trace;
use super::weather::Weather;
use crate::model::{FileId, UnixNanos};
use crate::ports::Clock;
use crate::sample::HOUR;

/// How long a removed file stays.
pub(super) const GRACE: Duration = Duration::from_secs(300);

/// How far two clocks are apart at most.
pub(super) const SKEW_MAX: Duration = Duration::from_secs(10);

/// How long rows are kept, in one seed of four each.
const RULES: [&[Rule]; 4] = [
    &[],
    &[(Some(900), "")],
    &[(Some(400), ""), (Some(1200), "3"), (None, "77")],
    &[(Some(0), "5"), (Some(3000), "")],
];

/// An object in the bucket.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) modified: Duration,
}

/// What changes.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) objects: BTreeMap<String, Object>,
    /// Parts of uploads that were neither completed nor aborted.
    pub(super) uploads: BTreeMap<u64, BTreeMap<usize, Bytes>>,
    pub(super) uploads_begun: u64,
    pub(super) oracle: Oracle,
    pub(super) promises: Promises,
    pub(super) weather: Weather,
    pub(super) trace: Trace,
    /// The bodies in every file that was read, so that each is decoded once.
    pub(super) contents: BTreeMap<FileId, Bodies>,
    pub(super) shelves: Shelves,
    numbers: StdRng,
}

impl Inside {
    /// One more line of what happened to an object.
    pub(super) fn tell(&mut self, now: Duration, path: &str, what: &str) {
        let short = self.trace.short(path);
        self.trace.note(now, "bucket", &format!("{short} {what}"));
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub(super) schedule: Schedule,
    /// How long rows are kept.
    pub(super) rules: &'static [Rule],
    /// Whether processes have an index on disk.
    pub(super) indexed: bool,
    /// Whether the bucket ignores create-only puts.
    pub(super) overwrites: bool,
    /// Whether an owner that is silent for a moment counts as gone.
    pub(super) hasty: bool,
    calm: AtomicBool,
    inside: Mutex<Inside>,
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let of = |part: u64| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(part);
        let mut numbers = StdRng::seed_from_u64(of(2));
        let rules = RULES[numbers.random_range(0..RULES.len())];
        let indexed = numbers.random_range(0..3) == 0;
        let overwrites = numbers.random_range(0..3) == 0;
        let hasty = numbers.random_range(0..2) == 0;
        let inside = Inside {
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            uploads_begun: 0,
            oracle: Oracle::ruled_by(rules),
            promises: Promises::default(),
            weather: Weather::new(of(1), GRACE),
            trace: Trace::default(),
            contents: BTreeMap::new(),
            shelves: Shelves::default(),
            numbers,
        };
        Arc::new(Self {
            schedule: Schedule::new(of(3)),
            rules,
            indexed,
            overwrites,
            hasty,
            calm: AtomicBool::new(false),
            inside: Mutex::new(inside),
        })
    }

    pub(super) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bucket's own clock.
    pub(super) fn wall(&self, at: Duration) -> UnixNanos {
        UnixNanos(HOUR + i64::try_from(at.as_nanos()).expect("a run takes hours"))
    }

    /// One more line of what happened.
    pub(super) fn note(&self, who: &str, what: &str) {
        let now = self.schedule.now();
        self.inside().trace.note(now, who, what);
    }

    /// A number below `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.inside().numbers.random_range(0..end)
    }

    /// A time between the two.
    pub(super) fn between(&self, from: u64, to: u64) -> Duration {
        let range = from * 1_000_000..to * 1_000_000;
        Duration::from_micros(self.inside().numbers.random_range(range))
    }

    /// Whether faults and crashes are over.
    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// No more faults and crashes.
    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.inside().weather.clear_up();
        self.note("world", "calm");
    }

    /// A clock that is somewhat wrong.
    pub(super) fn clock(self: &Arc<Self>) -> Arc<dyn Clock> {
        let half = SKEW_MAX.as_secs() / 2;
        let skew = self.between(0, 2 * half);
        let skew_ns =
            i64::try_from(skew.as_nanos()).unwrap_or(0) - half.cast_signed() * 1_000_000_000;
        Arc::new(Wrong { world: Arc::clone(self), skew_ns })
    }
}

/// A process's own clock.
#[derive(Debug)]
struct Wrong {
    world: Arc<World>,
    skew_ns: i64,
}

impl Clock for Wrong {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.world.wall(self.world.schedule.now()).0 + self.skew_ns)
    }

    fn elapsed(&self) -> Duration {
        self.world.schedule.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.world.schedule.sleep(duration))
    }
}
