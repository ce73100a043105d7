//! What the network does to a request.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How long a client waits for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is carried out and answered.
    Fine,
    /// It never arrives.
    Lost,
    /// It is carried out, and the answer never arrives.
    Unanswered,
    /// The sender gives up; it is carried out so much later.
    Late(Duration),
    /// It is carried out and answered, and carried out again so much later.
    Twice(Duration),
    /// It is carried out, its answer is lost on the way, and somebody there sends it again.
    Resent,
}

/// How bad it is; per mille of the requests.
#[derive(Debug)]
pub(super) struct Weather {
    numbers: StdRng,
    /// Requests of a thousand that have another fate than [`Fate::Fine`].
    faults: u32,
    /// The longest that a request is late.
    late_max: Duration,
    /// The longest that one way takes.
    travel_max: Duration,
    /// Until when nothing arrives.
    storm_until: Duration,
}

impl Weather {
    /// The weather of a seed: one in four is calm, one in eight terrible.
    pub(super) fn new(seed: u64, grace: Duration) -> Self {
        let mut numbers = StdRng::seed_from_u64(seed);
        let faults = match numbers.random_range(0..8) {
            0 | 1 => 0,
            2..=4 => 20,
            5 | 6 => 80,
            _ => 250,
        };
        let late_max = match numbers.random_range(0..3) {
            0 => Duration::from_secs(10),
            1 => Duration::from_secs(300),
            // Longer than anything removed stays.
            _ => grace * 3,
        };
        let travel_max = Duration::from_millis([20, 200, 8_000][numbers.random_range(0..3)]);
        let storm_until = Duration::ZERO;
        Self { numbers, faults, late_max, travel_max, storm_until }
    }

    /// From now on everything arrives.
    pub(super) fn clear_up(&mut self) {
        self.faults = 0;
        self.storm_until = Duration::ZERO;
        self.travel_max = Duration::from_millis(20);
    }

    /// Until then nothing arrives.
    pub(super) fn storm(&mut self, until: Duration) {
        self.storm_until = until;
    }

    /// The fate of a request that is sent now.
    pub(super) fn fate(&mut self, now: Duration) -> Fate {
        if now < self.storm_until {
            return Fate::Lost;
        }
        if self.numbers.random_range(0..1000) >= self.faults {
            return Fate::Fine;
        }
        let late = self.up_to(self.late_max);
        match self.numbers.random_range(0..8) {
            0..=2 => Fate::Lost,
            3 | 4 => Fate::Unanswered,
            5 => Fate::Late(late),
            6 => Fate::Twice(late),
            _ => Fate::Resent,
        }
    }

    /// How long one way takes.
    pub(super) fn travel(&mut self) -> Duration {
        let longest = self.travel_max;
        self.up_to(longest)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.numbers.random_range(0..end)
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(1) + longest.mul_f64(self.numbers.random_range(0.0..1.0))
    }
}
