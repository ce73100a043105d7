use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_expr::expressions::Column as Place;
use icecore_store::Table;

use super::*;
use crate::table::columns::table_columns;

fn order(rows: usize, descending: bool) -> Order {
    let columns = table_columns(Table::Spans);
    let duration = columns.iter().find(|column| column.field.name() == "duration_ns");
    let options = SortOptions { descending, nulls_first: false };
    let by = PhysicalSortExpr { expr: Arc::new(Place::new("duration_ns", 0)), options };
    Order::new(vec![duration.unwrap().clone()], vec![by], rows, None)
}

fn batch(values: &[i64]) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("duration_ns", DataType::Int64, false)]);
    let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap()
}

/// Scenario: values in batches, rising, falling and mixed, of which the first few are wanted.
/// Guarantees: what is kept has the first of all, and little else where batches are large.
#[test]
fn the_first_are_among_those_kept() {
    let mixed: Vec<i64> = (0..5_000).map(|at| at * 7_919 % 5_003).collect();
    let rising: Vec<i64> = (0..5_000).collect();
    let falling: Vec<i64> = (0..5_000).rev().collect();
    for values in [mixed, rising, falling, vec![3; 50]] {
        for (rows, descending) in [(1, false), (10, true), (100, false), (9_999, true), (0, true)] {
            let filter = order(rows, descending).filter().unwrap();
            let mut kept = Vec::new();
            for piece in values.chunks(1_000) {
                let mask = filter.keep(&batch(piece)).unwrap();
                kept.extend(piece.iter().zip(mask.values()).filter(|(_, k)| *k).map(|(v, _)| *v));
            }
            assert!(kept.len() <= rows.saturating_mul(5).max(50), "{} for {rows}", kept.len());
            let first = |mut values: Vec<i64>| {
                values.sort_unstable();
                if descending {
                    values.reverse();
                }
                values.truncate(rows);
                values
            };
            assert_eq!(first(kept), first(values.clone()), "{rows} {descending}");
        }
    }
}
