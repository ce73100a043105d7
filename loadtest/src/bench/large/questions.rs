//! The questions that are asked of the large store, in the SQL of both engines.

use super::made::Made;

const HOUR_NANOS: u64 = 3_600_000_000_000;

/// A trace's p99 by service lies between these, whatever way it is approximated.
const P99_WITHIN: &str = "quantile_disc(duration_ns, 0.98), quantile_disc(duration_ns, 0.998)";

/// A service among those with the most spans, and what few of them take.
const SERVICE: &str = "frontend";
const SLOW_NANOS: u64 = 150_000_000;

#[derive(Debug)]
pub(super) struct Questions {
    start_nanos: u64,
    end_nanos: u64,
}

impl Questions {
    pub(super) const fn new(made: &Made) -> Self {
        Self { start_nanos: made.start_nanos, end_nanos: made.end_nanos }
    }

    /// Slow spans of one service in one hour.
    pub(super) fn search(&self, hour: usize) -> String {
        self.search_for(hour, "start_time")
    }

    fn search_for(&self, hour: usize, time: &str) -> String {
        // Neither the first nor the last where there are others: they may be short.
        let hours = (self.end_nanos - self.start_nanos) / HOUR_NANOS;
        let hour = if hours > 2 { 1 + hour as u64 % (hours - 2) } else { 0 };
        let from = self.start_nanos + hour * HOUR_NANOS;
        format!(
            "SELECT trace_id, span_id, name, {time}, duration_ns FROM spans \
             WHERE service_name = '{SERVICE}' AND duration_ns > {SLOW_NANOS} AND {}",
            between(from, from + HOUR_NANOS)
        )
    }

    /// Search, count, p99.
    pub(super) fn ours(&self) -> [String; 3] {
        self.all("start_time", "approx_percentile_cont(duration_ns, 0.99)")
    }

    /// The same for DuckDB, whose times with a zone want another package in Python.
    pub(super) fn theirs(&self) -> [String; 3] {
        self.all("epoch_us(start_time)", "approx_quantile(duration_ns, 0.99)")
    }

    /// Between what the p99 of each service must be, exactly, by DuckDB.
    pub(super) fn bounds(&self) -> String {
        self.by_service(P99_WITHIN)
    }

    fn all(&self, time: &str, percentile: &str) -> [String; 3] {
        [self.search_for(11, time), self.by_service("count(*)"), self.by_service(percentile)]
    }

    fn by_service(&self, figures: &str) -> String {
        let all = between(self.start_nanos, self.end_nanos);
        format!(
            "SELECT service_name, {figures} FROM spans WHERE {all} \
             GROUP BY service_name ORDER BY service_name"
        )
    }
}

/// Both engines read times as texts with a zone. Whole seconds, so that both round alike.
fn between(from_nanos: u64, to_nanos: u64) -> String {
    let (from, to) = (text(from_nanos / 1_000_000_000), text(to_nanos / 1_000_000_000));
    format!("start_time >= TIMESTAMPTZ '{from}' AND start_time < TIMESTAMPTZ '{to}'")
}

/// Seconds since 1970 as `2026-11-25 18:40:00+00:00`.
fn text(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}+00:00")
}

/// The day of the Gregorian calendar, counted in eras of 400 years from the 1st of March 0000.
const fn date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + 400 * era;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: days around the ends of months, years and centuries.
    /// Guarantees: each is the day that the calendar says.
    #[test]
    fn times_are_texts() {
        for (seconds, wanted) in [
            (0, "1970-01-01 00:00:00+00:00"),
            (951_782_399, "2000-02-28 23:59:59+00:00"),
            (951_782_400, "2000-02-29 00:00:00+00:00"),
            (1_735_689_599, "2024-12-31 23:59:59+00:00"),
            (1_795_632_000, "2026-11-25 18:40:00+00:00"),
        ] {
            assert_eq!(text(seconds), wanted);
        }
    }
}
