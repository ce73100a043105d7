//! What a span costs in a file.

use parquet::file::reader::{FileReader, SerializedFileReader};

use super::load;
use super::*;

/// Spans of the load; enough for figures that stay about the same with more.
const SPANS: usize = 60_000;

/// Scenario: ordinary spans with 12 attributes and 10 resource attributes, written to one file.
/// Guarantees: no more than 45 bytes a span; the figures by column are printed.
#[test]
fn a_span_costs_little() {
    let spans = std::env::var("ICECORE_TEST_SPANS").ok().and_then(|text| text.parse().ok());
    let spans = spans.unwrap_or(SPANS);
    let batches = load::spans(spans, 300);
    let clock = crate::SystemClock::new();
    let began = crate::Clock::elapsed(&clock);
    let file = written(Table::Spans, batches, 131_072);
    let took = crate::Clock::elapsed(&clock) - began;
    let reader = SerializedFileReader::new(file.bytes.clone()).unwrap();
    let mut columns = std::collections::BTreeMap::<String, i64>::new();
    for group in reader.metadata().row_groups() {
        for column in group.columns() {
            *columns.entry(column.column_path().string()).or_default() += column.compressed_size();
        }
    }
    let mut columns: Vec<_> = columns.into_iter().collect();
    columns.sort_by_key(|(_, bytes)| -bytes);
    let each = |bytes: u64| bytes as f64 / spans as f64;
    println!("{spans} spans: {:.1} bytes a span, written in {took:?}", each(file.entry.bytes));
    let mut data = 0;
    for (name, bytes) in &columns {
        let bytes = u64::try_from(*bytes).unwrap();
        data += bytes;
        if each(bytes) > 0.05 {
            println!("{:8.2} {name}", each(bytes));
        }
    }
    println!("{:8.2} footer, page index, bloom filters", each(file.entry.bytes - data));
    assert!(each(file.entry.bytes) <= 45.0);
}
