//! One thread, one clock, and a seed that says who goes next.
//!
//! Invariant: time moves only when nobody can go on, and nothing but the seed decides the order of
//! those who can. The same seed gives the same run.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Steps after which a run counts as one that never ends.
const STEPS_MAX: u64 = 1_000_000;

/// Tasks and timers. Clones share them.
#[derive(Clone)]
pub(super) struct Schedule(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    woken: Arc<Mutex<Vec<u64>>>,
}

struct State {
    now: Duration,
    serial: u64,
    numbers: StdRng,
    timers: BTreeMap<(Duration, u64), Waker>,
    tasks: BTreeMap<u64, Slot>,
    /// Until when a process does not run, as one whose machine is frozen.
    stalled: BTreeMap<u32, Duration>,
}

struct Slot {
    process: u32,
    /// Away while it runs.
    future: Option<BoxFuture<'static, ()>>,
}

/// A task that somebody started.
pub(super) struct Task {
    id: u64,
    schedule: Schedule,
    ended: oneshot::Receiver<()>,
}

struct Waking {
    id: u64,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        lock(&self.woken).push(self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Schedule at {:?}", self.now())
    }
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            now: Duration::ZERO,
            serial: 0,
            numbers: StdRng::seed_from_u64(seed),
            timers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            stalled: BTreeMap::new(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), woken: Arc::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Duration {
        self.state().now
    }

    /// Waits so long; at least until everybody else had a turn.
    pub(super) fn sleep(&self, duration: Duration) -> Sleep {
        Sleep { schedule: self.clone(), until: self.now() + duration, timer: None }
    }

    /// Starts a task of a process.
    pub(super) fn spawn(
        &self,
        process: u32,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Task {
        let (tell, ended) = oneshot::channel();
        let future = async move {
            future.await;
            // Nobody may be waiting for it.
            tell.send(()).unwrap_or(());
        };
        let mut state = self.state();
        state.serial += 1;
        let id = state.serial;
        state.tasks.insert(id, Slot { process, future: Some(Box::pin(future)) });
        lock(&self.0.woken).push(id);
        Task { id, schedule: self.clone(), ended }
    }

    /// Freezes a process until then.
    pub(super) fn stall(&self, process: u32, duration: Duration) {
        let mut state = self.state();
        let until = state.now + duration;
        state.stalled.insert(process, until);
    }

    /// Runs `main` to its end, and drops whatever else still goes on.
    pub(super) fn run(&self, main: impl Future<Output = ()> + Send + 'static) {
        let mut main = self.spawn(0, main);
        let mut ready: Vec<u64> = Vec::new();
        for _ in 0..STEPS_MAX {
            ready.extend(self.woken());
            if ready.is_empty() {
                assert!(self.advance(), "nobody can go on, and the run is not over");
                continue;
            }
            let chosen = self.state().numbers.random_range(0..ready.len());
            self.step(ready.swap_remove(chosen));
            if main.ended.try_recv() == Ok(Some(())) {
                let tasks = std::mem::take(&mut self.state().tasks);
                drop(tasks);
                return;
            }
        }
        panic!("the run does not come to an end");
    }

    /// Who was woken since, once each.
    fn woken(&self) -> Vec<u64> {
        let mut woken = std::mem::take(&mut *lock(&self.0.woken));
        woken.sort_unstable();
        woken.dedup();
        woken
    }

    /// Goes on to the next timer.
    fn advance(&self) -> bool {
        let mut state = self.state();
        let Some(((at, _), waker)) = state.timers.pop_first() else { return false };
        state.now = at;
        drop(state);
        waker.wake();
        true
    }

    fn step(&self, id: u64) {
        let waker = Waker::from(Arc::new(Waking { id, woken: Arc::clone(&self.0.woken) }));
        let Some(mut future) = self.take(id, &waker) else { return };
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut state = self.state();
        let gone = match polled {
            Poll::Ready(()) => {
                state.tasks.remove(&id);
                Some(future)
            }
            Poll::Pending => match state.tasks.get_mut(&id) {
                Some(slot) => {
                    slot.future = Some(future);
                    None
                }
                None => Some(future),
            },
        };
        drop(state);
        drop(gone);
    }

    /// The future of a task that may run now.
    fn take(&self, id: u64, waker: &Waker) -> Option<BoxFuture<'static, ()>> {
        let mut state = self.state();
        let process = state.tasks.get(&id)?.process;
        if let Some(until) = state.stalled.get(&process).copied() {
            if until > state.now {
                state.serial += 1;
                let place = (until, state.serial);
                state.timers.insert(place, waker.clone());
                return None;
            }
            state.stalled.remove(&process);
        }
        state.tasks.get_mut(&id)?.future.take()
    }
}

impl Task {
    /// Kills the task where it stands.
    pub(super) fn kill(&self) {
        let killed = self.schedule.state().tasks.remove(&self.id);
        drop(killed);
    }

    /// Returns when the task is over, however it ended.
    pub(super) async fn ended(&mut self) {
        (&mut self.ended).await.unwrap_or(());
    }
}

/// See [`Schedule::sleep`].
pub(super) struct Sleep {
    schedule: Schedule,
    until: Duration,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<()> {
        let Self { schedule, until, timer } = self.get_mut();
        let mut state = schedule.state();
        if state.now >= *until {
            return Poll::Ready(());
        }
        // One timer however often it is asked: each would wake the task, which would ask again.
        let serial = *timer.get_or_insert(state.serial + 1);
        state.serial = state.serial.max(serial);
        state.timers.insert((*until, serial), ctx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(serial) = self.timer {
            let waker = self.schedule.state().timers.remove(&(self.until, serial));
            drop(waker);
        }
    }
}
