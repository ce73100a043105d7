//! Against Parquet's own reader.

#![expect(clippy::cast_possible_truncation, reason = "values of a test are cut to any width")]

use arrow::array::RecordBatch;
use arrow::array::{
    Array, BooleanArray, FixedSizeBinaryArray, Float64Array, Int16Array, Int32Array, Int64Array,
    ListArray, StringArray, StructArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::Schema;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::arrow::{ArrowWriter, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::{WriterProperties, WriterVersion};
use proptest::prelude::*;

use arrow::array::AsArray;

use super::*;
use crate::files::chunks::Group;

/// How a table is made and written.
#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    rows: usize,
    /// Of a hundred values.
    nulls: u64,
    /// As many distinct values.
    distinct: u64,
    dictionary: bool,
    delta: bool,
    zstd: bool,
    page_bytes: usize,
    version: WriterVersion,
}

fn cases() -> impl Strategy<Value = Case> {
    let version = prop_oneof![
        2 => Just(WriterVersion::PARQUET_2_0),
        1 => Just(WriterVersion::PARQUET_1_0),
    ];
    let distinct = prop_oneof![Just(1), 2..5_u64, 5..300_u64, Just(u64::MAX)];
    let nulls = prop_oneof![Just(0), 1..100_u64, Just(100)];
    let written = (any::<[bool; 3]>(), 64..4_096_usize, version);
    (any::<u64>(), 1..2_500_usize, nulls, distinct, written).prop_map(
        |(seed, rows, nulls, distinct, ([dictionary, delta, zstd], page_bytes, version))| Case {
            seed,
            rows,
            nulls,
            distinct,
            dictionary,
            delta,
            zstd,
            page_bytes,
            version,
        },
    )
}

impl Case {
    /// As good as random, and alike for some rows in a row now and then.
    fn number(&self, column: u64, row: usize) -> u64 {
        let run = if column.is_multiple_of(2) { 1 } else { 1 + row / 100 % 50 };
        mixed(self.seed ^ column << 48 ^ (row / run) as u64)
    }

    fn value(&self, column: u64, row: usize) -> u64 {
        mixed(self.number(column, row) % self.distinct)
    }

    fn is_here(&self, column: u64, row: usize) -> bool {
        self.number(column + 100, row) % 100 >= self.nulls
    }

    /// Values that may be null.
    fn some<T>(&self, column: u64, value: impl Fn(u64) -> T) -> impl Iterator<Item = Option<T>> {
        (0..self.rows)
            .map(move |row| self.is_here(column, row).then(|| value(self.value(column, row))))
    }

    fn all<T>(&self, column: u64, value: impl Fn(u64) -> T) -> impl Iterator<Item = T> {
        (0..self.rows).map(move |row| value(self.value(column, row)))
    }

    fn table(&self) -> RecordBatch {
        let text = |value: u64| format!("text {value} {}", "é".repeat((value % 9) as usize));
        let ids = |width: i32, ids: Vec<Option<u128>>| -> ArrayRef {
            let ids = ids.into_iter().map(|id| {
                id.map(|id| id.to_le_bytes()[..usize::try_from(width).unwrap()].to_vec())
            });
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, width).unwrap())
        };
        let id = |value: u64| u128::from(value) << 17;
        let lists = self.lists();
        let columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("a", Arc::new(Int64Array::from_iter(self.some(0, u64::cast_signed))), true),
            (
                "b",
                Arc::new(Int64Array::from_iter_values(self.all(1, |v| (v % 900).cast_signed()))),
                false,
            ),
            ("c", Arc::new(Int32Array::from_iter(self.some(2, |v| v as i32))), true),
            ("d", Arc::new(Int16Array::from_iter(self.some(3, |v| v as i16))), true),
            ("e", Arc::new(UInt32Array::from_iter_values(self.all(4, |v| v as u32))), false),
            ("f", Arc::new(UInt64Array::from_iter(self.some(5, |v| v))), true),
            ("g", Arc::new(Float64Array::from_iter(self.some(6, f64::from_bits))), true),
            ("h", Arc::new(BooleanArray::from_iter(self.some(7, |v| v % 2 == 0))), true),
            ("i", Arc::new(StringArray::from_iter(self.some(8, text))), true),
            ("attributes", Arc::new(StringArray::from_iter_values(self.all(9, text))), false),
            ("j", ids(16, self.all(10, id).map(Some).collect()), false),
            ("k", ids(8, self.some(11, id).collect()), true),
            (
                "l",
                Arc::new(
                    TimestampMicrosecondArray::from_iter(self.some(12, u64::cast_signed))
                        .with_timezone("UTC"),
                ),
                true,
            ),
            ("m", Arc::clone(&lists), false),
            ("n", lists, true),
        ];
        let fields = columns.iter().map(|(name, column, nullable)| {
            Field::new(*name, column.data_type().clone(), *nullable)
        });
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let columns = columns.into_iter().map(|(_, column, _)| column).collect();
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    /// Lists that are empty where a value would be null.
    fn lists(&self) -> ArrayRef {
        let lengths = (0..self.rows).map(|row| match self.is_here(20, row) {
            true => (self.number(20, row) % 4) as usize,
            false => 0,
        });
        let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
        let items = usize::try_from(*offsets.last().unwrap()).unwrap();
        let ints = Int64Array::from_iter(
            (0..items).map(|at| self.is_here(21, at).then(|| self.value(21, at).cast_signed())),
        );
        let texts = StringArray::from_iter(
            (0..items).map(|at| self.is_here(22, at).then(|| self.value(22, at).to_string())),
        );
        let structs = StructArray::try_from(vec![
            ("number", Arc::new(ints) as ArrayRef),
            ("text", Arc::new(texts) as ArrayRef),
        ]);
        let structs = structs.unwrap();
        let item = Arc::new(Field::new("element", structs.data_type().clone(), true));
        Arc::new(ListArray::new(item, offsets, Arc::new(structs), None))
    }

    /// The file, as if it had been fetched whole.
    fn written(&self) -> (Footer, Arc<Fetched>) {
        let table = self.table();
        let compression = if self.zstd {
            Compression::ZSTD(Default::default())
        } else {
            Compression::UNCOMPRESSED
        };
        let mut properties = WriterProperties::builder()
            .set_writer_version(self.version)
            .set_compression(compression)
            .set_encoding(Encoding::PLAIN)
            .set_dictionary_enabled(self.dictionary)
            .set_dictionary_page_size_limit(self.page_bytes * 2)
            .set_data_page_size_limit(self.page_bytes)
            .set_write_batch_size(32);
        if self.delta {
            for column in ["a", "b", "c", "d", "e", "f", "l"] {
                properties =
                    properties.set_column_encoding(column.into(), Encoding::DELTA_BINARY_PACKED);
            }
        }
        if self.delta && !self.dictionary {
            properties = properties.set_column_encoding("g".into(), Encoding::BYTE_STREAM_SPLIT);
        }
        let mut writer =
            ArrowWriter::try_new(Vec::new(), table.schema(), Some(properties.build())).unwrap();
        writer.write(&table).unwrap();
        let bytes = Bytes::from(writer.into_inner().unwrap());
        let metadata = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .parse_and_finish(&bytes)
            .unwrap();
        let mut fetched = Fetched::default();
        fetched.add(0, bytes);
        (Footer::of(metadata).unwrap(), Arc::new(fetched))
    }
}

fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// The same rows by Parquet's reader.
fn by_parquet(footer: &Footer, fetched: &Arc<Fetched>) -> RecordBatch {
    let schema = footer.metadata.file_metadata().schema_descr();
    let levels =
        parquet_to_arrow_field_levels(schema, ProjectionMask::all(), Some(&footer.types)).unwrap();
    let group = Group { footer, at: 0, fetched };
    let rows = footer.rows(0);
    let mut reader =
        ParquetRecordBatchReader::try_new_with_row_groups(&levels, &group, rows, None).unwrap();
    reader.next().unwrap().unwrap()
}

fn leaves(footer: &Footer, root: usize) -> Vec<usize> {
    let schema = footer.metadata.file_metadata().schema_descr();
    (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == root).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Scenario: tables of every type that files have, with few or many nulls and distinct values,
    /// written in small pages in every way that files are, and some that they are not; random rows.
    /// Guarantees: a column is what Parquet's reader gives, or is left to that; columns of files as
    /// they are written here are not left to it. What needs no pages comes without any. Ids are
    /// found in just the rows that have them.
    #[test]
    fn points_are_what_parquet_reads(case in cases(), step in 1..400_usize, id in any::<usize>()) {
        let (footer, fetched) = case.written();
        let whole = by_parquet(&footer, &fetched);
        let rows: Vec<usize> = (0..case.rows)
            .filter(|row| mixed(case.seed ^ *row as u64).is_multiple_of(step as u64))
            .collect();
        let places = UInt32Array::from_iter_values(rows.iter().map(|row| *row as u32));
        let points = Points { footer: &footer, group: 0, fetched: &fetched };
        for (root, field) in footer.types.iter().enumerate() {
            let leaves = leaves(&footer, root);
            let column = points.column(field, &leaves, &rows).unwrap();
            if needs_no_pages(&footer, 0, field, &leaves) {
                let nothing = Points { fetched: &Arc::default(), ..points };
                prop_assert_eq!(&nothing.column(field, &leaves, &rows).unwrap(), &column);
                prop_assert!(column.is_some());
            } else if case.nulls == 100 && field.is_nullable() {
                prop_assert!(matches!(field.name().as_str(), "n"), "{}", field.name());
            }
            let wanted = take(whole.column(root), &places, None).unwrap();
            let lists = matches!(field.name().as_str(), "m" | "n");
            let ours = !lists || case.version == WriterVersion::PARQUET_2_0;
            prop_assert!(column.is_some() || lists);
            if let Some(column) = column {
                prop_assert_eq!(column.data_type(), field.data_type());
                prop_assert_eq!(&column, &wanted, "{}", field.name());
            } else if ours && field.name() == "m" {
                let lists = wanted.as_list::<i32>();
                prop_assert!((0..lists.len()).any(|row| !lists.value(row).is_empty()));
            }
        }
        let ids = whole.column_by_name("j").unwrap().as_fixed_size_binary();
        let one = |at: usize| ids.value(at % case.rows).to_vec();
        let sought = vec![one(id), vec![7; 16], one(id / 3)];
        let all = Rows::all(case.rows);
        let leaf = leaves(&footer, footer.types.find("j").unwrap().0)[0];
        let found = points.with_id(leaf, &all, &sought).unwrap().unwrap();
        let having = (0..ids.len()).filter(|row| sought.iter().any(|id| id == ids.value(*row)));
        prop_assert_eq!(found.places(), having.collect::<Vec<_>>());
    }

    /// Scenario: bytes that are no runs, no differences and no texts.
    /// Guarantees: an error at worst, never a panic.
    #[test]
    fn damaged_bytes_are_errors(bytes in prop::collection::vec(any::<u8>(), 0..200), width in 0..40_usize) {
        let places = [0, 3, 40, 600];
        drop(delta::numbers(&bytes, &places));
        if let Ok(mut runs) = runs::Runs::new(&bytes, width) {
            drop(runs.skip(3).and_then(|()| runs.next()));
            drop(runs.find(500, &[0, 5, u32::MAX], &mut Vec::new(), 0));
        }
        if let Ok(mut runs) = runs::Runs::new(&bytes, 1) {
            drop(runs.ones(100).and_then(|_| runs.pass_to_zero(20)));
        }
    }
}
