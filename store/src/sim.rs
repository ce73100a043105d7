//! The store under a simulated world: one seed decides time, order, chance, faults and crashes.
//!
//! Ingesters, compactors, collectors and queries run over one bucket in memory, on one thread and
//! a clock that only moves when nobody can go on. What senders were promised is kept beside them,
//! and every snapshot that anybody takes is read and compared with it.
//!
//! Invariant: the same seed gives the same run, event by event, so that a failure is found again.

mod epochs;
mod grounds;
mod ingesting;
mod keeping;
mod link;
mod oracle;
mod process;
mod promises;
mod reading;
mod schedule;
mod shelf;
mod tending;
mod trace;
mod uploads;
mod weather;
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use self::process::{Process, Role, writer};
use self::promises::at_of;
use self::reading::Reading;
use self::world::{GRACE, Inside, SKEW_MAX, World};
use crate::model::UnixNanos;
use crate::store::Store;

/// How wrong clocks are, in nanoseconds.
const SLACK: i64 = SKEW_MAX.as_secs().cast_signed() * 1_000_000_000;

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is simulating: then long work is done at once, where it is.
pub(crate) fn is_running() -> bool {
    RUNNING.get()
}

/// Runs a seed to its end. What happened, or what went wrong and how it came.
fn run(seed: u64) -> Result<Vec<String>, String> {
    let world = World::new(seed);
    let main = story(Arc::clone(&world));
    RUNNING.set(true);
    let ran = catch_unwind(AssertUnwindSafe(|| world.schedule.run(main)));
    RUNNING.set(false);
    let mut inside = world.inside();
    match ran {
        Ok(()) => Ok(std::mem::take(&mut inside.trace.lines)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("{}\n{}", inside.trace.tail(400), text.unwrap_or_default()))
        }
    }
}

/// A stormy hour or so, then calm, then the reckoning.
async fn story(world: Arc<World>) {
    let processes = cast(&world);
    let mut running = Vec::new();
    for process in processes {
        // Who watches over a process is none of it, and does not freeze with it.
        running.push(world.schedule.spawn(0, process.supervise()));
    }
    let end = world.between(300, 1500);
    while world.schedule.now() < end {
        world.schedule.sleep(world.between(30, 300)).await;
        if world.below(4) == 0 {
            let until = world.schedule.now() + world.between(1, 120);
            world.note("world", &format!("nothing arrives until {until:?}"));
            world.inside().weather.storm(until);
        }
    }
    world.calm_down();
    for process in &mut running {
        process.ended().await;
    }
    reckon(&world).await;
}

/// Who plays.
fn cast(world: &Arc<World>) -> Vec<Process> {
    let mut processes: Vec<Process> = Vec::new();
    let mut add = |name: String, roles: Vec<Role>| {
        let number = u32::try_from(processes.len()).expect("they are few") + 1;
        let world = Arc::clone(world);
        processes.push(Process { world, name: name.into(), number, roles });
    };
    if world.overwrites {
        // Each is a whole Icecore, and would be the one that writes.
        for number in 0..1 + world.below(3) {
            let mut roles = vec![Role::Ingest(writer(number)), Role::Refresh, Role::Compact];
            roles.extend([Role::Retain, Role::Collect, Role::Checkpoint, Role::Query]);
            if world.below(2) == 0 {
                roles.extend([Role::Hold, Role::Erase]);
            }
            add(format!("all-{number}"), roles);
        }
        add("query".to_owned(), vec![Role::Query]);
        return processes;
    }
    for number in 0..[1, 2, 2, 3][usize::try_from(world.below(4)).unwrap_or(0)] {
        let mut roles = vec![Role::Ingest(writer(number))];
        // Some are a whole Icecore in one process.
        if world.indexed && world.below(2) == 0 {
            roles.push(Role::Rebuild);
        }
        if world.below(3) == 0 {
            roles.extend([Role::Refresh, Role::Compact, Role::Retain, Role::Collect, Role::Query]);
        }
        add(format!("ingest-{number}"), roles);
    }
    for number in 0..1 + world.below(2) {
        let roles = vec![Role::Compact, Role::Retain, Role::Collect, Role::Checkpoint];
        add(format!("compact-{number}"), roles);
    }
    for number in 0..1 + world.below(2) {
        add(format!("query-{number}"), vec![Role::Query]);
    }
    if world.below(2) == 0 {
        add("keeper".to_owned(), vec![Role::Hold, Role::Erase]);
    }
    processes
}

/// When all is quiet: every row is there, nothing else is, and the bucket is whole.
async fn reckon(world: &Arc<World>) {
    let name: Arc<str> = "reckoning".into();
    let last = Process { world: Arc::clone(world), name, number: 1000, roles: Vec::new() };
    // Whatever is still under way arrives, and every grace is over.
    world.schedule.sleep(4 * GRACE + Duration::from_secs(60)).await;
    let (store, _shelf) = last.open().await.expect("nothing is in the way");
    remove(world, &last, &store).await;
    for _ in 0..2 {
        store.collect_garbage().await.expect("nothing is in the way");
        world.schedule.sleep(2 * GRACE).await;
    }
    let at = world.schedule.now();
    let snapshot = store.refresh().await.expect("nothing is in the way");
    for (writer, end) in world.inside().promises.ends() {
        assert_eq!(snapshot.covered_to(writer).unwrap_or_default(), end, "of {writer}");
    }
    last.check(&store, &Reading { snapshot, at, until: Duration::MAX }).await;
    let report = store.check_all(true, &()).await.expect("nothing is in the way");
    assert_eq!(report.faults, Vec::<String>::new());
    assert!(report.index_agrees);
    assert_eq!(report.unnamed, 0, "garbage is left");
}

/// When nothing is in the way, all goes that is to go.
async fn remove(world: &Arc<World>, last: &Process, store: &Store) {
    let report = store.retain(false).await.expect("nothing is in the way");
    assert_eq!(report.failed, 0);
    {
        let (now, inside) = (world.wall(world.schedule.now()), world.inside());
        let Inside { oracle, .. } = &*inside;
        for body in oracle.rows_with("") {
            // A file is of one hour, and goes when the youngest of its rows may.
            let hour_end = UnixNanos(at_of(&body).hour().0 + UnixNanos::HOUR + SLACK);
            let stays = !oracle.grounds.is_due(&body, hour_end, now);
            assert!(stays || oracle.grounds.is_held(&body), "{body} is too old and is there");
        }
    }
    let text = format!("{}", world.below(10));
    let erased = last.erase_once(store, &text, world.below(2) == 0).await;
    let erased = erased.expect("nothing is in the way");
    assert_eq!((erased.left, erased.unreadable), (0, Vec::new()));
    let held = |body: &String| world.inside().oracle.grounds.is_held(body);
    let rows = world.inside().oracle.rows_with(&text);
    assert!(rows.iter().all(held), "erased rows are there");
}

#[cfg(test)]
mod tests;
