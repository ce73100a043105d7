//! Reads the rings and feeds what it finds to connections, and their exchanges to the pipeline.
//!
//! Invariant: a turn is bounded, and between two turns other tasks of the process can run.

use std::time::Duration;

use icecore_probe_events::{
    Account, COUNTERS, Connection, FLAG_DATAGRAM, FLAG_TLS, Piece, ProcessEvent, Record, Told,
    VERDICT_COPY, VERDICT_IGNORE, VERDICT_TLS, VERDICT_WATCH,
};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::attach::Walked;
use crate::attach::tls::Hints;
use crate::balance::Balance;
use crate::budget::Budget;
use crate::clock::{WallClock, monotonic};
use crate::connection::{Datagrams, Table, TableConfig, Verdict};
use crate::emit::OwnSockets;
use crate::error::Error;
use crate::load::{Connections, Figures, Verdicts};
use crate::loss::Losses;
use crate::machine::{self, Lives, Reading, ReadingMetrics};
use crate::metrics::{Metrics, log_balance};
use crate::network::Network;
use crate::pipeline::Pipeline;
use crate::profile::Told as Profiled;
use crate::ring::{Rings, Turn};

pub(crate) mod rounds;
pub(crate) mod thread;

use rounds::{Rounds, Step};

/// How often figures are read, clocks compared and idle connections looked for.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);
/// A program that was running when the hooks were taken off is done after this.
const SETTLE: Duration = Duration::from_millis(20);
/// Processes that are told before the rings are read again.
const PROCESSES_AT_A_TIME: usize = 8;
/// Turns in which nothing passed on a connection, after which the rings are looked at less often, and how often then: a
/// wake-up costs as much as some records do. Many bytes of payload wake the agent at once all the same; the rings of ends and
/// of processes, which wake nobody, have room for what a machine makes of those in four times as long. That processes
/// come and go, as they do on every machine, is no reason to look at connections more often.
const QUIET_AFTER: u32 = 40;
const QUIET_POLL_EVERY: Duration = Duration::from_millis(250);
/// Writes an entry of a map only if it is there.
const EXISTING: u64 = 2;

/// The maps that are read and written beside the rings.
pub(crate) struct Maps {
    pub(crate) connections: Connections,
    pub(crate) verdicts: Verdicts,
    pub(crate) figures: Figures,
}

/// What a reader is made of.
pub(crate) struct Parts {
    pub(crate) rings: Rings,
    pub(crate) walks: Rounds<Walked>,
    pub(crate) looks: Rounds<Reading>,
    pub(crate) maps: Maps,
    pub(crate) budget: Budget,
    pub(crate) table: TableConfig,
    pub(crate) pipeline: Pipeline,
    pub(crate) network: Network,
    pub(crate) profiles: mpsc::Receiver<Profiled>,
    pub(crate) readings: ReadingMetrics,
    pub(crate) lives: Lives,
    pub(crate) own: OwnSockets,
    pub(crate) hints: Hints,
    pub(crate) metrics: Metrics,
}

/// Reads until it is stopped.
pub(crate) struct Reader {
    rings: Rings,
    walks: Rounds<Walked>,
    looks: Rounds<Reading>,
    profiles: mpsc::Receiver<Profiled>,
    follower: Follower,
}

/// All but the rings, so that records can be borrowed from those meanwhile.
struct Follower {
    maps: Maps,
    budget: Budget,
    table: Table,
    datagrams: Datagrams,
    clock: WallClock,
    pipeline: Pipeline,
    network: Network,
    readings: ReadingMetrics,
    lives: Lives,
    own: OwnSockets,
    hints: Hints,
    metrics: Metrics,
    balance: Balance,
    /// When the agent was opened, wall clock in nanoseconds.
    began: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("rings", &self.rings).finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { rings, walks, looks, maps, budget, table, pipeline, .. } = parts;
        let Parts { network, profiles, readings, lives, own, hints, metrics, .. } = parts;
        let clock = WallClock::new();
        let follower = Follower {
            began: clock.wall(monotonic()),
            maps,
            budget,
            datagrams: Datagrams::new(&table.limits),
            table: Table::new(table),
            clock,
            pipeline,
            network,
            readings,
            lives,
            own,
            hints,
            metrics,
            balance: Balance::default(),
        };
        Self { rings, walks, looks, profiles, follower }
    }

    /// Reads until `stop`.
    pub(crate) async fn run(
        &mut self,
        poll_every: Duration,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING_EVERY);
        let bell = self.rings.bell()?;
        let mut quiet = 0_u32;
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_quiet = quiet >= QUIET_AFTER;
            let pause = if is_quiet { poll_every.max(QUIET_POLL_EVERY) } else { poll_every };
            let mut any = false;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = housekeeping.tick() => {
                    // Else the figures count what waits in the rings as put there, and by nobody read.
                    any = self.read_all().await;
                    self.follower.keep_house();
                }
                step = self.walks.next() => self.walk(step).await,
                step = self.looks.next() => self.look(step).await,
                Some(told) = self.profiles.recv() => self.follower.take_profiled(told),
                () = tokio::time::sleep(pause) => {}
                rung = bell.rings() => rung?,
            }
            any |= self.read_all().await;
            quiet = if any { 0 } else { quiet.saturating_add(1) };
        }
    }

    /// Whether anything has passed on a connection.
    async fn read_all(&mut self) -> bool {
        let mut any = false;
        loop {
            // What passes from here on is read in a later turn.
            let now = monotonic();
            let Turn { emptied, passed, .. } = self.turn();
            any |= passed > 0;
            self.follower.pipeline.release(emptied.then_some(now));
            if emptied {
                return any;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn walk(&mut self, step: Step<Walked>) {
        match step {
            Step::Due => {
                self.follower.network.walk_begins();
                self.walks.begin();
            }
            Step::Over(Some(walked)) => {
                // What is not there any more has ended, and must have been told before.
                self.read_all().await;
                self.follower.take_walk(&walked);
            }
            // What has ended is known all the same.
            Step::Over(None) => self.follower.send_network(),
        }
    }

    async fn look(&mut self, step: Step<Reading>) {
        match step {
            Step::Due => self.looks.begin(),
            Step::Over(Some(reading)) => self.tell(&reading).await,
            Step::Over(None) => {}
        }
    }

    /// Processes may be many, and new ones are looked up: the rings are read in between.
    async fn tell(&mut self, reading: &Reading) {
        let now = self.follower.clock.wall(monotonic());
        let mut metrics = Vec::new();
        for some in reading.shown.chunks(PROCESSES_AT_A_TIME) {
            let pipeline = &mut self.follower.pipeline;
            metrics.extend(reading.tell_processes(some, now, pipeline));
            self.read_all().await;
        }
        let Follower { pipeline, readings, .. } = &self.follower;
        metrics.extend(reading.tell_machine(now, &pipeline.host()));
        metrics.extend(machine::tell_restarts(now, pipeline));
        readings.show(reading);
        pipeline.emitter().metrics(metrics);
    }

    /// Walks over the sockets once more: what is open will not be seen to end.
    pub(crate) async fn last_walk(&mut self) {
        for begins in [false, true] {
            if begins {
                self.walk(Step::Due).await;
            }
            let walked = self.walks.over().await;
            self.walk(Step::Over(walked)).await;
        }
        self.follower.budget.look_last();
    }

    /// The hooks are off: takes what is left, closes all connections, and hands on the last of it.
    pub(crate) async fn drain(mut self) {
        tokio::time::sleep(SETTLE).await;
        self.read_all().await;
        let Self { mut follower, mut profiles, .. } = self;
        while let Ok(told) = profiles.try_recv() {
            follower.take_profiled(told);
        }
        follower.finish();
    }

    fn turn(&mut self) -> Turn {
        let Self { rings, follower, .. } = self;
        let mut turn = rings.turn(&mut |record| follower.take(record));
        rings.accounts(&mut turn, &mut |account| follower.take_account(&account));
        rings.processes(&mut turn, &mut |event| follower.take_process(&event));
        follower.balance.malformed += turn.malformed;
        turn
    }
}

impl Follower {
    fn take(&mut self, record: Record<'_>) {
        match record {
            Record::Piece(piece, payload) if piece.flags & FLAG_DATAGRAM != 0 => {
                self.take_datagram(&piece, payload);
            }
            Record::Piece(piece, payload) => self.take_piece(&piece, payload),
            Record::End(end) => {
                self.balance.ends += 1;
                let Self { table, clock, pipeline, .. } = self;
                table.end(&end, clock, &mut |info, memo, exchange| {
                    pipeline.exchange_on(info, memo, exchange)
                });
            }
        }
    }

    fn take_datagram(&mut self, piece: &Piece, payload: &[u8]) {
        let Self { datagrams, clock, pipeline, network, balance, .. } = self;
        balance.followed += 1;
        pipeline.process_seen(piece.owner.pid, piece.owner.started);
        pipeline.ties().begin(piece);
        datagrams.feed(piece, payload, clock, &mut |info, memo, exchange| {
            network.learn(info, &exchange);
            pipeline.exchange_on(info, memo, exchange);
        });
        pipeline.ties().begun_early(clock.wall(piece.time));
    }

    fn take_account(&mut self, account: &Account) {
        self.balance.accounts += 1;
        self.network.ended(account, &self.clock, &mut self.pipeline);
    }

    fn take_process(&mut self, event: &ProcessEvent) {
        self.balance.processes += 1;
        self.lives.take(event, &self.clock, &mut self.pipeline);
    }

    fn take_profiled(&mut self, told: Profiled) {
        match told {
            Profiled::Seen(owner) => self.pipeline.process_seen(owner.pid, owner.started),
            Profiled::Export(export) => self.pipeline.profiles(*export),
        }
    }

    fn take_walk(&mut self, walked: &Walked) {
        self.network.walked(walked, &self.clock, &mut self.pipeline);
        self.send_network();
    }

    fn send_network(&mut self) {
        let metrics = self.network.collect(self.clock.wall(monotonic()), &self.pipeline.host());
        if !metrics.is_empty() {
            self.pipeline.emitter().metrics(metrics);
        }
    }

    fn take_piece(&mut self, piece: &Piece, payload: &[u8]) {
        let Self { table, clock, pipeline, own, hints, balance, .. } = self;
        pipeline.ties().begin(piece);
        let mut sink =
            |info: &_, memo: &mut _, exchange| pipeline.exchange_on(info, memo, exchange);
        let news = table.begin(piece, clock, &mut sink);
        if news && let Some(info) = table.info(piece.connection) {
            if own.contains(info.local, info.remote) {
                table.ignore(piece.connection);
                ignore(&mut self.maps, piece);
                balance.ignored += 1;
                return;
            }
            pipeline.process_seen(piece.owner.pid, piece.owner.started);
        }
        if piece.flags & FLAG_TLS != 0 && (news || table.turns_to_tls(piece)) {
            hints.talks_tls(piece.owner.pid);
        }
        let mut sink =
            |info: &_, memo: &mut _, exchange| pipeline.exchange_on(info, memo, exchange);
        let verdict = table.feed(piece, payload, clock, &mut sink);
        let time = clock.wall(piece.time);
        if let Some(newest) = table.newest(piece, time) {
            pipeline.ties().begun(&newest, time);
        }
        match verdict {
            Verdict::Same => balance.followed += 1,
            Verdict::Copy => {
                balance.followed += 1;
                tell(&mut self.maps, piece, VERDICT_COPY);
            }
            Verdict::Watch => {
                balance.followed += 1;
                tell(&mut self.maps, piece, VERDICT_WATCH);
            }
            Verdict::Ignored => balance.ignored += 1,
            Verdict::Ignore => {
                balance.followed += 1;
                ignore(&mut self.maps, piece);
            }
        }
    }

    fn keep_house(&mut self) {
        self.clock.sync();
        if let Some(bytes) = self.pipeline.body_bytes_changed() {
            self.table.keep_of_bodies(bytes);
        }
        let Self { table, datagrams, clock, pipeline, .. } = self;
        let now = monotonic();
        let mut sink =
            |info: &_, memo: &mut _, exchange| pipeline.exchange_on(info, memo, exchange);
        table.expire(now, clock, &mut sink);
        datagrams.expire(clock.wall(now), &mut sink);
        self.show();
        let calls = self.balance.kernel(icecore_probe_events::Counter::Seen);
        if let Some(level) = self.budget.look(now, calls) {
            self.pipeline.shed(level);
        }
        self.pipeline.tell_served();
        let wall = self.clock.wall(now);
        if self.pipeline.tick(wall) {
            self.send_losses(wall);
        }
    }

    fn send_losses(&self, now: u64) {
        let mut losses = Losses::default();
        self.metrics.losses(&mut losses);
        self.pipeline.losses(&mut losses);
        self.budget.losses(&mut losses);
        if let Some(rows) = losses.export(self.pipeline.host(), self.began, now) {
            self.pipeline.emitter().metrics(vec![rows]);
        }
    }

    fn show(&mut self) {
        self.balance.kernel = sums(&self.maps.figures).unwrap_or(self.balance.kernel);
        let (mut figures, mut counts) = self.table.take_figures();
        let (datagrams, of_datagrams) = self.datagrams.take_counts();
        figures.pieces_followed += datagrams;
        counts.add(of_datagrams);
        self.pipeline.counts(counts);
        self.metrics.show(&self.balance, figures, self.table.len());
    }

    fn finish(mut self) {
        let Self { table, datagrams, clock, pipeline, .. } = &mut self;
        let mut sink =
            |info: &_, memo: &mut _, exchange| pipeline.exchange_on(info, memo, exchange);
        table.close_all(clock, &mut sink);
        datagrams.close(clock.wall(monotonic()), &mut sink);
        self.show();
        log_balance(&self.balance);
        self.send_network();
        let now = self.clock.wall(monotonic());
        self.pipeline.release(Some(u64::MAX));
        self.send_losses(now);
        self.pipeline.finish(now);
    }
}

/// Tells the kernel programs what to do with a connection of which they were not sure.
fn tell(maps: &mut Maps, piece: &Piece, verdict: u32) {
    let told = Told { generation: piece.generation, verdict, reserved: 0 };
    if let Err(error) = maps.verdicts.insert(piece.connection, told.to_bytes(), 0) {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(error, "a connection's protocol could not be told to the kernel");
    }
}

/// Tells the kernel programs that nothing can be learnt of a connection. They may have forgotten it
/// or count it anew meanwhile, and then nothing is written.
fn ignore(maps: &mut Maps, piece: &Piece) {
    let Ok(bytes) = maps.connections.get(&piece.connection, 0) else { return };
    let connection = Connection::from_bytes(bytes);
    // What is inside TLS is another matter, which the kernel programs may have found out meanwhile.
    if connection.generation != piece.generation || connection.verdict == VERDICT_TLS {
        return;
    }
    let ignored = Connection { verdict: VERDICT_IGNORE, ..connection };
    if let Err(error) = maps.connections.insert(piece.connection, ignored.to_bytes(), EXISTING) {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(error, "a connection to be ignored has ended already");
    }
}

/// The kernel's figures over all CPUs.
fn sums(figures: &Figures) -> Option<[u64; COUNTERS]> {
    let mut sums = [0; COUNTERS];
    for cpu in figures.get(&0, 0).ok()?.iter() {
        sums.iter_mut().zip(cpu).for_each(|(sum, figure)| *sum += figure);
    }
    Some(sums)
}
