//! Texts through a file and back, by Parquet's own reader.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;
use proptest::prelude::*;

use super::super::encode::{ColumnEncoder, FileEncoder};
use super::*;
use crate::model::Table;
use crate::schema::text_type;

/// Whether texts of spans are in a dictionary.
fn is_shared(texts: &[Option<String>]) -> bool {
    let field = Arc::new(Field::new("attributes.url.full", text_type(), true));
    let mut encoder = ColumnEncoder::new(Table::Spans, &field, None, texts.len()).unwrap();
    texts.chunks(1_000).for_each(|piece| encoder.write(&column(piece)).unwrap());
    let mut file = FileEncoder::new(Table::Spans, &[Arc::clone(&field)], texts.len()).unwrap();
    file.append(encoder.finish().unwrap()).unwrap();
    let description = parquet::file::metadata::KeyValue::new("k".to_owned(), "v".to_owned());
    let file = Bytes::from(file.finish(description).unwrap());
    assert_eq!(read(&file, ArrowReaderOptions::new()), texts);
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    reader.metadata().row_group(0).column(0).dictionary_page_offset().is_some()
}

/// The name of a column with statistics for each page.
const COLUMN: &str = "metric_name";

fn column(texts: &[Option<String>]) -> ArrayRef {
    let texts: DictionaryArray<Int32Type> = texts.iter().map(Option::as_deref).collect();
    Arc::new(texts)
}

/// A file of one column, whose rows come in these pieces.
fn file(pieces: &[Vec<Option<String>>], optional: bool) -> Bytes {
    let field = Arc::new(Field::new(COLUMN, text_type(), optional));
    let rows = pieces.iter().map(Vec::len).sum::<usize>().max(1);
    let mut encoder = ColumnEncoder::new(Table::Metrics, &field, None, rows).unwrap();
    pieces.iter().for_each(|piece| encoder.write(&column(piece)).unwrap());
    let mut file = FileEncoder::new(Table::Metrics, &[Arc::clone(&field)], rows).unwrap();
    file.append(encoder.finish().unwrap()).unwrap();
    let description = parquet::file::metadata::KeyValue::new("k".to_owned(), "v".to_owned());
    file.finish(description).unwrap().into()
}

fn read(file: &Bytes, options: ArrowReaderOptions) -> Vec<Option<String>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options);
    let batches = reader.unwrap().with_batch_size(100).build().unwrap();
    let texts = |batch: RecordBatch| {
        let texts = batch.column(0).as_string::<i32>().clone();
        texts.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
    };
    batches.flat_map(|batch| texts(batch.unwrap())).collect()
}

fn check(pieces: &[Vec<Option<String>>], optional: bool) {
    let file = file(pieces, optional);
    let all: Vec<Option<String>> = pieces.concat();
    let schema = Schema::new(vec![Field::new(COLUMN, DataType::Utf8, optional)]);
    let options = ArrowReaderOptions::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .with_schema(Arc::new(schema));
    assert_eq!(read(&file, options.clone()), all);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    let metadata = reader.metadata();
    let chunk = metadata.row_group(0).column(0);
    let statistics = chunk.statistics().unwrap();
    let absent = all.iter().filter(|text| text.is_none()).count();
    assert_eq!(statistics.null_count_opt(), Some(absent as u64));
    let (least, most) = (all.iter().flatten().min(), all.iter().flatten().max());
    let Statistics::ByteArray(bounds) = statistics else { panic!("{statistics}") };
    assert_eq!(bounds.min_opt().is_some(), least.is_some());
    if let Some((bound, least)) = bounds.min_opt().zip(least) {
        assert!(bound.data() <= least.as_bytes());
        assert_eq!(bounds.min_is_exact(), bound.data() == least.as_bytes());
    }
    if let Some((bound, most)) = bounds.max_opt().zip(most) {
        assert!(bound.data() >= most.as_bytes());
        assert_eq!(bounds.max_is_exact(), bound.data() == most.as_bytes());
    }
    let pages = &metadata.offset_index().unwrap()[0][0].page_locations;
    assert_eq!(pages[0].first_row_index, 0);
    assert!(pages.windows(2).all(|pair| pair[0].first_row_index < pair[1].first_row_index));
}

/// Texts of all lengths, also beyond what a bound may have, and of any letters.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{0,2}",
        "\\PC{0,5}",
        "\\PC{60,70}",
        Just("\u{10ffff}".repeat(40)),
        Just("\u{7f}".repeat(80)),
    ]
}

proptest! {
    /// Scenario: any texts, in runs of any length, with and without gaps, in pieces whose
    /// dictionaries differ.
    /// Guarantees: Parquet's own reader gives the same rows; bounds hold and say whether they are
    /// exact; pages are in order.
    #[test]
    fn texts_come_back(
        texts in prop::collection::vec(text(), 1..40),
        pieces in prop::collection::vec(
            prop::collection::vec((any::<prop::sample::Index>(), 1_usize..60, 0_u8..8), 1..30),
            1..4,
        ),
        optional in any::<bool>(),
    ) {
        let row = |(at, length, absent): &(prop::sample::Index, usize, u8)| {
            let text = (!optional || *absent > 0).then(|| at.get(&texts).clone());
            std::iter::repeat_n(text, *length)
        };
        let pieces: Vec<Vec<_>> =
            pieces.iter().map(|piece| piece.iter().flat_map(row).collect()).collect();
        check(&pieces, optional);
    }
}

/// Scenario: a column without any text; one with more texts than a dictionary takes; and one with so
/// many that it has many pages.
/// Guarantees: as above.
#[test]
fn odd_columns_come_back() {
    check(&[vec![None; 3_000]], true);
    let many = |count: usize, bytes: usize| {
        (0..count).map(|at| Some(format!("{at:0bytes$}"))).collect::<Vec<_>>()
    };
    check(&[many(3_000, 500)], true);
    check(&[many(20_000, 6)], false);
}

/// Scenario: texts of spans of which each is another, but only behind thousands of rows without any;
/// a few again and again; and few of which each is another.
/// Guarantees: only the first go without a dictionary, and all come back.
#[test]
fn what_seldom_repeats_is_in_no_dictionary() {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let texts = |distinct: u64, count: u64| {
        let url = |at| format!("http://carts:8080/carts/{:x}", hasher.hash_one(at % distinct));
        let none = std::iter::repeat_n(None, 9_000);
        none.chain((0..count).map(|at| Some(url(at)))).collect::<Vec<_>>()
    };
    assert!(!is_shared(&texts(u64::MAX, 20_000)));
    assert!(is_shared(&texts(90, 20_000)));
    assert!(is_shared(&texts(u64::MAX, 300)));
}

/// Scenario: 20,000 texts of 1 KiB, of which each is another, or each of some thousand comes again and again; all rows
/// at once, with a dictionary of their own or without.
/// Guarantees: whatever is in a dictionary is not much more than one is to take, pages are short, and all come back.
#[test]
fn long_texts_make_no_long_page() {
    let text = |at: usize| Some(format!("{at:01024}"));
    for distinct in [20_000, 5_000] {
        let texts: Vec<_> = (0..20_000).map(|row| text(row * 7_919 % distinct)).collect();
        let plain: ArrayRef = Arc::new(StringArray::from_iter(&texts));
        for (data_type, values) in [(text_type(), column(&texts)), (DataType::Utf8, plain)] {
            let field = Arc::new(Field::new("body", data_type, true));
            let mut encoder = ColumnEncoder::new(Table::Logs, &field, None, texts.len()).unwrap();
            encoder.write(&values).unwrap();
            let mut file = FileEncoder::new(Table::Logs, &[field], texts.len()).unwrap();
            file.append(encoder.finish().unwrap()).unwrap();
            let description = parquet::file::metadata::KeyValue::new("k".to_owned(), None);
            let file = Bytes::from(file.finish(description).unwrap());
            assert_eq!(read(&file, ArrowReaderOptions::new()), texts);
            let pages = pages(file);
            let longest = pages.iter().copied().max().unwrap();
            assert!(longest < 3 << 19, "{distinct} of {values:?}: {longest} bytes");
        }
    }
}

/// The length of each page of a file, unpacked.
fn pages(file: Bytes) -> Vec<usize> {
    let reader = SerializedFileReader::new(file).unwrap();
    let pages = reader.get_row_group(0).unwrap().get_column_page_reader(0).unwrap();
    pages.map(|page| page.unwrap().buffer().len()).collect()
}

proptest! {
    /// Scenario: texts of any lengths, a part of a longer column.
    /// Guarantees: the steps are all rows in order, and none is of more letters than one is to have but for
    /// a text that is longer by itself.
    #[test]
    fn steps_are_all_rows(
        lengths in prop::collection::vec(prop::option::of(0_usize..200_000), 1..60),
        from in any::<prop::sample::Index>(),
    ) {
        let from = from.index(lengths.len());
        let text = |(at, length): (u8, &Option<usize>)| {
            length.map(|length| char::from(b'A' + at).to_string().repeat(length))
        };
        let texts: Vec<_> = (0..).zip(&lengths).map(text).collect();
        let plain: ArrayRef = Arc::new(StringArray::from_iter(&texts));
        for values in [column(&texts), plain] {
            let mut next = 0;
            for step in steps(&values.slice(from, lengths.len() - from)) {
                prop_assert_eq!(step.start, next);
                prop_assert!(!step.is_empty());
                next = step.end;
                let bytes: usize = lengths[from..][step.clone()].iter().flatten().sum();
                prop_assert!(bytes <= 256 << 10 || step.len() == 1 || lengths.iter().flatten().sum::<usize>() <= 256 << 10);
            }
            prop_assert_eq!(next, lengths.len() - from);
        }
    }
}
