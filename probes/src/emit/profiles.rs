//! Sends profiles, beside all else, so that a receiver that has no use for them holds nothing up.
//!
//! Invariant: what waits is bounded in requests and bytes; a receiver that does not know profiles is asked
//! again after a while, and costs a figure meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::export::Export;
use super::line::Line;
use super::metrics::Outcome;

/// A receiver that does not know profiles is asked again after this: it may have been replaced.
const ASK_AGAIN_AFTER: Duration = Duration::from_mins(10);

/// A request that waits, and how many profiles are in it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) export: Export,
    pub(super) profiles: u64,
}

/// The same profiles in requests of no more than so many bytes, each with the whole dictionary; one that is
/// too long with a single profile leaves as it is.
pub(super) fn parts(
    request: ExportProfilesServiceRequest,
    bytes_max: usize,
) -> Vec<ExportProfilesServiceRequest> {
    if request.encoded_len() <= bytes_max || request.resource_profiles.len() < 2 {
        return vec![request];
    }
    let ExportProfilesServiceRequest { mut resource_profiles, dictionary } = request;
    let rest = resource_profiles.split_off(resource_profiles.len() / 2);
    let of = |resource_profiles| ExportProfilesServiceRequest {
        resource_profiles,
        dictionary: dictionary.clone(),
    };
    let [mut first, second] = [resource_profiles, rest].map(|some| parts(of(some), bytes_max));
    first.extend(second);
    first
}

/// The task that sends profiles, not yet running.
#[derive(Debug)]
pub(super) struct ProfileTask {
    line: Line,
    queue: mpsc::Receiver<Waiting>,
    held_bytes: Arc<AtomicUsize>,
    /// The receiver does not know profiles: when it is asked again.
    ask_again: Option<Instant>,
    /// The same for those who make profiles.
    unwanted: Arc<AtomicBool>,
}

impl ProfileTask {
    pub(super) fn new(
        line: Line,
        queue: mpsc::Receiver<Waiting>,
        held_bytes: Arc<AtomicUsize>,
        unwanted: Arc<AtomicBool>,
    ) -> Self {
        Self { line, queue, held_bytes, ask_again: None, unwanted }
    }

    /// Sends until `stop`, and then what is held, within the time for that.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let again = self.ask_again;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = until(again) => self.set_unwanted(None),
                waiting = self.queue.recv() => match waiting {
                    Some(waiting) => self.deliver(waiting, &stop, None).await,
                    None => return,
                },
            }
        }
        let deadline = self.line.drained_by();
        self.queue.close();
        while let Some(waiting) = self.queue.recv().await {
            self.deliver(waiting, &stop, Some(deadline)).await;
        }
    }

    async fn deliver(
        &mut self,
        waiting: Waiting,
        stop: &CancellationToken,
        deadline: Option<Instant>,
    ) {
        let Waiting { export, profiles } = waiting;
        let (outcome, rejected) = match self.ask_again {
            Some(_) => (Outcome::Unimplemented, 0),
            None => self.line.send(&export, stop, deadline).await,
        };
        if outcome == Outcome::Unimplemented && self.ask_again.is_none() {
            self.set_unwanted(Some(Instant::now() + ASK_AGAIN_AFTER));
            // It may have refused the compression, which another one will not.
            self.line.compress = self.line.config.compress;
        }
        let rejected = rejected.min(profiles);
        self.line.metrics.profiles(outcome, profiles - rejected);
        self.line.metrics.profiles(Outcome::Refused, rejected);
        self.held_bytes.fetch_sub(export.bytes(), Ordering::Relaxed);
    }

    fn set_unwanted(&mut self, ask_again: Option<Instant>) {
        self.ask_again = ask_again;
        self.unwanted.store(ask_again.is_some(), Ordering::Relaxed);
    }
}

/// Until then; for ever where there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::profiles::v1development::{
        ProfilesDictionary, ResourceProfiles,
    };

    /// Scenario: profiles of many processes that say much of themselves, one of them more than a request
    /// may have.
    /// Guarantees: all leave in order, each request with the dictionary and within the bound but for that one.
    #[test]
    fn long_requests_leave_in_parts() {
        let of = |at: usize| ResourceProfiles {
            schema_url: format!("{at}:").repeat(if at == 11 { 900 } else { 20 }),
            ..ResourceProfiles::default()
        };
        let dictionary = ProfilesDictionary {
            string_table: vec![String::new(), "main".to_owned()],
            ..ProfilesDictionary::default()
        };
        let whole = ExportProfilesServiceRequest {
            resource_profiles: (0..30).map(of).collect(),
            dictionary: Some(dictionary.clone()),
        };
        let parts = parts(whole.clone(), 400);
        for part in &parts {
            assert!(part.encoded_len() <= 400 || part.resource_profiles.len() == 1);
            assert_eq!(part.dictionary.as_ref(), Some(&dictionary));
        }
        let sent: Vec<_> = parts.into_iter().flat_map(|part| part.resource_profiles).collect();
        assert_eq!(sent, whole.resource_profiles);
    }
}
