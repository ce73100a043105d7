//! Random batches in row shape, and rows in a form that can be compared.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, StructArray, TimestampNanosecondArray, UInt32Array,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::cells::MapCells;
use crate::model::value::{ObjectWriter, parse_object, write_value};
use crate::model::{Table, Value};
use crate::schema::{AttributeType, MapColumn, fixed_fields, text_type};

const TEXTS: [&str; 9] =
    ["", "a", "checkout", "GET /cart", "é\"\\\n\u{1}", "$bytes", "0", "null", "日本"];
const TIMES: [i64; 8] =
    [i64::MIN, i64::MIN + 1, -1_001, -1, 0, 999, 1_700_000_000_123_456_789, i64::MAX];
const KEYS: [&str; 7] = ["http.route", "user id", "", "$map", "n", "resource.x", "é"];

/// A source of random batches; prints its seed so that a failure can be had again.
pub(crate) struct Generator {
    rng: StdRng,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self { rng: StdRng::seed_from_u64(seed) }
    }

    /// A batch of up to `rows_max` rows with attribute columns of its own choosing.
    pub(crate) fn batch(&mut self, table: Table, rows_max: usize) -> RecordBatch {
        let rows = self.rng.random_range(1..=rows_max);
        let mut fields = fixed_fields(table);
        let mut columns: Vec<ArrayRef> = Vec::new();
        for field in &fields {
            columns.push(match field.name().as_str() {
                "attributes" => Arc::new(self.overflow(rows)),
                "resource" => cast(&self.overflow(rows), &text_type()).unwrap(),
                _ => self.array(field.data_type(), field.is_nullable(), rows),
            });
        }
        if table == Table::Metrics {
            nearest_doubles(&fields, &mut columns);
        }
        for map in MapColumn::ALL {
            for key in KEYS {
                if self.rng.random_bool(0.5) {
                    let kind = self.kind();
                    fields.push(Arc::new(Field::new(map.column(key), kind.data_type(), true)));
                    columns.push(self.array(&kind.data_type(), true, rows));
                }
            }
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn kind(&mut self) -> AttributeType {
        use AttributeType::{Bool, Double, Int, String};
        [String, Int, Double, Bool][self.rng.random_range(0..4)]
    }

    fn nulls(&mut self, nullable: bool, rows: usize) -> Option<NullBuffer> {
        nullable.then(|| {
            let here = if self.rng.random_bool(0.3) { 0.01 } else { 0.7 };
            (0..rows).map(|_| self.rng.random_bool(here)).collect()
        })
    }

    fn array(&mut self, data_type: &DataType, nullable: bool, rows: usize) -> ArrayRef {
        let nulls = self.nulls(nullable, rows);
        match data_type {
            DataType::Dictionary(_, _) => {
                let texts = self.array(&DataType::Utf8, nullable, rows);
                cast(&texts, data_type).unwrap()
            }
            DataType::Utf8 => {
                let huge = "x".repeat(70_000);
                let texts = (0..rows).map(|_| match self.rng.random_range(0..2_000) {
                    0 => huge.as_str(),
                    at => TEXTS[at % TEXTS.len()],
                });
                let texts = StringArray::from_iter_values(texts);
                Arc::new(StringArray::new(texts.offsets().clone(), texts.values().clone(), nulls))
            }
            DataType::Timestamp(_, _) => {
                let times: Vec<i64> = (0..rows).map(|_| self.time()).collect();
                Arc::new(TimestampNanosecondArray::new(times.into(), nulls).with_timezone("UTC"))
            }
            DataType::Int64 => {
                let numbers: Vec<i64> = (0..rows).map(|_| self.int()).collect();
                Arc::new(Int64Array::new(numbers.into(), nulls))
            }
            DataType::Int32 => {
                let numbers: Vec<i32> = (0..rows).map(|_| self.rng.random()).collect();
                Arc::new(Int32Array::new(numbers.into(), nulls))
            }
            DataType::UInt32 => {
                let numbers: Vec<u32> = (0..rows).map(|_| self.rng.random_range(0..3)).collect();
                Arc::new(UInt32Array::new(numbers.into(), nulls))
            }
            DataType::UInt64 => {
                let numbers: Vec<u64> = (0..rows).map(|_| self.rng.random()).collect();
                Arc::new(UInt64Array::new(numbers.into(), nulls))
            }
            DataType::Float64 => {
                let special = [f64::NAN, f64::INFINITY, -0.0, 1.5, f64::MIN_POSITIVE];
                let numbers: Vec<f64> =
                    (0..rows).map(|_| special[self.rng.random_range(0..5)]).collect();
                Arc::new(Float64Array::new(numbers.into(), nulls))
            }
            DataType::Boolean => {
                let flags = (0..rows).map(|_| self.rng.random()).collect();
                Arc::new(BooleanArray::new(flags, nulls))
            }
            DataType::FixedSizeBinary(bytes) => {
                let width = usize::try_from(*bytes).unwrap();
                let mut ids = vec![0_u8; rows * width];
                ids.iter_mut().for_each(|byte| *byte = self.rng.random());
                Arc::new(FixedSizeBinaryArray::new(*bytes, ids.into(), nulls))
            }
            DataType::List(item) => {
                let lengths: Vec<usize> = (0..rows).map(|_| self.rng.random_range(0..3)).collect();
                let items = lengths.iter().sum();
                let values = self.array(item.data_type(), item.is_nullable(), items);
                let offsets = OffsetBuffer::from_lengths(lengths);
                Arc::new(ListArray::new(Arc::clone(item), offsets, values, nulls))
            }
            DataType::Struct(fields) => {
                let columns = fields
                    .iter()
                    .map(|field| self.array(field.data_type(), field.is_nullable(), rows));
                let columns = columns.collect();
                Arc::new(StructArray::new(fields.clone(), columns, nulls))
            }
            other => unreachable!("no table has {other}"),
        }
    }

    /// Of any length.
    fn int(&mut self) -> i64 {
        self.rng.random::<i64>() >> self.rng.random_range(0..64)
    }

    fn time(&mut self) -> i64 {
        if self.rng.random_bool(0.2) {
            TIMES[self.rng.random_range(0..TIMES.len())]
        } else {
            1_700_000_000_000_000_000 + self.rng.random_range(0..3_600_000_000_000)
        }
    }

    fn overflow(&mut self, rows: usize) -> StringArray {
        (0..rows).map(|_| self.rng.random_bool(0.3).then(|| self.object())).collect()
    }

    fn object(&mut self) -> String {
        let mut text = String::new();
        let mut object = ObjectWriter::new(&mut text);
        for _ in 0..self.rng.random_range(1..4) {
            let key = KEYS[self.rng.random_range(0..KEYS.len())];
            let value = match self.rng.random_range(0..7) {
                0 => Value::Null,
                1 => Value::Bytes(vec![0, 255]),
                2 => Value::Array(vec![Value::Int(1), Value::String("}".to_owned())]),
                3 => Value::Map(vec![("$a".to_owned(), Value::Double(f64::INFINITY))]),
                4 => Value::Int(self.rng.random()),
                5 => Value::Bool(true),
                _ => Value::String(TEXTS[self.rng.random_range(0..TEXTS.len())].to_owned()),
            };
            write_value(object.key(key), &value);
        }
        object.finish();
        text
    }
}

/// A point that was an int has the double that is nearest to it.
fn nearest_doubles(fields: &[FieldRef], columns: &mut [ArrayRef]) {
    let at = |name: &str| fields.iter().position(|field| field.name() == name).unwrap();
    let doubles = columns[at("value")].as_primitive::<Float64Type>().iter();
    let ints = columns[at("value_int")].as_primitive::<Int64Type>().iter();
    let nearest = doubles.zip(ints).map(|(double, int)| int.map(|int| int as f64).or(double));
    columns[at("value")] = Arc::new(nearest.collect::<Float64Array>());
}

/// Every row of these batches as text, sorted: equal exactly where the rows are equal, order and
/// the choice between column and overflow aside.
pub(crate) fn canonical(table: Table, batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<String> =
        batches.iter().flat_map(|batch| canonical_batch(table, batch)).collect();
    rows.sort_unstable();
    rows
}

fn canonical_batch(table: Table, batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("∅");
    let mut rows = vec![String::new(); batch.num_rows()];
    for field in fixed_fields(table) {
        if MapColumn::ALL.iter().any(|map| map.name() == field.name()) {
            continue;
        }
        let column = batch.column_by_name(field.name()).unwrap();
        assert_eq!(column.data_type(), field.data_type(), "{}", field.name());
        let formatter = ArrayFormatter::try_new(column, &options).unwrap();
        for (at, row) in rows.iter_mut().enumerate() {
            row.push_str(&format!("{}={}|", field.name(), formatter.value(at)));
        }
    }
    for map in MapColumn::ALL {
        let texts = MapCells::of_batch(batch, map).texts(batch.num_rows());
        for (text, row) in texts.iter().zip(&mut rows) {
            let mut entries = text.map_or_else(Vec::new, |text| parse_object(text).unwrap());
            entries.sort_by(|(key, _), (other, _)| key.cmp(other));
            row.push_str(&format!("{map:?}={entries:?}|"));
        }
    }
    rows
}
