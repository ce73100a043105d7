//! Answers in each text format, cell by cell.

use std::collections::BTreeSet;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringViewArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::*;
use crate::table::columns::json_metadata;

fn column(name: &str, array: ArrayRef) -> (Field, ArrayRef) {
    (Field::new(name, array.data_type().clone(), true), array)
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from(values.to_vec()))
}

fn encoded(format: Format, columns: Vec<(Field, ArrayRef)>) -> String {
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let mut encoder = format.encoder(&schema).unwrap();
    let mut out = encoder.begin().unwrap();
    out.extend(encoder.rows(&rows).unwrap());
    String::from_utf8(out).unwrap()
}

fn cells(format: Format) -> Vec<String> {
    let nanos = TimestampNanosecondArray::from(vec![Some(-1), None]).with_timezone("UTC");
    let columns = vec![
        column("i", Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        column("u", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
        column("d", Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(-0.5)]))),
        column("b", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        column("t", text(&[Some("a\"b\nc,\u{1}é"), Some("")])),
        column("at", Arc::new(nanos)),
        column("bytes", Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None]))),
    ];
    encoded(format, columns).split('\n').map(str::to_owned).collect()
}

/// Scenario: the edges of each type, in JSON.
/// Guarantees: what any JSON reader takes, with all digits of ints and NaN as the text that it is in OTLP.
#[test]
fn json_cells() {
    let lines = cells(Format::JsonLines);
    assert_eq!(
        lines[0],
        "{\"i\":-9223372036854775808,\"u\":18446744073709551615,\"d\":\"NaN\",\"b\":true,\
         \"t\":\"a\\\"b\\nc,\\u0001é\",\"at\":\"1969-12-31T23:59:59.999999999Z\",\
         \"bytes\":\"00ff\"}"
    );
    assert_eq!(
        lines[1],
        "{\"i\":null,\"u\":null,\"d\":-0.5,\"b\":null,\"t\":\"\",\"at\":null,\"bytes\":null}"
    );
}

/// Scenario: the same in CSV.
/// Guarantees: quotes where they are needed, nothing for null, `""` for an empty text.
#[test]
fn csv_cells() {
    let lines = cells(Format::Csv);
    assert_eq!(lines[0], "i,u,d,b,t,at,bytes");
    let first = format!("{}\n{}", lines[1], lines[2]);
    assert_eq!(
        first,
        "-9223372036854775808,18446744073709551615,NaN,true,\"a\"\"b\nc,\u{1}é\",\
         1969-12-31T23:59:59.999999999Z,00ff"
    );
    assert_eq!(lines[3], ",,-0.5,,\"\",,");
}

/// Scenario: text that is marked as JSON, one of it broken.
/// Guarantees: whole JSON is embedded, anything else is a text: the answer stays readable.
#[test]
fn json_texts_are_embedded() {
    let marked = Field::new("a", DataType::Utf8View, true).with_metadata(json_metadata());
    let values = text(&[Some(r#"{"k":[1,null]}"#), Some("{\"k"), None]);
    let lines = encoded(Format::JsonLines, vec![(marked, values)]);
    assert_eq!(lines, "{\"a\":{\"k\":[1,null]}}\n{\"a\":\"{\\\"k\"}\n{\"a\":null}\n");
}

/// Scenario: an answer without rows, whole and broken off.
/// Guarantees: the contract's object either way; the broken one says so.
#[test]
fn an_empty_answer_is_whole() {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![Field::new("at", time, true)]));
    let snapshot = crate::snapshot::QuerySnapshot {
        files: Arc::default(),
        live: Vec::new(),
        incomplete: vec!["x".to_owned()],
    };
    let figures = crate::table::ScanStats::default().figures();
    let stats = Stats::new(&snapshot, figures, 0, Duration::from_micros(1500), Vec::new());
    let mut encoder = Format::Json.encoder(&schema).unwrap();
    let begun = encoder.begin().unwrap();
    let whole = [begun.clone(), encoder.end(&stats).unwrap()].concat();
    let whole: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    let column = serde_json::json!({"name": "at", "type": "Timestamp(Nanosecond, \"UTC\")"});
    assert_eq!(whole["columns"], serde_json::json!([column]));
    assert_eq!(whole["rows"], serde_json::json!([]));
    assert_eq!(whole["stats"]["elapsed_ms"], 1.5);
    let told: Vec<&str> = whole["stats"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "cached_bytes",
        "elapsed_ms",
        "fetched_bytes",
        "file_bytes",
        "file_rows",
        "files_considered",
        "files_pruned",
        "files_read",
        "footers_kept",
        "footers_read",
        "incomplete",
        "live_rows",
        "requests",
        "row_groups_pruned",
        "rows",
        "rows_filtered",
        "rows_pruned",
        "snapshot",
    ];
    assert_eq!(BTreeSet::from_iter(told), BTreeSet::from(expected));
    assert_eq!(whole["stats"]["incomplete"], serde_json::json!(["x"]));
    let broken = [begun, encoder.fail(&Error::Lost, &stats).unwrap()].concat();
    let broken: serde_json::Value = serde_json::from_slice(&broken).unwrap();
    assert_eq!(broken["error"]["code"], "internal");
}

/// Scenario: the task of a query ends with its answer, and one dies before.
/// Guarantees: the one body ends, the other breaks off.
#[tokio::test]
async fn a_query_that_died_breaks_off() {
    let body = |dies: bool| {
        let (sender, pieces) = mpsc::channel::<Piece>(1);
        let work = tokio::spawn(async move {
            sender.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
            assert!(!dies, "as a fault of ours would");
        });
        stream::unfold(Some((pieces, AbortOnDropHandle::new(work))), next_piece).boxed()
    };
    let whole: Vec<_> = body(false).collect().await;
    assert!(matches!(&whole[..], [Ok(_)]), "{whole:?}");
    let broken: Vec<_> = body(true).collect().await;
    assert!(matches!(&broken[..], [Ok(_), Err(Error::Lost)]), "{broken:?}");
}
