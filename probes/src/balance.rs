//! Nothing is lost unseen: what the kernel programs saw, and what became of it.
//!
//! Invariants, whenever no program runs and the rings are empty:
//! seen = filtered + refused + submitted, in calls; submitted = followed + ignored + malformed, in
//! pieces, ends, accounts and process events.

use icecore_probe_events::{COUNTERS, Counter};

/// Figures since the agent was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    /// The kernel programs' own, summed over CPUs.
    pub(crate) kernel: [u64; COUNTERS],
    /// Pieces that were fed to a connection.
    pub(crate) followed: u64,
    /// Pieces of connections of which nothing can be learnt.
    pub(crate) ignored: u64,
    /// Ends of connections that were read.
    pub(crate) ends: u64,
    /// Accounts of connections that were read.
    pub(crate) accounts: u64,
    /// Starts and ends of processes that were read.
    pub(crate) processes: u64,
    /// Records that could not be read.
    pub(crate) malformed: u64,
}

impl Balance {
    /// One of the kernel's figures.
    pub(crate) fn kernel(&self, counter: Counter) -> u64 {
        self.kernel.get(counter as usize).copied().unwrap_or(0)
    }

    /// Calls that were not for us, for whatever reason.
    pub(crate) fn filtered(&self) -> u64 {
        let reasons = [
            Counter::Own,
            Counter::NotTcp,
            Counter::Peeked,
            Counter::Undecided,
            Counter::Unnamed,
            Counter::Ignored,
            Counter::Encrypted,
            Counter::Unplaced,
            Counter::Untracked,
        ];
        reasons.into_iter().map(|reason| self.kernel(reason)).sum()
    }

    /// Records in the rings.
    pub(crate) fn submitted(&self) -> u64 {
        let kinds = [
            Counter::PiecesSubmitted,
            Counter::EndsSubmitted,
            Counter::AccountsSubmitted,
            Counter::ProcessesSubmitted,
        ];
        kinds.into_iter().map(|kind| self.kernel(kind)).sum()
    }

    /// Records that user space has taken.
    pub(crate) fn read(&self) -> u64 {
        let of_connections = self.followed + self.ignored + self.ends + self.accounts;
        of_connections + self.processes + self.malformed
    }

    /// Both sides of both equations are equal.
    pub(crate) fn closes(&self) -> bool {
        let calls = self.kernel(Counter::CallsSubmitted) + self.kernel(Counter::CallsRefused);
        self.kernel(Counter::Seen) == self.filtered() + calls && self.submitted() == self.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(figures: &[(Counter, u64)]) -> Balance {
        let mut balance = Balance::default();
        for &(counter, value) in figures {
            balance.kernel[counter as usize] = value;
        }
        balance
    }

    /// Scenario: calls of every fate, all of whose records were read; then one that was not.
    /// Guarantees: the first balance closes and the second does not.
    #[test]
    fn a_record_that_is_missing_shows() {
        let mut whole = balance(&[
            (Counter::Seen, 10),
            (Counter::Own, 1),
            (Counter::NotTcp, 2),
            (Counter::CallsSubmitted, 6),
            (Counter::CallsRefused, 1),
            (Counter::PiecesSubmitted, 9),
            (Counter::PiecesRefused, 1),
            (Counter::EndsSubmitted, 2),
        ]);
        (whole.followed, whole.ignored, whole.ends) = (8, 1, 2);
        assert!(whole.closes());
        whole.followed -= 1;
        assert!(!whole.closes());
    }

    /// Scenario: a call of which nothing is known after it was seen.
    /// Guarantees: the balance does not close.
    #[test]
    fn a_call_that_is_missing_shows() {
        assert!(!balance(&[(Counter::Seen, 1)]).closes());
    }
}
