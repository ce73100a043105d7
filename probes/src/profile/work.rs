//! The profiler's own thread: it takes samples from the ring, follows their stacks, folds them once it is known
//! which requests they are of, and hands on what an interval has brought.
//!
//! Invariants: nothing here waits for anybody but the kernel; beyond its share of a CPU a sample counts for
//! its process without its stack, and nothing new is read for it.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aya::maps::{MapData, PerCpuArray};
use icecore_probe_events::{SAMPLE_COUNTERS, Sampled};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::export::{self, Interval};
use super::files::Files;
use super::fold::{Fold, Moment, Owner, Stacks};
use super::frames::{Kind, Line, Origin, Place, Places};
use super::held::{Held, Waiting};
use super::kernel::Known;
use super::links::{Doing, Links};
use super::metrics::{Fate, Linking, ProfileMetrics};
use super::process::{Processes, Space};
use super::unwind::{Registers, Stack, unwind};
use super::{Prepared, ProfileConfig, Told};
use crate::budget::Meter;
use crate::clock::{WallClock, monotonic};
use crate::ring::Ring;

/// How long samples wait at most, and where none came for so many turns.
const TURN_MILLIS: i32 = 100;
const QUIET_TURN_MILLIS: i32 = 250;
const QUIET_AFTER: u32 = 10;
/// Samples that are taken before the clock is looked at again.
const TURN_SAMPLES_MAX: usize = 64;
/// Processes without a sample are forgotten after so many intervals.
const FORGET_AFTER: u64 = 6;

/// The profiler's maps.
pub(crate) struct ProfileMaps {
    pub(crate) samples: Ring,
    pub(crate) figures: PerCpuArray<MapData, [u64; SAMPLE_COUNTERS]>,
}

/// The profiler, hooked into the kernel and not yet reading.
pub(crate) struct Profiler {
    maps: ProfileMaps,
    work: Work,
    told: mpsc::Sender<Told>,
    every: u64,
    meter: Meter,
    /// The receiver has no use for profiles, for now.
    unwanted: Arc<AtomicBool>,
    /// Turns without a sample.
    quiet: u32,
}

/// All but the ring, so that samples can be borrowed from that meanwhile.
struct Work {
    config: ProfileConfig,
    proc_dir: PathBuf,
    processes: Processes,
    files: Files,
    places: Places,
    kernel: Known,
    held: Held,
    links: Links,
    /// When the interval began, of which samples are folded. Monotonic clock.
    began: u64,
    fold: Fold,
    budget: Budget,
    request_bytes_max: usize,
    metrics: ProfileMetrics,
    /// Used again for each sample.
    addresses: Vec<u64>,
    stack: Vec<u32>,
}

impl std::fmt::Debug for Profiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profiler").field("config", &self.work.config).finish_non_exhaustive()
    }
}

impl Profiler {
    pub(crate) fn new(prepared: Prepared, maps: ProfileMaps) -> Self {
        let Prepared { config, proc_dir, metrics, meter, told, links, .. } = prepared;
        let Prepared { unwanted, request_bytes_max, .. } = prepared;
        let every = crate::nanos(config.every);
        let work = Work {
            processes: Processes::new(
                proc_dir.clone(),
                config.processes_max,
                config.tables_bytes_max,
            ),
            proc_dir,
            files: Files::new(config.tables_bytes_max, config.files_max),
            places: Places::new(config.stacks_max.saturating_mul(4)),
            kernel: Known::default(),
            held: Held::new(config.held_max),
            links,
            began: monotonic(),
            fold: Fold::new(config.stacks_max),
            budget: Budget::new(config.cpu_percent_max),
            request_bytes_max,
            metrics,
            addresses: Vec::new(),
            stack: Vec::new(),
            config,
        };
        Self { maps, work, told, every, meter, unwanted, quiet: 0 }
    }

    /// Works until `stop`, and hands on the last of it. Not for a thread of the runtime.
    pub(crate) fn run(mut self, stop: &CancellationToken) {
        let mut clock = WallClock::new();
        self.work.began = monotonic();
        let meter = self.meter.clone();
        loop {
            let stopping = stop.is_cancelled();
            let emptied = meter.work(|| self.round(&mut clock, stopping));
            if stopping && emptied {
                return;
            }
            if emptied {
                self.wait();
            }
        }
    }

    /// One turn, and the end of the interval where that has come; true where the ring is empty.
    fn round(&mut self, clock: &mut WallClock, stopping: bool) -> bool {
        self.work.settle(monotonic());
        let emptied = self.turn();
        let now = monotonic();
        let last = stopping && emptied;
        // Younger samples may still wait.
        let end = if last { now } else { now.saturating_sub(self.work.links.lag()) };
        if last || end.saturating_sub(self.work.began) >= self.every {
            clock.sync();
            self.finish_interval(clock, end, last);
        }
        emptied
    }

    /// Until the ring fills, or for a while.
    fn wait(&self) {
        let fd = self.maps.samples.as_fd().as_raw_fd();
        let mut waited = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let millis = if self.quiet >= QUIET_AFTER { QUIET_TURN_MILLIS } else { TURN_MILLIS };
        // SAFETY: `waited` is one such structure; a wait that is interrupted is a short one.
        unsafe { libc::poll(&raw mut waited, 1, millis) };
    }

    /// Takes some of what is in the ring; true where there is no more.
    fn turn(&mut self) -> bool {
        let Self { maps, work, told, unwanted, quiet, .. } = self;
        let unwanted = unwanted.load(Ordering::Relaxed);
        *quiet = quiet.saturating_add(1);
        // What comes faster than it is followed must not keep an interval from its end.
        for _ in 0..TURN_SAMPLES_MAX {
            let Some(bytes) = maps.samples.next() else { return true };
            *quiet = 0;
            match Sampled::read(&bytes) {
                Some(_) if unwanted => work.metrics.sample(Fate::Unwanted),
                Some(sampled) => work.take(&sampled, told),
                None => work.metrics.sample(Fate::Malformed),
            }
        }
        false
    }

    fn finish_interval(&mut self, clock: &WallClock, mut end: u64, last: bool) {
        let Self { maps, work, told, every, .. } = self;
        if let Some(figures) = sums(&maps.figures) {
            work.metrics.kernel(figures);
        }
        let now = monotonic();
        // Samples that wait go by numbers of places, and those begin anew.
        let empties = work.places.are_crowded();
        if last || empties {
            work.settle(u64::MAX);
            end = now;
        } else {
            work.settle(now);
        }
        let interval = Interval { start: work.began, end, clock: *clock, hertz: work.config.hertz };
        work.began = end;
        for export in work.collect(interval) {
            if told.try_send(Told::Export(Box::new(export))).is_err() {
                work.metrics.export_dropped();
            }
        }
        work.kernel.look_again(&work.proc_dir, now);
        work.files.next_round();
        let before = now.saturating_sub(every.saturating_mul(FORGET_AFTER));
        work.processes.forget(before);
        if empties {
            work.places.empty();
        }
        let (held, (read, cut)) = (work.files.held(), work.files.take_counts());
        let read = (read, cut + work.processes.take_refused());
        work.metrics.held(held, read, work.processes.len(), work.held.len());
    }
}

impl Work {
    fn take(&mut self, sampled: &Sampled<'_>, told: &mpsc::Sender<Told>) {
        let sample = &sampled.sample;
        let (owner, time) = (Owner { pid: sample.pid, started: sample.started }, sample.time);
        self.stack.clear();
        let fate = if self.budget.is_spent_now() {
            self.stack.push(self.places.number(shed()));
            Fate::Shed
        } else {
            self.kernel_stack(sampled);
            if sample.ip == 0 { Fate::Kernel } else { self.own_stack(sampled, &owner, told) }
        };
        self.metrics.sample(fate);
        let (comm, thread, stack) = (sample.comm, sample.thread, Box::from(self.stack.as_slice()));
        let due = time.saturating_add(self.links.lag());
        self.held.push(due, Waiting { owner, comm, thread, time, stack });
    }

    /// Folds the samples of which is known by now which requests they are of, or that can wait no longer.
    fn settle(&mut self, now: u64) {
        while let Some((sample, crowded)) = self.held.pop(now) {
            let doing = self.links.at(&sample.owner, sample.thread, sample.time);
            let age = now.saturating_sub(sample.time);
            match doing {
                Doing::Undecided if !crowded && age < self.links.wait() => {
                    self.held.push(now.saturating_add(self.links.lag()), sample);
                }
                Doing::Served(_) => self.fold(&sample, doing, Linking::Linked),
                Doing::Undecided | Doing::Nothing if crowded => {
                    self.fold(&sample, doing, Linking::Crowded);
                }
                Doing::Undecided => self.fold(&sample, doing, Linking::Unfinished),
                Doing::Nothing => self.fold(&sample, doing, Linking::Unknown),
            }
        }
    }

    fn fold(&mut self, sample: &Waiting, doing: Doing, linking: Linking) {
        let Waiting { owner, time, stack, .. } = sample;
        let link = if let Doing::Served(link) = doing { Some(link) } else { None };
        // What comes late is not of the interval that is sent next.
        let late = self.links.lag() > 0 && *time < self.began;
        let moment = Moment { time: *time, link };
        let told = (late || link.is_some())
            && self.fold.add_moment(owner, || sample.comm(), stack, moment);
        if !told {
            self.fold.add(owner, || sample.comm(), stack);
        }
        let lost = link.is_some() && !told;
        self.metrics.linking(if lost { Linking::Overflowed } else { linking });
    }

    fn kernel_stack(&mut self, sampled: &Sampled<'_>) {
        for address in sampled.kernel() {
            let place = self.kernel.place(address, &self.proc_dir);
            let number = self.places.number(place);
            self.stack.push(number);
        }
    }

    fn own_stack(
        &mut self,
        sampled: &Sampled<'_>,
        owner: &Owner,
        told: &mpsc::Sender<Told>,
    ) -> Fate {
        let Sampled { sample, stack, .. } = *sampled;
        let (process, new) = self.processes.of(&sample);
        if new {
            // Looked up while it lives. One that is missed is looked up at the end of the interval.
            drop(told.try_send(Told::Seen(owner.clone())));
        }
        let registers = Registers { ip: sample.ip, sp: sample.sp, fp: sample.fp, lr: sample.lr };
        let cut = stack.len() >= self.config.stack_bytes_max as usize;
        let stack = Stack { start: sample.sp, bytes: stack, cut };
        self.addresses.clear();
        let mut space = Space::new(process, &mut self.files, &mut self.budget);
        let ending = unwind(&mut space, registers, stack, &mut self.addresses);
        if space.put_off {
            self.stack.clear();
            self.stack.push(self.places.number(shed()));
            return Fate::Shed;
        }
        for address in &self.addresses {
            let place = space.place(*address, &mut self.places);
            self.stack.push(place);
        }
        ending.into()
    }

    fn collect(&mut self, interval: Interval) -> Vec<export::Export> {
        let (processes, overflowed) = self.fold.take();
        let stacks = |one: &Stacks| (one.counts.len() + one.moments.len()) as u64;
        let stacks = processes.values().map(stacks).sum();
        self.metrics.interval(stacks, overflowed, self.budget.take_micros());
        export::exports(processes, &self.places, interval, self.request_bytes_max)
    }
}

/// The place of what was not looked at.
fn shed() -> Place {
    let line = Line { function: "[not unwound]".into(), ..Line::default() };
    let origin = Origin::default().into();
    Place { kind: Kind::Native, origin, address: 0, lines: vec![line] }
}

/// The kernel's figures over all CPUs.
fn sums(figures: &PerCpuArray<MapData, [u64; SAMPLE_COUNTERS]>) -> Option<[u64; SAMPLE_COUNTERS]> {
    let mut sums = [0; SAMPLE_COUNTERS];
    for cpu in figures.get(&0, 0).ok()?.iter() {
        sums.iter_mut().zip(cpu).for_each(|(sum, figure)| *sum += figure);
    }
    Some(sums)
}
