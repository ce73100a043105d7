//! Files and live rows answer alike.

use arrow::array::Array;
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::generate::Generator;
use super::*;
use crate::model::value::{parse_object, plain_text, write_value};
use crate::schema::{AttributeType, MapColumn, fixed_fields};

const KINDS: [AttributeType; 4] =
    [AttributeType::String, AttributeType::Int, AttributeType::Double, AttributeType::Bool];

/// Every column that can be asked for.
fn columns(table: Table) -> Vec<ReadColumn> {
    let fixed = fixed_fields(table).into_iter().filter(|field| {
        // Where an entry is, in a column or in the overflow, is the file's own affair.
        MapColumn::ALL.iter().all(|map| map.name() != field.name())
    });
    let mut columns: Vec<ReadColumn> =
        fixed.map(|field| ReadColumn::Fixed(field.name().clone())).collect();
    for map in MapColumn::ALL {
        for key in ["http.route", "n", "", "$map", "not there"] {
            for kind in KINDS {
                columns.push(ReadColumn::Attribute { map, key: key.to_owned(), kind });
            }
        }
    }
    columns
}

pub(super) fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("∅");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    let line = |row| columns.iter().map(|column| format!("{}|", column.value(row))).collect();
    let mut lines: Vec<String> = (0..batch.num_rows()).map(line).collect();
    lines.sort_unstable();
    lines
}

/// Scenario: random rows are projected as live batches, and read from the file written of them:
/// every fixed column and some keys of both maps as every type.
/// Guarantees: the same rows, typed as `read_field` says.
#[tokio::test]
async fn files_and_live_rows_answer_alike() {
    for seed in 300..312 {
        let mut generator = Generator::new(seed);
        let table = Table::ALL[usize::try_from(seed % 4).unwrap()];
        let batches: Vec<_> = (0..4).map(|_| generator.batch(table, 150)).collect();
        let file = written(table, batches.clone(), 100);
        let (bucket, entry) = put(&file).await;
        // One column a reading, so that each is read with what it needs and no more; the id of
        // a line is not needed, as multisets are compared.
        for column in columns(table) {
            let columns = vec![column.clone()];
            let live = batches.iter().map(|batch| project(batch, table, &columns).unwrap());
            let live: Vec<_> = live.collect();
            let live = concat_batches(&live[0].schema(), &live).unwrap();
            assert_eq!(live.schema_ref().field(0), &read_field(table, &column));
            let request = ReadRequest::all(Arc::clone(&entry), columns);
            let stored = read(Reach::bare(&bucket), footers(), request);
            let stored: Vec<_> = stored.try_collect().await.unwrap();
            let stored = concat_batches(&live.schema(), &stored).unwrap();
            assert_eq!(lines(&stored), lines(&live), "seed {seed}, {column:?}");
        }
    }
}

/// Scenario: the whole map of random rows against each of its keys as text.
/// Guarantees: a map's JSON text holds the entries that the keys answer for, sorted by key.
#[test]
fn maps_and_keys_agree() {
    for seed in 400..408 {
        let batch = Generator::new(seed).batch(Table::Logs, 300);
        for map in MapColumn::ALL {
            for key in ["http.route", "n", ""] {
                let one =
                    ReadColumn::Attribute { map, key: key.to_owned(), kind: AttributeType::String };
                let both = project(&batch, Table::Logs, &[ReadColumn::Map(map), one]).unwrap();
                let name = |at: usize| both.schema_ref().field(at).name().clone();
                let maps = load::column_texts(&both, &name(0));
                let texts = load::column_texts(&both, &name(1));
                for (map, text) in maps.iter().zip(texts) {
                    let entries = map.as_deref().map(|map| parse_object(map).unwrap());
                    let sorted = entries.is_none_or(|all| all.is_sorted_by(|a, b| a.0 <= b.0));
                    assert!(sorted, "seed {seed}, {map:?}");
                    assert_eq!(first(map.as_deref(), key), text, "seed {seed}, {map:?}");
                }
            }
        }
    }
}

/// The first entry of a key, as SQL shows it.
fn first(map: Option<&str>, key: &str) -> Option<String> {
    let entries = parse_object(map?).unwrap();
    let (_, value) = entries.into_iter().find(|(other, _)| other == key)?;
    let mut text = String::new();
    write_value(&mut text, &value);
    plain_text(&text).map(std::borrow::Cow::into_owned)
}

/// Scenario: a fixed column that the rows lack, and no column at all.
/// Guarantees: an error that names the column; a batch that still counts its rows.
#[test]
fn projections_keep_count_and_name_what_is_missing() {
    let rows = Generator::new(5).batch(Table::Logs, 10);
    let count = project(&rows, Table::Logs, &[]).unwrap();
    assert_eq!((count.num_rows(), count.num_columns()), (rows.num_rows(), 0));
    let missing = project(&rows, Table::Logs, &[ReadColumn::Fixed("start_time".to_owned())]);
    assert!(missing.unwrap_err().to_string().contains("`start_time` is missing"));
    let none = ReadColumn::Attribute {
        map: MapColumn::Resource,
        key: "none".to_owned(),
        kind: AttributeType::Bool,
    };
    let nulls = project(&rows, Table::Logs, &[none]).unwrap();
    assert_eq!(nulls.column(0).null_count(), rows.num_rows());
}
