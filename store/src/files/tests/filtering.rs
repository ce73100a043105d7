//! What is ruled out and what filters leave out, against plain rows.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Int64Type};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::generate::Generator;
use super::projection::lines;
use super::*;
use crate::schema::{AttributeType, MapColumn};

/// Rows in which a column lies within a bound, told one by one.
#[derive(Debug)]
struct Within {
    column: [ReadColumn; 1],
    values: Values,
}

impl RowFilter for Within {
    fn columns(&self) -> &[ReadColumn] {
        &self.column
    }

    fn keep(
        &self,
        rows: &RecordBatch,
    ) -> Result<BooleanArray, Box<dyn std::error::Error + Send + Sync>> {
        let column = rows.column(0);
        let texts = || cast(column, &DataType::Utf8).unwrap();
        let ints = || cast(column, &DataType::Int64).unwrap();
        let mask = |keep: &dyn Fn(usize) -> bool| -> BooleanArray {
            (0..column.len()).map(|row| Some(keep(row))).collect()
        };
        Ok(match &self.values {
            Values::Ints { min, max } => {
                let ints: ArrayRef = ints();
                let ints = ints.as_primitive::<Int64Type>();
                mask(&|row| ints.is_valid(row) && (*min..=*max).contains(&ints.value(row)))
            }
            Values::Texts(wanted) => {
                let texts = texts();
                let texts = texts.as_string::<i32>();
                mask(&|row| texts.is_valid(row) && wanted.iter().any(|w| w == texts.value(row)))
            }
            Values::Prefix(prefix) => {
                let texts = texts();
                let texts = texts.as_string::<i32>();
                mask(&|row| texts.is_valid(row) && texts.value(row).starts_with(prefix))
            }
            Values::Ids(ids) => return OneOf::new("trace_id", ids.clone()).keep(rows),
        })
    }
}

/// A random bound that some rows are within, made of a value that is there.
fn bound(rng: &mut StdRng, table: Table, rows: &[RecordBatch]) -> Bound {
    let attribute = |key: &str, kind| ReadColumn::Attribute {
        map: MapColumn::ALL[usize::from(key == "n")],
        key: key.to_owned(),
        kind,
    };
    let column = match rng.random_range(0..5) {
        0 => ReadColumn::Fixed(table.time_column().to_owned()),
        1 => ReadColumn::Fixed("service_name".to_owned()),
        2 => attribute("http.route", AttributeType::String),
        3 => attribute("n", AttributeType::Int),
        _ if table == Table::Spans => ReadColumn::Fixed("duration_ns".to_owned()),
        _ => attribute("n", AttributeType::String),
    };
    let batch = &rows[rng.random_range(0..rows.len())];
    let values = project(batch, table, std::slice::from_ref(&column)).unwrap();
    let values = values.column(0);
    let row = rng.random_range(0..values.len());
    let text = cast(values, &DataType::Utf8).unwrap();
    let text = text.as_string::<i32>();
    let text = if text.is_valid(row) { text.value(row).to_owned() } else { "none".to_owned() };
    let is_text = matches!(values.data_type(), DataType::Dictionary(_, _) | DataType::Utf8);
    let values = if !is_text {
        let ints = cast(values, &DataType::Int64).unwrap();
        let value = ints.as_primitive::<Int64Type>().value(row);
        let min = value.saturating_sub(rng.random_range(0..2_000));
        Values::Ints { min, max: min.saturating_add(rng.random_range(0..3_000)) }
    } else if rng.random_bool(0.5) {
        Values::Texts(vec![text, "nobody".to_owned()])
    } else {
        Values::Prefix(text.chars().take(2).collect())
    };
    Bound { column, values }
}

/// Scenario: random rows, with nulls and with keys whose values have several types, written in
/// small row groups; random bounds and filters of fixed columns and of keys.
/// Guarantees: bounds leave out no row that is within them, filters leave exactly the rows that
/// they keep, and rows in memory give the same.
#[tokio::test]
async fn pruned_and_plain_answers_are_the_same() {
    for seed in 500..540 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut generator = Generator::new(seed);
        let table = Table::ALL[usize::try_from(seed % 4).unwrap()];
        let batches: Vec<_> = (0..4).map(|_| generator.batch(table, 150)).collect();
        let file = written(table, batches.clone(), 64);
        let (bucket, entry) = put(&file).await;
        let footers = footers();
        for _ in 0..6 {
            let bounds: Vec<_> =
                (0..rng.random_range(1..4)).map(|_| bound(&mut rng, table, &batches)).collect();
            let filters: Vec<Arc<dyn RowFilter>> = bounds
                .iter()
                .map(|Bound { column, values }| {
                    let (column, values) = ([column.clone()], values.clone());
                    Arc::new(Within { column, values }) as _
                })
                .collect();
            let columns = vec![
                ReadColumn::Fixed(table.time_column().to_owned()),
                ReadColumn::Fixed("service_name".to_owned()),
                ReadColumn::Map(MapColumn::Attributes),
            ];
            let live = batches.iter().map(|rows| select(rows, table, &columns, &filters).unwrap());
            let live: Vec<_> = live.collect();
            let live = concat_batches(&live[0].schema(), &live).unwrap();
            for bounds in [bounds.clone(), Vec::new()] {
                let file = Arc::clone(&entry);
                let request = ReadRequest {
                    bounds,
                    filters: filters.clone(),
                    ..ReadRequest::all(file, columns.clone())
                };
                let tally = Arc::clone(&request.tally);
                let far = rng.random_bool(0.5);
                let reach = Reach { far, ..Reach::bare(&bucket) };
                let rows = read(reach, Arc::clone(&footers), request.clone());
                let rows: Vec<_> = rows.try_collect().await.unwrap();
                let rows = concat_batches(&live.schema(), &rows).unwrap();
                assert_eq!(lines(&rows), lines(&live), "seed {seed}, {:?}", request.bounds);
                let figures = tally.figures();
                let left = figures.rows - figures.rows_pruned - figures.rows_filtered;
                assert_eq!(left, rows.num_rows() as u64, "{figures:?}");
            }
        }
    }
}

/// Scenario: a filter that fails.
/// Guarantees: its own words come out, and no row does.
#[tokio::test]
async fn a_filter_that_fails_is_heard() {
    let rows = Generator::new(1).batch(Table::Logs, 10);
    let (bucket, entry) = put(&written(Table::Logs, vec![rows], 100)).await;
    // Ids of a column that is none.
    let filters: Vec<Arc<dyn RowFilter>> = vec![Arc::new(OneOf::new("service_name", Vec::new()))];
    let request = ReadRequest { filters, ..ReadRequest::all(entry, Vec::new()) };
    let read = read(Reach::bare(&bucket), footers(), request).try_collect::<Vec<_>>().await;
    let Err(Error::Filter { source }) = read else { panic!("{read:?}") };
    assert!(source.to_string().contains("ids are of type"), "{source}");
}
