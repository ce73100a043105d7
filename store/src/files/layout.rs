//! Where files lie: `data/<table>/date=YYYY-MM-DD/hour=HH/<ulid>.parquet` below the prefix.

use chrono::{DateTime, Utc};

use crate::model::{FileId, Table, UnixNanos};

/// The path of a file whose rows are of `hour` (any instant in it), below the storage prefix.
pub(crate) fn path(table: Table, hour: UnixNanos, id: FileId) -> String {
    let time: DateTime<Utc> = DateTime::from_timestamp_nanos(hour.0);
    format!("data/{table}/date={}/hour={}/{id}.parquet", time.format("%Y-%m-%d"), time.format("%H"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: an ordinary hour, one before 1970, and both ends of time.
    /// Guarantees: Hive-style paths in UTC.
    #[test]
    fn paths_are_hive_style() {
        let check = |nanos, hour: &str| {
            let path = path(Table::Spans, UnixNanos(nanos), FileId(ulid::Ulid::nil()));
            assert_eq!(path, format!("data/spans/{hour}/00000000000000000000000000.parquet"));
        };
        check(0, "date=1970-01-01/hour=00");
        check(-1, "date=1969-12-31/hour=23");
        check(i64::MAX, "date=2262-04-11/hour=23");
        check(i64::MIN, "date=1677-09-21/hour=00");
    }
}
