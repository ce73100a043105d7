//! How SQL knows the items of each signal, and how many of them are asked for at a time.

use serde_json::Value;

use crate::generate::{SERIES_BITS, Signal};

/// The ids of one signal.
#[derive(Debug)]
pub(super) struct Ids {
    signal: Signal,
    pub(super) table: &'static str,
    /// What [`Self::read`] wants of a row.
    pub(super) columns: &'static str,
    /// A range of ids begins at a multiple of this: what a condition can tell apart.
    step: u64,
}

impl Ids {
    pub(super) const fn of(signal: Signal) -> Self {
        let (table, columns, step) = match signal {
            Signal::Traces => ("spans", "span_id AS id", 1),
            Signal::Metrics => (
                "metrics",
                "CAST(time AS BIGINT) AS nanos, attributes['loadtest.series'] AS series",
                1 << SERIES_BITS,
            ),
            Signal::Logs => ("logs", "attributes['loadtest.number'] AS id", 1),
        };
        Self { signal, table, columns, step }
    }

    /// The id of a row.
    pub(super) fn read(&self, row: &Value) -> Option<u64> {
        match self.signal {
            Signal::Traces => u64::from_str_radix(row["id"].as_str()?, 16).ok(),
            Signal::Metrics => {
                let millis = row["nanos"].as_u64()? / 1_000_000;
                Some((millis << SERIES_BITS) | number(&row["series"])?)
            }
            Signal::Logs => number(&row["id"]),
        }
    }

    /// Acknowledged ids in ranges that together hold every id there is, each with the condition
    /// for it. `ids` are in order and distinct; a range has `ids_max` or, where a condition cannot
    /// tell that many apart, some more.
    pub(super) fn ranges<'a>(&self, ids: &'a [u64], ids_max: usize) -> Vec<(&'a [u64], String)> {
        let mut ranges = Vec::new();
        let mut from = String::new();
        let mut rest = ids;
        while let (Some(first), Some(next)) = (rest.first(), rest.get(ids_max)) {
            let floor = |id: u64| id - id % self.step;
            let to = floor(*next).max(floor(*first).saturating_add(self.step));
            let (range, after) = rest.split_at(rest.partition_point(|id| *id < to));
            if after.is_empty() {
                break;
            }
            ranges.push((range, format!("{from} AND {}", self.bound("<", to))));
            from = format!(" AND {}", self.bound(">=", to));
            rest = after;
        }
        ranges.push((rest, from));
        ranges
    }

    fn bound(&self, sign: &str, id: u64) -> String {
        match self.signal {
            // Ids sort as numbers as they do as text.
            Signal::Traces => format!("span_id {sign} '{id:016x}'"),
            Signal::Metrics => {
                let nanos = (id >> SERIES_BITS) * 1_000_000;
                format!("time {sign} to_timestamp_nanos({nanos})")
            }
            Signal::Logs => format!("attributes['loadtest.number'] {sign} {id}"),
        }
    }
}

/// A number that may be told as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: points of two series at three milliseconds, asked for one at a time; and ids that
    /// end in one range.
    /// Guarantees: no range cuts a millisecond in two, all together hold every id, and conditions
    /// meet where ranges do.
    #[test]
    fn ranges_meet() {
        let ids = Ids::of(Signal::Metrics);
        let all: Vec<u64> = (7..10)
            .flat_map(|millis| [millis << SERIES_BITS, (millis << SERIES_BITS) | 1])
            .collect();
        let ranges = ids.ranges(&all, 1);
        let sizes: Vec<usize> = ranges.iter().map(|(ids, _)| ids.len()).collect();
        assert_eq!(sizes, [2, 2, 2]);
        assert_eq!(ranges[0].1, " AND time < to_timestamp_nanos(8000000)");
        let middle =
            " AND time >= to_timestamp_nanos(8000000) AND time < to_timestamp_nanos(9000000)";
        assert_eq!(ranges[1].1, middle);
        assert_eq!(ranges[2].1, " AND time >= to_timestamp_nanos(9000000)");
        assert_eq!(ids.ranges(&all, 6), [(all.as_slice(), String::new())]);
        let row = serde_json::json!({"nanos": 8_000_123_u64, "series": 1});
        assert_eq!(ids.read(&row), Some((8 << SERIES_BITS) | 1));
        let row = serde_json::json!({"id": "12"});
        assert_eq!(Ids::of(Signal::Logs).read(&row), Some(12));
    }
}
