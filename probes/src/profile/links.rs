//! Which request a thread was serving, for those who saw it at work.
//!
//! Invariants: a moment has a request only if its thread is known to have served that one then, and no other;
//! only requests are known whose spans are on their way to the receiver; a moment is nobody's only when all that
//! passed before it was read and told, however late; what is remembered is bounded in number and by age.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ProfileConfig;
use super::fold::Owner;
use crate::tie::{Served, TieConfig};

/// The span of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SpanLink {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
}

/// What a thread was doing at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// It served this request.
    Served(SpanLink),
    /// It serves one that is not over, or nobody can say yet.
    Undecided,
    /// Nobody knows of a request, and nothing more will be known.
    Nothing,
}

/// A sample is asked for so long after spans are let go: threads that serve are told once a second, and what passed
/// is read up to ten times a second.
const LATER: Duration = Duration::from_millis(1_750);
/// What passed at one moment on two CPUs may be read in another order.
const ORDER: Duration = Duration::from_millis(10);
/// Requests that are remembered, about 70 bytes each: those of two seconds at 8,000 a second.
const SERVED_MAX: usize = 16_384;

/// Requests that were served of late. Cheap to clone: one side tells, the other one asks.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    known: Arc<Mutex<Known>>,
    lag: u64,
    wait: u64,
}

#[derive(Debug, Default)]
struct Known {
    /// In the order in which they ended, or nearly so.
    served: VecDeque<(Served, SpanLink)>,
    /// The newest one such that all requests that ended before it were told.
    settled: Serving,
    /// A newer one.
    newest: Option<Serving>,
}

/// Threads that served a request at a moment, and since when.
#[derive(Debug, Default)]
struct Serving {
    at: u64,
    threads: HashMap<u32, u64>,
}

impl Links {
    /// As long as both are set to wait; none are known where either is off.
    pub(crate) fn new(profile: &ProfileConfig, ties: &TieConfig) -> Self {
        let wait = if profile.enabled { crate::nanos(profile.link_wait) } else { 0 };
        let lag = if wait > 0 { crate::nanos(ties.wait.saturating_add(LATER)) } else { 0 };
        Self { known: Arc::default(), lag, wait }
    }

    /// After this a sample can be asked for, in nanoseconds. 0: there is nothing to wait for.
    pub(super) fn lag(&self) -> u64 {
        self.lag
    }

    /// A sample may be asked for again until it is so old.
    pub(super) fn wait(&self) -> u64 {
        self.wait
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The span of a request is on its way, and its thread was at it from then until then.
    pub(crate) fn served(&self, served: Served, link: SpanLink) {
        if self.lag == 0 {
            return;
        }
        let known = &mut *self.known();
        // Who asks again does so within the lag.
        let oldest = served.until.saturating_sub(self.lag.saturating_mul(4));
        let old = |one: &(Served, SpanLink)| one.0.until < oldest;
        while known.served.len() >= SERVED_MAX || known.served.front().is_some_and(old) {
            known.served.pop_front();
        }
        known.served.push_back((served, link));
    }

    /// All requests that ended before this moment were told, of those that are to be.
    pub(crate) fn told(&self, until: u64) {
        if self.lag == 0 {
            return;
        }
        let known = &mut *self.known();
        if let Some(newest) = known.newest.take_if(|newest| newest.at <= until) {
            known.settled = newest;
        }
    }

    /// What passed until `now` was read, and these threads serve a request, since then. To be told about once a
    /// second.
    pub(crate) fn serving(&self, now: u64, threads: impl Iterator<Item = (u32, u64)>) {
        if self.lag == 0 {
            return;
        }
        let known = &mut *self.known();
        known.newest.get_or_insert_with(|| Serving { at: now, threads: threads.collect() });
    }

    /// What a thread of a process was doing at a moment.
    pub(super) fn at(&self, owner: &Owner, thread: u32, time: u64) -> Doing {
        if self.lag == 0 {
            return Doing::Nothing;
        }
        let known = self.known();
        let process = (owner.pid, owner.started);
        let covers = |(served, _): &&(Served, _)| served.covers(process, thread, time);
        let mut found = known.served.iter().filter(covers);
        let Serving { at, threads } = &known.settled;
        let unread = time.saturating_add(crate::nanos(ORDER)) > *at;
        match (found.next(), found.next()) {
            (Some((_, link)), None) => Doing::Served(*link),
            (Some(_), Some(_)) => Doing::Nothing,
            (None, _) if unread || threads.get(&thread).is_some_and(|since| *since <= time) => {
                Doing::Undecided
            }
            (None, _) => Doing::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const OWNER: Owner = Owner { pid: 7, started: 5 };

    fn links() -> Links {
        Links::new(&ProfileConfig::default(), &TieConfig::default())
    }

    fn served(thread: u32, from: u64, until: u64) -> Served {
        Served { process: OWNER.pid, started: OWNER.started, thread, from, until }
    }

    fn link(number: u8) -> SpanLink {
        SpanLink { trace_id: [number; 16], span_id: [number; 8] }
    }

    /// Scenario: two requests on one thread one behind the other, one on another; moments in each, at their ends,
    /// between them, and of other threads and processes; two that say they had one thread at a time.
    /// Guarantees: a moment has the request of its thread, bounds included; one of nobody, or of two, has none.
    #[test]
    fn a_moment_has_one_request() {
        let links = links();
        links.serving(SECOND, std::iter::empty());
        links.told(SECOND);
        links.served(served(1, 100, 200), link(1));
        links.served(served(2, 150, 250), link(2));
        links.served(served(1, 300, 400), link(3));
        let at = |thread, time| links.at(&OWNER, thread, time);
        assert_eq!([100, 150, 200].map(|time| at(1, time)), [Doing::Served(link(1)); 3]);
        assert_eq!(at(1, 400), Doing::Served(link(3)));
        assert_eq!(at(2, 150), Doing::Served(link(2)));
        assert_eq!([99, 201, 299, 401].map(|time| at(1, time)), [Doing::Nothing; 4]);
        assert_eq!(at(3, 150), Doing::Nothing);
        for other in [Owner { pid: 8, ..OWNER }, Owner { started: 6, ..OWNER }] {
            assert_eq!(links.at(&other, 1, 150), Doing::Nothing);
        }
        links.served(served(1, 390, 500), link(4));
        assert_eq!((at(1, 395), at(1, 450)), (Doing::Nothing, Doing::Served(link(4))));
    }

    /// Scenario: a thread serves, and is told so, and not any more once it is done; its span is told later.
    /// Guarantees: nothing is decided of a moment before all that passed by then was read, and told; then the moment
    /// is that of the request, or of nobody; a moment before the request is nobody's meanwhile.
    #[test]
    fn who_serves_is_waited_for() {
        let links = links();
        let at = |time| links.at(&OWNER, 1, time);
        assert_eq!(at(9 * SECOND), Doing::Undecided);
        links.serving(10 * SECOND, [(1, 9 * SECOND)].into_iter());
        links.told(10 * SECOND - 1);
        assert_eq!(at(8 * SECOND), Doing::Undecided);
        links.told(10 * SECOND);
        assert_eq!((at(8 * SECOND), at(9 * SECOND)), (Doing::Nothing, Doing::Undecided));
        assert_eq!(at(10 * SECOND), Doing::Undecided);
        // It ends then, and that is told two seconds later.
        links.serving(11 * SECOND, std::iter::empty());
        links.serving(12 * SECOND, [(1, 11 * SECOND)].into_iter());
        assert_eq!(at(10 * SECOND), Doing::Undecided);
        links.served(served(1, 9 * SECOND, 10 * SECOND), link(1));
        links.told(11 * SECOND);
        assert_eq!(
            (at(9 * SECOND), at(10 * SECOND)),
            (Doing::Served(link(1)), Doing::Served(link(1)))
        );
        assert_eq!((at(10 * SECOND + 1), at(11 * SECOND)), (Doing::Nothing, Doing::Undecided));
    }

    /// Scenario: more requests than are remembered, at one time and over a long one; nobody samples.
    /// Guarantees: the newest are there, and no more than the bound or the age allow; nothing is remembered.
    #[test]
    fn what_is_remembered_is_bounded() {
        let known = links();
        known.serving(SECOND, std::iter::empty());
        known.told(SECOND);
        for number in 0..SERVED_MAX as u64 + 10 {
            known.served(served(1, number, number), link(1));
        }
        assert_eq!(known.known().served.len(), SERVED_MAX);
        assert_eq!(known.at(&OWNER, 1, 9), Doing::Nothing);
        assert_eq!(known.at(&OWNER, 1, 10), Doing::Served(link(1)));
        known.served(served(1, SECOND, 60 * SECOND), link(2));
        assert_eq!(known.known().served.len(), 1);
        let off = ProfileConfig { enabled: false, ..ProfileConfig::default() };
        let off = Links::new(&off, &TieConfig::default());
        off.served(served(1, 1, 2), link(1));
        off.serving(1, [(1, 1)].into_iter());
        assert!(off.known().served.is_empty());
        assert!(off.known().newest.is_none());
        assert_eq!(off.at(&OWNER, 1, 1), Doing::Nothing);
    }
}
