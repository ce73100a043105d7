//! Where files lie: `data/<table>/date=YYYY-MM-DD/hour=HH/<ulid>.parquet` below the prefix.

use chrono::{DateTime, NaiveDate, Utc};

use crate::model::{FileId, Table, UnixNanos};

/// The path of a file whose rows are of `hour` (any instant in it), below the storage prefix.
pub(crate) fn path(table: Table, hour: UnixNanos, id: FileId) -> String {
    let time: DateTime<Utc> = DateTime::from_timestamp_nanos(hour.0);
    format!("data/{table}/date={}/hour={}/{id}.parquet", time.format("%Y-%m-%d"), time.format("%H"))
}

/// The table, hour and id in a data file's path; `None` where it is none.
pub(crate) fn place(path: &str) -> Option<(Table, UnixNanos, FileId)> {
    let parts: Vec<&str> = path.split('/').collect();
    let &["data", table, date, hour, name] = parts.as_slice() else { return None };
    let date: NaiveDate = date.strip_prefix("date=")?.parse().ok()?;
    let hour: u32 = hour.strip_prefix("hour=")?.parse().ok()?;
    let start = date.and_hms_opt(hour, 0, 0)?.and_utc();
    // An hour at either end of time begins before the first instant that there is.
    let start = start.timestamp_nanos_opt().unwrap_or(i64::MIN);
    let id = name.strip_suffix(".parquet")?.parse().ok()?;
    Some((table.parse().ok()?, UnixNanos(start).hour(), id))
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
            let expected = (Table::Spans, UnixNanos(nanos).hour(), FileId(ulid::Ulid::nil()));
            assert_eq!(place(&path), Some(expected));
        };
        check(0, "date=1970-01-01/hour=00");
        check(-1, "date=1969-12-31/hour=23");
        check(i64::MAX, "date=2262-04-11/hour=23");
        check(i64::MIN, "date=1677-09-21/hour=00");
    }
}
