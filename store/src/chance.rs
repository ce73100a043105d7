//! Where time, new names and random waits come from.
//!
//! Invariant: nothing else in the store draws a random number, so that a seed decides them all.
//! (The folder bucket does, for names of files that nobody ever reads.)

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use ulid::Ulid;

use crate::ports::Clock;

/// What decides what the code does not: a test has both in its hand.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Chance.
    pub(crate) chance: Arc<Chance>,
}

/// One source of random numbers, shared by all that a store is made of.
pub(crate) struct Chance(Mutex<StdRng>);

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}

impl Chance {
    /// Numbers that nobody can foresee.
    pub(crate) fn of_machine() -> Arc<Self> {
        Arc::new(Self(Mutex::new(rand::make_rng())))
    }

    /// The numbers of a seed, the same every time.
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(rand::SeedableRng::seed_from_u64(seed))))
    }

    /// A name that nobody else has, sorting by time.
    pub(crate) fn id(&self, clock: &dyn Clock) -> Ulid {
        let millis = u64::try_from(clock.now().0 / 1_000_000).unwrap_or(0);
        let (high, low) = self.draw(|numbers| (numbers.next_u64(), numbers.next_u64()));
        Ulid::from_parts(millis, u128::from(high) << 64 | u128::from(low))
    }

    /// Any number.
    pub(crate) fn number(&self) -> u64 {
        self.draw(Rng::next_u64)
    }

    /// A number within the range.
    pub(crate) fn within(&self, range: Range<f64>) -> f64 {
        self.draw(|numbers| numbers.random_range(range))
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
