//! What is written is what is read.

use super::generate::{Generator, canonical};
use super::*;
use crate::schema::{AttributeType, MapColumn};

/// Scenario: many batches of each table with differing attribute columns, keys of differing types,
/// repeated keys, extreme times, huge and empty texts, in files of one and of many row groups.
/// Guarantees: the rows of the file are the rows of the batches, order aside, to the nanosecond.
#[tokio::test]
async fn a_file_holds_the_rows_that_were_written() {
    for seed in 0..40 {
        let mut generator = Generator::new(seed);
        let table = Table::ALL[usize::try_from(seed % 4).unwrap()];
        let batches: Vec<_> = (0..5).map(|_| generator.batch(table, 300)).collect();
        let rows_max = if seed % 3 == 0 { 97 } else { 100_000 };
        let file = written(table, batches.clone(), rows_max);
        let read = all_rows(&file).await;
        assert_eq!(canonical(table, &read), canonical(table, &batches), "seed {seed}");
    }
}

/// Scenario: a file is written from what was read from another, and so on.
/// Guarantees: merging is repeatable: nothing wanders or gets lost on the way.
#[tokio::test]
async fn rows_survive_being_rewritten() {
    for seed in 100..108 {
        let mut generator = Generator::new(seed);
        let batches: Vec<_> = (0..3).map(|_| generator.batch(Table::Spans, 200)).collect();
        let first = written(Table::Spans, batches.clone(), 100_000);
        let second = written(Table::Spans, all_rows(&first).await, 50);
        let read = all_rows(&second).await;
        assert_eq!(canonical(Table::Spans, &read), canonical(Table::Spans, &batches));
    }
}

/// Scenario: what the entry says of a random file is compared with its rows.
/// Guarantees: a whole key is in no overflow text, every overflow key is listed.
#[tokio::test]
async fn the_entry_says_what_is_in_the_overflow() {
    for seed in 200..210 {
        let mut generator = Generator::new(seed);
        let batches: Vec<_> = (0..4).map(|_| generator.batch(Table::Logs, 200)).collect();
        let file = written(Table::Logs, batches, 100_000);
        assert!(file.entry.layout.overflow_listed);
        for batch in all_rows(&file).await {
            for map in MapColumn::ALL {
                let overflow = batch.column_by_name(map.name()).unwrap();
                let texts = cells::Texts::of(overflow).unwrap();
                let texts = (0..batch.num_rows()).filter_map(|row| texts.get(row));
                for (key, _) in
                    texts.flat_map(|text| crate::model::value::parse_object(text).unwrap())
                {
                    let listed = |other: &crate::OverflowKey| other.map == map && other.key == key;
                    assert!(file.entry.layout.overflow.iter().any(listed), "{key} is not listed");
                    let column = file
                        .entry
                        .layout
                        .attributes
                        .iter()
                        .find(|it| it.map == map && it.key == key);
                    assert!(column.is_none_or(|column| !column.whole), "{key} is not whole");
                }
            }
        }
    }
}

/// Scenario: one key is an int in most rows and a string in some; another is rare; a third is
/// there once in a thousand rows.
/// Guarantees: the most frequent type has the column; rare keys have none.
#[tokio::test]
async fn the_most_frequent_type_has_the_column() {
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};
    let plain = Generator::new(1).batch(Table::Logs, 1_000);
    let fixed = crate::schema::fixed_fields(Table::Logs);
    let with = |name: &str, column: ArrayRef| {
        let rows = plain.slice(0, column.len());
        let mut fields: Vec<_> = fixed.clone();
        let mut columns: Vec<ArrayRef> = rows.columns().iter().take(fixed.len()).cloned().collect();
        for map in MapColumn::ALL {
            let at = fixed.iter().position(|field| field.name() == map.name()).unwrap();
            columns[at] = arrow::array::new_null_array(fixed[at].data_type(), rows.num_rows());
        }
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    };
    let rows = plain.num_rows().min(10);
    let ints: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|_| 5)));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["five"]));
    let batches = vec![
        with("attributes.n", ints),
        with("attributes.n", Arc::clone(&texts)),
        with("resource.r", texts),
    ];
    let file = written(Table::Logs, batches, 100_000);
    let columns: Vec<_> = file
        .entry
        .layout
        .attributes
        .iter()
        .map(|it| (it.key.as_str(), it.kind, it.whole))
        .collect();
    assert_eq!(columns, [("n", AttributeType::Int, false), ("r", AttributeType::String, true)]);
    assert_eq!(file.entry.layout.overflow.len(), 1);
    assert_eq!(file.entry.layout.overflow[0].kinds, [AttributeType::String]);
}

/// Scenario: no rows, and rows that lack a fixed column.
/// Guarantees: both are refused with an error that says so.
#[test]
fn what_is_not_in_row_shape_is_refused() {
    let text = |error: Error| error.to_string();
    let none = try_written(Table::Spans, Vec::new(), 10).unwrap_err();
    assert_eq!(text(none), "rows of table spans are not in row shape: there are none");
    let points = Generator::new(3).batch(Table::Metrics, 10);
    let wrong = try_written(Table::Spans, vec![points], 10).unwrap_err();
    assert!(text(wrong).contains("is missing"));
}

/// Scenario: the origin of a file is asked for, and that of a file that is not there.
/// Guarantees: what was written comes back; none where there is no file.
#[tokio::test]
async fn a_file_knows_where_it_came_from() {
    let file = written(Table::Logs, vec![Generator::new(4).batch(Table::Logs, 10)], 10);
    let (bucket, entry) = put(&file).await;
    let found = read_origin(Arc::clone(&bucket), &entry.path()).await.unwrap();
    assert_eq!(found, Some(origin()));
    assert_eq!(read_origin(bucket, "data/none.parquet").await.unwrap(), None);
}
