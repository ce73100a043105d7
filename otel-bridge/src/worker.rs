//! One destination's task: reads the log, keeps a bounded window of requests on their way, and
//! moves the cursor over the settled ones in order.
//!
//! Invariant: the cursor never passes a request that is not settled, since the window gives its
//! ends in the order of the log.

use std::collections::VecDeque;
use std::future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use icecore_store::{Clock, Feed, FeedItem, LogPosition, PortError};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::cursor::{Cursor, CursorFile};
use crate::dead_letter::DeadLetters;
use crate::delivery::{Delivery, Settled};
use crate::lag::Lag;
use crate::metrics::DestinationMetrics;
use crate::retry::Backoff;
use crate::send::Client;
use crate::{Config, Destination, Error};

type Read = Result<Vec<FeedItem>, PortError>;

/// What a worker is made of, besides its destination.
pub(crate) struct Parts {
    pub(crate) feed: Arc<dyn Feed>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: DestinationMetrics,
    pub(crate) cursor_file: CursorFile,
    pub(crate) cursor: Cursor,
    pub(crate) seed: u64,
    pub(crate) config: Arc<Config>,
}

#[derive(Debug)]
pub(crate) struct Worker {
    delivery: Arc<Delivery>,
    config: Arc<Config>,
    feed: Arc<dyn Feed>,
    clock: Arc<dyn Clock>,
    metrics: DestinationMetrics,
    cursor_file: CursorFile,
    cursor: Cursor,
    /// The cursor as it is on disk.
    saved: LogPosition,
    /// Where the next read begins: at the cursor, or beyond what is queued and on its way.
    read_from: LogPosition,
    read_failures: u32,
    queue: VecDeque<FeedItem>,
    in_flight_bytes: usize,
    lag: Lag,
}

/// Requests on their way, in log order. A head that waits holds back those behind it: the window
/// is as long as the number of requests, settled or not, that the cursor has not passed.
type Window = FuturesOrdered<BoxFuture<'static, Option<Settled>>>;

impl Worker {
    pub(crate) fn new(parts: Parts, destination: &Destination) -> Result<Self, Error> {
        let Parts { feed, clock, metrics, cursor_file, cursor, seed, config } = parts;
        let name = destination.name.clone();
        let bytes_max = config.dead_letter_bytes_max;
        let delivery = Arc::new(Delivery {
            protocol: destination.protocol,
            compression: destination.compression,
            client: Client::new(destination, &clock)?,
            backoff: Backoff::new(config.retry.clone(), seed),
            dead_letters: DeadLetters::new(&config.cursor_dir, &name, bytes_max),
            metrics: metrics.clone(),
            clock: Arc::clone(&clock),
            away: AtomicBool::new(false),
            without_profiles: AtomicBool::new(false),
            name,
        });
        Ok(Self {
            delivery,
            config,
            feed,
            clock,
            metrics,
            cursor_file,
            cursor,
            saved: cursor.position,
            read_from: cursor.position,
            read_failures: 0,
            queue: VecDeque::new(),
            in_flight_bytes: 0,
            lag: Lag::default(),
        })
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut end = self.feed.end();
        let mut writing = true;
        let mut window = Window::new();
        let mut reading: Option<BoxFuture<'static, Read>> = None;
        let mut tick = interval(self.config.cursor_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.fill(&mut window, &stop);
            let end_now = *end.borrow_and_update();
            if reading.is_none() && self.queue.is_empty() && self.read_from < end_now {
                reading = Some(self.read());
            }
            // In this order: an unsettled end, which only a stop makes, must not be passed.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = tick.tick() => self.keep_account(end_now).await,
                Some(settled) = window.next() => self.settle(settled),
                read = ready(&mut reading) => self.receive(read, &mut window),
                changed = end.changed(), if writing => writing = changed.is_ok(),
            }
        }
        self.drain(window).await;
    }

    /// Moves queued requests into the window while it has room.
    fn fill(&mut self, window: &mut Window, stop: &CancellationToken) {
        while window.len() < self.config.in_flight_max {
            let Some(item) = self.queue.front() else { return };
            let bytes = self.in_flight_bytes.saturating_add(item.payload.len());
            if bytes > self.config.in_flight_bytes_max && !window.is_empty() {
                return;
            }
            let Some(item) = self.queue.pop_front() else { return };
            self.in_flight_bytes = bytes;
            window.push_back(Arc::clone(&self.delivery).deliver(item, stop.clone()).boxed());
        }
    }

    /// Moves the cursor. An unsettled end comes only after a stop, which ends the loop first.
    fn settle(&mut self, settled: Option<Settled>) {
        let Some(Settled { next, bytes }) = settled else { return };
        debug_assert!(next >= self.cursor.position, "the window keeps log order");
        self.cursor.position = next;
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(bytes);
    }

    /// The next read, after a wait where the last ones failed.
    fn read(&self) -> BoxFuture<'static, Read> {
        let feed = Arc::clone(&self.feed);
        let (from, bytes_max) = (self.read_from, self.config.read_bytes_max);
        let wait = match self.read_failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(attempt) => self.delivery.backoff.wait(attempt, None),
        };
        async move {
            tokio::time::sleep(wait).await;
            feed.read(from, bytes_max).await
        }
        .boxed()
    }

    fn receive(&mut self, read: Read, window: &mut Window) {
        match read {
            Ok(items) if !items.is_empty() => {
                self.read_failures = 0;
                self.read_from = items.last().map_or(self.read_from, |item| item.next);
                self.queue = items.into();
            }
            // The end was announced and nothing is there: not an error, but not to be hammered.
            Ok(_) => self.read_failures = self.read_failures.saturating_add(1),
            Err(PortError::Trimmed { oldest, .. }) if oldest > self.read_from => {
                self.pass_over(oldest, window);
            }
            Err(error) => {
                self.read_failures = self.read_failures.saturating_add(1);
                self.metrics.failed();
                warn!(destination = %self.delivery.name, %error, "cannot read the log");
            }
        }
    }

    /// Goes on behind what the log has lost. The gap takes its place in the window, so that the
    /// cursor passes it only after what came before.
    fn pass_over(&mut self, oldest: LogPosition, window: &mut Window) {
        let lost_bytes = oldest.0.saturating_sub(self.read_from.0);
        self.metrics.lost(lost_bytes);
        error!(
            destination = %self.delivery.name,
            from = self.read_from.0,
            to = oldest.0,
            lost_bytes,
            "the log was trimmed before it was sent"
        );
        self.read_from = oldest;
        window.push_back(future::ready(Some(Settled { next: oldest, bytes: 0 })).boxed());
    }

    /// Publishes the lag and saves a moved cursor.
    async fn keep_account(&mut self, end: LogPosition) {
        let (now, cursor) = (self.clock.elapsed(), self.cursor.position);
        self.lag.mark(end, now);
        let behind = self.lag.behind(cursor, now);
        self.metrics.lag(end.0.saturating_sub(cursor.0), behind.as_secs_f64());
        if cursor != self.saved {
            self.save().await;
        }
    }

    /// A cursor that cannot be saved stays where it was on disk; a restart sends again from there.
    async fn save(&mut self) {
        let (file, cursor) = (self.cursor_file.clone(), self.cursor);
        match spawn_blocking(move || file.save(cursor)).await {
            Ok(Ok(())) => {
                self.saved = cursor.position;
                self.feed.retain(&self.delivery.name, cursor.position);
            }
            Ok(Err(error)) => {
                self.metrics.failed();
                warn!(destination = %self.delivery.name, %error, "cannot save the cursor");
            }
            Err(error) => error!(destination = %self.delivery.name, %error, "saving died"),
        }
    }

    /// Lets requests that are being sent finish; those that wait for another attempt end at once.
    async fn drain(mut self, mut window: Window) {
        let drain_wait = self.config.drain_wait;
        let finish = async {
            while let Some(Some(settled)) = window.next().await {
                self.settle(Some(settled));
            }
        };
        if timeout(drain_wait, finish).await.is_err() {
            warn!(destination = %self.delivery.name, "stopped before every answer came");
        }
        self.save().await;
    }
}

/// The end of a read, where one is under way; never, otherwise. The read survives being waited
/// for in vain.
async fn ready(reading: &mut Option<BoxFuture<'static, Read>>) -> Read {
    let Some(read) = reading else { return future::pending().await };
    let result = read.await;
    *reading = None;
    result
}
