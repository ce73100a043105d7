//! The rings by which the kernel programs speak.
//!
//! Invariants: one turn takes a bounded number of records; an end that came by the small ring is
//! handed on only after the large one was found empty, since its connection's last bytes may still
//! have waited there.

use std::os::fd::{AsFd as _, OwnedFd};

use icecore_probe_events::{Account, End, ProcessEvent, Record};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::Error;
pub(crate) use mapped::Ring;

mod mapped;

/// All rings.
pub(crate) struct Rings {
    data: Ring,
    control: Ring,
    events: Ring,
    processes: Ring,
    ends: Vec<End>,
    turn_records_max: usize,
}

/// What a turn has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Records of what passed on connections, and of their ends.
    pub(crate) passed: u64,
    /// Records that were not as the kernel programs write them.
    pub(crate) malformed: u64,
    /// There was nothing more to take.
    pub(crate) emptied: bool,
}

impl std::fmt::Debug for Rings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rings").field("ends", &self.ends.len()).finish_non_exhaustive()
    }
}

/// Rings when the kernel programs wake the agent: many bytes wait.
#[derive(Debug)]
pub(crate) struct Bell(AsyncFd<OwnedFd>);

impl Bell {
    /// Returns when it has rung.
    pub(crate) async fn rings(&self) -> Result<(), Error> {
        let mut ready = self.0.readable().await.map_err(Error::Ring)?;
        ready.clear_ready();
        Ok(())
    }
}

impl Rings {
    pub(crate) fn new(
        data: Ring,
        control: Ring,
        events: Ring,
        processes: Ring,
        turn_records_max: usize,
    ) -> Self {
        Self { data, control, events, processes, ends: Vec::new(), turn_records_max }
    }

    /// For the runtime that this is called on.
    pub(crate) fn bell(&self) -> Result<Bell, Error> {
        // A descriptor of its own: the runtime's may be closed after that of the ring.
        let ring = self.data.as_fd().try_clone_to_owned().map_err(Error::Ring)?;
        // SAFETY: a descriptor that is owned stays open, and the same, for as long as it lives.
        let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        registered.map(Bell).map_err(|error| Error::Ring(error.into()))
    }

    /// Hands on what waits, up to the bound of a turn.
    pub(crate) fn turn(&mut self, each: &mut dyn FnMut(Record<'_>)) -> Turn {
        let mut turn = Turn::default();
        self.take_ends(&mut turn);
        for _ in 0..self.turn_records_max {
            let Some(bytes) = self.data.next() else {
                turn.emptied = true;
                break;
            };
            turn.passed += 1;
            match Record::read(&bytes) {
                Some(record) => each(record),
                None => turn.malformed += 1,
            }
        }
        if turn.emptied {
            self.ends.drain(..).for_each(|end| each(Record::End(end)));
        }
        turn
    }

    /// Hands on accounts of connections that have ended, behind what has passed on them.
    pub(crate) fn accounts(&mut self, turn: &mut Turn, each: &mut dyn FnMut(Account)) {
        for _ in 0..self.turn_records_max {
            let Some(bytes) = self.events.next() else { return };
            match Account::read(&bytes) {
                Some(account) => each(account),
                None => turn.malformed += 1,
            }
        }
        turn.emptied = false;
    }

    /// Hands on starts and ends of processes.
    pub(crate) fn processes(&mut self, turn: &mut Turn, each: &mut dyn FnMut(ProcessEvent)) {
        for _ in 0..self.turn_records_max {
            let Some(bytes) = self.processes.next() else { return };
            match ProcessEvent::read(&bytes) {
                Some(event) => each(event),
                None => turn.malformed += 1,
            }
        }
        turn.emptied = false;
    }

    /// What waits in the small ring is at most its size; what is held is bounded by a turn.
    fn take_ends(&mut self, turn: &mut Turn) {
        while self.ends.len() < self.turn_records_max {
            let Some(bytes) = self.control.next() else { return };
            turn.passed += 1;
            match Record::read(&bytes) {
                Some(Record::End(end)) => self.ends.push(end),
                Some(Record::Piece(..)) | None => turn.malformed += 1,
            }
        }
    }
}
