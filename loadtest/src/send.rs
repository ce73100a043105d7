//! Sends a load: requests are made and packed ahead on a thread, a bounded number is on its way,
//! and each acknowledgement is recorded.
//!
//! Invariant: a request is counted once: acknowledged, refused, uncertain, or given up.

mod client;
mod pace;
mod packed;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::acked::AckedFile;
use crate::cli::SendArgs;
use crate::error::Error;
use crate::generate::{Plan, requests};
use client::{Client, Outcome};
use pace::Pace;
pub(crate) use packed::Packed;
pub(crate) use summary::Summary;
use summary::{Fate, Settled};

/// The first wait before another attempt, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What all requests of a load share.
#[derive(Debug)]
struct Sender {
    client: Client,
    acked: Option<AckedFile>,
    give_up_after: Duration,
    retry_uncertain: bool,
}

/// Sends the whole load, or what goes out until an interrupt.
pub(crate) async fn run(arguments: SendArgs) -> Result<Summary, Error> {
    let plan = arguments.load.plan_at(arguments.rate);
    let mut queue = make_ahead(&plan, &arguments);
    let packed = if arguments.preload { collect(&mut queue).await } else { Vec::new() };
    deliver_all(&arguments, &plan, Ready { packed: packed.into_iter(), queue: Some(queue) }).await
}

/// Sends requests that were packed before, as `arguments` say.
pub(crate) async fn run_packed(
    arguments: &SendArgs,
    packed: Vec<Packed>,
) -> Result<Summary, Error> {
    let plan = arguments.load.plan_at(arguments.rate);
    deliver_all(arguments, &plan, Ready { packed: packed.into_iter(), queue: None }).await
}

/// Sends requests that somebody else packs, as `arguments` say.
pub(crate) async fn run_queue(
    arguments: &SendArgs,
    queue: mpsc::Receiver<Packed>,
) -> Result<Summary, Error> {
    let plan = arguments.load.plan_at(arguments.rate);
    deliver_all(arguments, &plan, Ready { packed: Vec::new().into_iter(), queue: Some(queue) })
        .await
}

/// What is to be sent: first what is packed, then what is still being packed.
#[derive(Debug)]
struct Ready {
    packed: std::vec::IntoIter<Packed>,
    queue: Option<mpsc::Receiver<Packed>>,
}

impl Ready {
    async fn next(&mut self) -> Option<Packed> {
        match self.packed.next() {
            Some(packed) => Some(packed),
            None => self.queue.as_mut()?.recv().await,
        }
    }
}

async fn deliver_all(
    arguments: &SendArgs,
    plan: &Plan,
    mut ready: Ready,
) -> Result<Summary, Error> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let acked =
        arguments.acked.as_ref().map(|path| AckedFile::create(path, plan.signal, &plan.run));
    let sender = Arc::new(Sender {
        client: Client::new(arguments)?,
        acked: acked.transpose()?,
        give_up_after: arguments.give_up_after,
        retry_uncertain: arguments.retry_uncertain,
    });
    let mut pace = Pace::new(arguments.rate, Instant::now());
    let mut tasks = JoinSet::new();
    let mut summary = Summary::new(plan);
    let started = Instant::now();
    loop {
        while tasks.len() >= arguments.in_flight.max(1) {
            settle(&mut tasks, &mut summary).await?;
        }
        let Some(packed) = ready.next().await else { break };
        tokio::select! {
            () = pace.wait(packed.items) => {}
            _ = tokio::signal::ctrl_c() => break,
        }
        tasks.spawn(Arc::clone(&sender).deliver(packed));
    }
    while !tasks.is_empty() {
        settle(&mut tasks, &mut summary).await?;
    }
    summary.finish(started.elapsed());
    Ok(summary)
}

/// Makes and packs requests on a thread of their own, as far ahead as is allowed.
fn make_ahead(plan: &Plan, arguments: &SendArgs) -> mpsc::Receiver<Packed> {
    let (queue, taken) = mpsc::channel(arguments.ahead.max(1));
    let (plan, protocol, compression) = (plan.clone(), arguments.protocol, arguments.compression);
    tokio::task::spawn_blocking(move || {
        for request in requests(&plan) {
            let packed = Packed::new(request, protocol, compression);
            if queue.blocking_send(packed).is_err() {
                return;
            }
        }
    });
    taken
}

async fn collect(queue: &mut mpsc::Receiver<Packed>) -> Vec<Packed> {
    let mut all = Vec::new();
    while let Some(packed) = queue.recv().await {
        all.push(packed);
    }
    all
}

async fn settle(
    tasks: &mut JoinSet<Result<Settled, Error>>,
    summary: &mut Summary,
) -> Result<(), Error> {
    if let Some(ended) = tasks.join_next().await {
        summary.add(ended.map_err(Error::Task)??);
    }
    Ok(())
}

impl Sender {
    /// Sends one request until its fate is known.
    async fn deliver(self: Arc<Self>, packed: Packed) -> Result<Settled, Error> {
        let first = Instant::now();
        let (mut wait, wait_max) = WAITS;
        let mut retries = 0;
        loop {
            let sent = Instant::now();
            let outcome = self.client.send(&packed).await;
            let fate = match outcome {
                Outcome::Acked { rejected } => {
                    self.record(&packed, rejected)?;
                    Some(Fate::Acked { rejected })
                }
                Outcome::Refused(message) => Some(Fate::Refused(message)),
                Outcome::Uncertain(message) if !self.retry_uncertain => {
                    Some(Fate::Uncertain(message))
                }
                Outcome::Uncertain(message) | Outcome::Retry { message, .. }
                    if first.elapsed() >= self.give_up_after =>
                {
                    Some(Fate::GivenUp(message))
                }
                Outcome::Uncertain(_) => None,
                Outcome::Retry { after, .. } => {
                    wait = wait.max(after.unwrap_or_default().min(self.give_up_after));
                    None
                }
            };
            if let Some(fate) = fate {
                let items = packed.items;
                return Ok(Settled { items, fate, retries, took: sent.elapsed() });
            }
            retries += 1;
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(wait_max);
        }
    }

    /// A partly rejected request has no fate of its own for each item: none is recorded.
    fn record(&self, packed: &Packed, rejected: u64) -> Result<(), Error> {
        match &self.acked {
            Some(acked) if rejected == 0 => acked.add(&packed.ids),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
