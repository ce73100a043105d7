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
pub(crate) struct Chance {
    numbers: Mutex<StdRng>,
    /// The last bits of every name: a test gives its own, so that a seed that is run again has
    /// other names in the same order, and finds nothing that is kept by name.
    suffix: Option<u16>,
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}

impl Chance {
    /// Numbers that nobody can foresee.
    pub(crate) fn of_machine() -> Arc<Self> {
        Arc::new(Self { numbers: Mutex::new(rand::make_rng()), suffix: None })
    }

    /// The numbers of a seed, the same every time, and names that end in `suffix`.
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64, suffix: u16) -> Arc<Self> {
        let numbers = Mutex::new(rand::SeedableRng::seed_from_u64(seed));
        Arc::new(Self { numbers, suffix: Some(suffix) })
    }

    /// A name that nobody else has, sorting by time.
    pub(crate) fn id(&self, clock: &dyn Clock) -> Ulid {
        let millis = u64::try_from(clock.now().0 / 1_000_000).unwrap_or(0);
        let (high, low) = self.draw(|numbers| (numbers.next_u64(), numbers.next_u64()));
        let low = self.suffix.map_or(low, |suffix| low & !0xffff | u64::from(suffix));
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
        draw(&mut self.numbers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
