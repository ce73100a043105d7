//! Who serves which requests: threads, goroutines, and processes.
//!
//! Invariants: a request is there from the moment its head was read until it is answered; one carrier
//! has a request alone only if it had no other one since it read that.

use std::sync::Arc;

use hashbrown::HashMap;

use super::end::{End, How};
use super::recent::Recent;
use super::served::Served;
use super::{Actor, Key};

/// Processes whose threads are known to hand requests over.
const HAND_OVERS_MAX: usize = 4_096;
/// Names that a request may pass on.
pub(super) const NAMES_MAX: usize = 3;

/// What reads requests and runs what comes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Worker {
    Thread(u32),
    /// That of a process, by its number there.
    Goroutine(u32, u32),
}

impl Default for Worker {
    fn default() -> Self {
        Self::Thread(0)
    }
}

/// What carries requests: a worker, a process, a name.
#[derive(Debug, Default)]
struct Carrier {
    count: usize,
    /// The only one, since it was read.
    alone: Option<Key>,
}

impl Carrier {
    fn take(&mut self, key: Key) {
        self.alone = (self.count == 0).then_some(key);
        self.count += 1;
    }

    /// True where nothing is left.
    fn leave(&mut self, key: Key) -> bool {
        self.count = self.count.saturating_sub(1);
        self.alone = self.alone.filter(|alone| *alone != key);
        self.count == 0
    }
}

/// A worker that reads requests.
#[derive(Debug)]
struct Carrying {
    process: u32,
    carries: Carrier,
    /// What its last call on a socket has read.
    last: Option<Key>,
}

/// A request that is served.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) end: Arc<End>,
    pub(super) process: u32,
    /// When that was started.
    pub(super) started: u64,
    /// The worker that has read it, if one alone did, and no other one has answered.
    pub(super) reader: Option<Worker>,
    /// It was counted there.
    pub(super) counted: Worker,
    /// The reader itself has waited for it.
    pub(super) waits: bool,
    /// When the reader had read its beginning.
    pub(super) read: u64,
    /// When the reader had sent the last that was seen of the answer.
    pub(super) answered: Option<u64>,
    /// What names its caller.
    pub(super) names: [Option<u64>; NAMES_MAX],
}

/// All requests that are served.
#[derive(Debug)]
pub(super) struct Serving {
    requests: Recent<Key, Request>,
    workers: HashMap<Worker, Carrying>,
    processes: HashMap<u32, Carrier>,
    names: HashMap<(u32, u64), Carrier>,
    hand_overs: Recent<(u32, u64), ()>,
    /// Goroutines that do. Others of their process may serve what they read.
    handing_over: Recent<(Worker, u64), ()>,
}

impl Serving {
    pub(super) fn new(requests_max: usize) -> Self {
        Self {
            requests: Recent::new(requests_max),
            workers: HashMap::new(),
            processes: HashMap::new(),
            names: HashMap::new(),
            hand_overs: Recent::new(HAND_OVERS_MAX),
            handing_over: Recent::new(HAND_OVERS_MAX),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// A thread makes a call on a socket: what it has read in its last one, if it was a request.
    pub(super) fn last_read(&mut self, actor: &Actor) -> Option<Key> {
        let thread = self.workers.get_mut(&actor.worker)?;
        thread.last.take().filter(|_| thread.process == actor.process)
    }

    /// More of a request that is known was read; false where it is not.
    pub(super) fn read_more(&mut self, key: Key, actor: &Actor) -> bool {
        let Some(request) = self.requests.get_mut(&key) else { return false };
        request.waits &= actor.waits;
        if request.reader != Some(actor.worker) {
            self.read_by_another(key, actor);
        }
        self.note_last(key, actor);
        true
    }

    /// A worker reads on where another one began. Go's servers have a goroutine read the first byte of what comes while
    /// they serve, and read the rest as they always do: it is theirs.
    fn read_by_another(&mut self, key: Key, actor: &Actor) {
        let Some(request) = self.requests.get_mut(&key) else { return };
        let Worker::Goroutine(process, _) = actor.worker else {
            request.reader = None;
            return;
        };
        let before = std::mem::replace(&mut request.counted, actor.worker);
        request.reader = request.reader.map(|_| actor.worker);
        if self.workers.get_mut(&before).is_some_and(|it| it.carries.leave(key)) {
            self.workers.remove(&before);
        }
        self.worker(actor.worker, process).carries.take(key);
    }

    /// What a worker carries; nothing, where its number is that of one that is gone.
    fn worker(&mut self, worker: Worker, process: u32) -> &mut Carrying {
        let fresh = || Carrying { process, carries: Carrier::default(), last: None };
        let known = self.workers.entry(worker).or_insert_with(fresh);
        if known.process != process {
            *known = fresh();
        }
        known
    }

    /// The last call of a worker has read several requests: the last one is no likelier than the others.
    pub(super) fn several_read(&mut self, actor: &Actor) {
        if let Some(thread) = self.workers.get_mut(&actor.worker) {
            thread.last = None;
        }
    }

    /// A request was read. True where another one had to make room.
    pub(super) fn take(&mut self, key: Key, request: Request, actor: &Actor) -> bool {
        let process = request.process;
        self.worker(actor.worker, process).carries.take(key);
        self.processes.entry(process).or_default().take(key);
        for name in request.names.into_iter().flatten() {
            self.names.entry((process, name)).or_default().take(key);
        }
        let oldest = self.requests.insert(key, request);
        self.note_last(key, actor);
        oldest.is_some_and(|(key, request)| {
            self.forget(key, &request);
            true
        })
    }

    fn note_last(&mut self, key: Key, actor: &Actor) {
        if let Some(thread) = self.workers.get_mut(&actor.worker) {
            thread.last = Some(key).filter(|_| thread.process == actor.process);
        }
    }

    /// A thread has sent the answer of a request, or some of it.
    pub(super) fn answer(&mut self, key: Key, actor: &Actor) {
        let Some(request) = self.requests.get_mut(&key) else { return };
        if request.reader == Some(actor.worker) {
            request.answered = Some(actor.time);
        } else {
            request.reader = None;
        }
    }

    /// A request is served no longer. `answered`: who has sent the end of its answer, where one has. Returns
    /// the time that its thread has spent on it, where that had nothing else to do.
    pub(super) fn leave(
        &mut self,
        key: Key,
        answered: Option<&Actor>,
    ) -> Option<(Arc<End>, Option<Served>)> {
        if let Some(actor) = answered {
            self.answer(key, actor);
        }
        let request = self.requests.remove(&key)?;
        let served = self.served(key, &request);
        self.forget(key, &request);
        let handed_over = |actor: &&Actor| actor.worker != request.counted;
        if let Some(actor) = answered.filter(handed_over) {
            self.note_hand_over(&request, actor);
        }
        Some((request.end, served))
    }

    /// A worker has answered what another one read.
    fn note_hand_over(&mut self, request: &Request, actor: &Actor) {
        let process = (actor.process, actor.started);
        if let Worker::Goroutine(..) = request.counted {
            let goroutine = (request.counted, actor.started);
            if self.handing_over.get(&goroutine).is_none() {
                self.handing_over.insert(goroutine, ());
            }
        } else if self.hand_overs.get(&process).is_none() {
            self.hand_overs.insert(process, ());
        }
    }

    fn served(&self, key: Key, request: &Request) -> Option<Served> {
        let Request { process, started, read, answered, .. } = *request;
        let worker = self.waited(request)?;
        // Samples tell of threads alone.
        let Worker::Thread(thread) = worker else { return None };
        let carries = self.workers.get(&worker).filter(|it| it.process == process);
        let alone = carries.is_some_and(|it| it.carries.alone == Some(key));
        let until = answered.filter(|_| alone)?;
        Some(Served { process, started, thread, from: read, until })
    }

    /// The worker that has waited for a request, and hands none over.
    fn waited(&self, request: &Request) -> Option<Worker> {
        let Request { process, started, reader, waits, .. } = *request;
        reader.filter(|&reader| {
            waits
                && match reader {
                    Worker::Thread(_) => self.hand_overs.get(&(process, started)).is_none(),
                    Worker::Goroutine(..) => self.handing_over.get(&(reader, started)).is_none(),
                }
        })
    }

    /// Threads that have waited for the one request that they serve now, and since when they do.
    pub(super) fn waited_for(&self) -> impl Iterator<Item = (u32, u64)> {
        self.workers.iter().filter_map(|(&worker, it)| {
            let Worker::Thread(thread) = worker else { return None };
            let request = self.end(it.carries.alone?)?;
            (self.waited(request) == Some(worker)).then_some((thread, request.read))
        })
    }

    fn forget(&mut self, key: Key, request: &Request) {
        let Request { process, counted, .. } = *request;
        if let Some(thread) = self.workers.get_mut(&counted).filter(|it| it.process == process)
            && thread.carries.leave(key)
        {
            self.workers.remove(&counted);
        }
        if self.processes.get_mut(&process).is_some_and(|it| it.leave(key)) {
            self.processes.remove(&process);
        }
        for name in request.names.into_iter().flatten() {
            if self.names.get_mut(&(process, name)).is_some_and(|it| it.leave(key)) {
                self.names.remove(&(process, name));
            }
        }
    }

    /// What a call belongs to that a thread makes now, and by what that is known.
    pub(super) fn above(&self, actor: &Actor, names: &[Option<u64>]) -> Above<'_> {
        let Some(process) = self.processes.get(&actor.process) else { return Above::Idle };
        let forwarded = |name: &u64| self.names.get(&(actor.process, *name))?.alone;
        if let Some(request) =
            names.iter().flatten().find_map(forwarded).and_then(|it| self.end(it))
        {
            return Above::Found(&request.end, How::Forwarded);
        }
        let worker = self.workers.get(&actor.worker).filter(|it| it.process == actor.process);
        let alone = worker.and_then(|worker| worker.carries.alone).and_then(|it| self.end(it));
        if let Some(request) = alone {
            // What several goroutines have put into one buffer is sent by whichever fills it.
            let mixed = actor.several && matches!(actor.worker, Worker::Goroutine(..));
            let certain = self.waited(request) == Some(actor.worker) && !mixed;
            return Above::Found(&request.end, if certain { How::Thread } else { How::Likely });
        }
        let likely = actor.last_read.or(process.alone).and_then(|it| self.end(it));
        likely.map_or(Above::Several, |request| Above::Found(&request.end, How::Likely))
    }

    fn end(&self, key: Key) -> Option<&Request> {
        self.requests.get(&key)
    }
}

/// What a call of a process belongs to.
#[derive(Debug)]
pub(super) enum Above<'a> {
    /// This request, known by this.
    Found(&'a Arc<End>, How),
    /// One of several.
    Several,
    /// The process serves nobody.
    Idle,
}
