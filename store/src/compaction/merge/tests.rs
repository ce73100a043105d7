//! Merging random files.

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt64Array, new_null_array,
};
use arrow::compute::{cast, concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, TimestampNanosecondType, UInt32Type};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use parquet::file::reader::{FileReader, SerializedFileReader};
use ulid::Ulid;

use super::*;
use crate::bucket::Puts;
use crate::bucket::faulty::{Fault, Faults, Faulty};
use crate::catalog::FileLayout;
use crate::files::tests::earlier::of_version_1;
use crate::files::tests::generate::{Generator, canonical};
use crate::files::{FileOrigin, Keep, RoomMetrics, WriteRequest, inspect, read_rows, write};
use crate::index::TracePrints;
use crate::model::{FileId, Table, TimeRange, UnixNanos};
use crate::schema::{AttributeType, fixed_fields, text_type};
use crate::store::partition::partition;

fn origin() -> FileOrigin {
    FileOrigin { record: "catalog/compactions/1".to_owned(), log: None }
}

/// A bucket in memory and a source of random files.
struct Bench {
    bucket: Bucket,
    faults: Faults,
    generator: Generator,
}

/// A file and its rows.
type Part = (Arc<FileEntry>, Vec<RecordBatch>);

/// A file of each hour that random rows fell into.
type Hours = Vec<Part>;

impl Bench {
    fn new(seed: u64) -> Self {
        let faults = Faults::default();
        let bucket = Faulty::bucket(InMemory::new(), &faults, Puts::CreateOnly);
        Self { bucket, faults, generator: Generator::new(seed) }
    }

    /// Random rows as files, one an hour, and the rows of each.
    async fn files(&mut self, table: Table, rows_max: usize, group_rows: usize) -> Hours {
        let batch = self.generator.batch(table, rows_max);
        self.put_rows(table, batch, group_rows).await
    }

    async fn put(&self, batch: RecordBatch) -> Hours {
        self.put_rows(Table::Logs, batch, 1000).await
    }

    async fn put_rows(&self, table: Table, batch: RecordBatch, group_rows: usize) -> Hours {
        let rows = crate::RowBatch { table, rows: batch, time: TimeRange::ALL };
        let mut hours = Vec::new();
        for part in partition(&[rows]).unwrap() {
            let request = WriteRequest {
                id: FileId(Ulid::from(rand::random::<u128>())),
                table,
                hour: part.hour,
                rows: part.rows.clone(),
                origin: origin(),
                row_group_rows_max: group_rows,
            };
            let file = write(request).unwrap();
            let path = Path::from(file.entry.path());
            self.bucket.objects().put(&path, file.bytes.into()).await.unwrap();
            hours.push((Arc::new(file.entry), part.rows));
        }
        hours
    }

    /// The same as an earlier build put them.
    async fn put_of_version_1(&mut self) -> Hours {
        let rows = self.generator.batch(Table::Metrics, 300);
        let mut hours = self.put_rows(Table::Metrics, rows, 90).await;
        for (entry, rows) in &mut hours {
            let request = WriteRequest {
                id: entry.id,
                table: entry.table,
                hour: entry.hour,
                rows: rows.clone(),
                origin: origin(),
                row_group_rows_max: 90,
            };
            let mut file = write(request).unwrap();
            of_version_1(&mut file);
            let path = Path::from(file.entry.path());
            self.bucket.objects().put(&path, file.bytes.into()).await.unwrap();
            *entry = Arc::new(file.entry);
        }
        hours
    }

    /// A file of so many rows whose attributes are these: the overflow of its first row, and one
    /// column.
    async fn file_with(&mut self, rows: usize, overflow: &str, column: Option<ArrayRef>) -> Part {
        let mut batch = self.generator.batch(Table::Logs, 1);
        let fixed = fixed_fields(Table::Logs);
        let mut fields = fixed.clone();
        let taken = UInt64Array::from(vec![0; rows]);
        batch = take_record_batch(&batch, &taken).unwrap();
        let mut texts = vec![None; rows];
        texts[0] = Some(overflow);
        let mut columns: Vec<ArrayRef> = Vec::new();
        for field in &fixed {
            columns.push(match field.name().as_str() {
                "attributes" => Arc::new(StringArray::from(texts.clone())),
                "resource" => new_null_array(field.data_type(), rows),
                "time" => {
                    let times = TimestampNanosecondArray::from(vec![5; rows]);
                    Arc::new(times.with_timezone("UTC"))
                }
                name => Arc::clone(batch.column_by_name(name).unwrap()),
            });
        }
        if let Some(column) = column {
            fields.push(Arc::new(Field::new("attributes.k", column.data_type().clone(), true)));
            columns.push(column);
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        self.put(batch).await.remove(0)
    }

    /// `count` files of the hour that has most rows.
    async fn inputs(&mut self, table: Table, count: usize) -> Hours {
        let hour = UnixNanos(1_700_000_000_000_000_000).hour();
        let mut inputs = Vec::new();
        while inputs.len() < count {
            let files = self.files(table, 300, 90).await;
            inputs.extend(files.into_iter().filter(|(file, _)| file.hour == hour));
        }
        inputs
    }

    async fn merge(
        &self,
        inputs: &[Arc<FileEntry>],
        keep: Option<Arc<dyn Keep>>,
        memory_bytes_max: u64,
    ) -> Result<Merged, Error> {
        let request = MergeRequest {
            inputs: inputs.to_vec(),
            keep,
            id: FileId(Ulid::from(rand::random::<u128>())),
            origin: origin(),
            row_group_rows_max: 150,
            memory_bytes_max,
            traced: true,
        };
        let memory = Room::new(memory_bytes_max, RoomMetrics::default());
        merge(&self.bucket, &memory, request).await
    }

    /// The rows of each row group.
    async fn groups(&self, file: &FileEntry) -> Vec<usize> {
        let object = self.bucket.objects().get(&Path::from(file.path())).await.unwrap();
        let reader = SerializedFileReader::new(object.bytes().await.unwrap()).unwrap();
        let groups = reader.metadata().row_groups().iter();
        groups.map(|group| usize::try_from(group.num_rows()).unwrap()).collect()
    }

    async fn read(&self, file: &FileEntry) -> Vec<RecordBatch> {
        let file = Arc::new(file.clone());
        let rows = read_rows(self.bucket.objects(), &file, TimeRange::ALL, None);
        rows.try_collect().await.unwrap()
    }
}

fn entries(inputs: &Hours) -> Vec<Arc<FileEntry>> {
    inputs.iter().map(|(file, _)| Arc::clone(file)).collect()
}

fn rows(inputs: &Hours) -> Vec<RecordBatch> {
    inputs.iter().flat_map(|(_, rows)| rows.clone()).collect()
}

/// Scenario: random files of every table, whose attribute columns, types and overflows differ,
/// are merged with room for all and with next to no memory; what came out is merged again with
/// more files.
/// Guarantees: the rows are those of a model in memory, no more and no less, each row group's in
/// order;
/// the entry says what the file is, and the traces are those of the rows. With next to no memory
/// two files are merged, and never fewer.
#[tokio::test]
async fn a_merge_keeps_every_row() {
    for (seed, table) in (700..).zip(Table::ALL.into_iter().cycle().take(8)) {
        let mut bench = Bench::new(seed);
        let mut model = bench.inputs(table, 2 + usize::try_from(seed % 5).unwrap()).await;
        for memory in [64 << 20, 100_000] {
            let merged = bench.merge(&entries(&model), None, memory).await.unwrap();
            let (output, dropped) = (merged.output.unwrap(), merged.dropped);
            // Of many files some are left for another merge where memory is short.
            let few = memory < 1 << 20;
            assert_eq!(merged.inputs.len(), if few { 2 } else { model.len() });
            model.truncate(merged.inputs.len());
            assert_eq!(merged.inputs, entries(&model));
            let prints = TracePrints::of(table, &rows(&model)).finish();
            assert_eq!(merged.trace_prints, prints);
            let read = bench.read(&output).await;
            assert_eq!(canonical(table, &read), canonical(table, &rows(&model)), "{table}");
            let time = model.iter().map(|(file, _)| file.time).reduce(|one, two| one.union(&two));
            assert_eq!((Some(output.time), dropped), (time, 0));
            assert_sorted(table, &read, &bench.groups(&output).await);
            let again = (Arc::new(output), rows(&model));
            model = bench.inputs(table, 1).await;
            model.push(again);
        }
    }
}

/// That the rows of each row group are in order, and for metrics those of all.
fn assert_sorted(table: Table, rows: &[RecordBatch], groups: &[usize]) {
    let rows = concat_batches(&rows[0].schema(), rows).unwrap();
    let text = |rows: &RecordBatch, name: &str, row: usize| {
        let texts = cast(rows.column_by_name(name).unwrap(), &DataType::Utf8);
        texts.unwrap().as_string::<i32>().value(row).to_owned()
    };
    let groups = if table == Table::Metrics { &[rows.num_rows()][..] } else { groups };
    assert_eq!(groups.iter().sum::<usize>(), rows.num_rows());
    let mut start = 0;
    for length in groups {
        let rows = rows.slice(start, *length);
        start += length;
        let times = rows.column_by_name(table.time_column()).unwrap();
        let times = times.as_primitive::<TimestampNanosecondType>();
        let keys = (0..*length).map(|row| match table {
            Table::Spans => {
                (text(&rows, "service_name", row), text(&rows, "name", row), times.value(row))
            }
            Table::Metrics => {
                (text(&rows, "metric_name", row), text(&rows, "service_name", row), 0)
            }
            _ => (text(&rows, "service_name", row), String::new(), times.value(row)),
        });
        assert!(keys.is_sorted(), "{table}");
    }
}

/// The first and the last time of each row group, in nanoseconds.
async fn spans_of_groups(bench: &Bench, file: &FileEntry) -> Vec<(i64, i64)> {
    let read = bench.read(file).await;
    let read = concat_batches(&read[0].schema(), &read).unwrap();
    let times = read.column_by_name("start_time").unwrap();
    let mut times = times.as_primitive::<TimestampNanosecondType>().values().iter();
    let groups = bench.groups(file).await.into_iter().map(|rows| {
        let times: Vec<i64> = times.by_ref().take(rows).copied().collect();
        (*times.iter().min().unwrap(), *times.iter().max().unwrap())
    });
    groups.collect()
}

/// Scenario: two processes flushed every minute; what they flushed at first is merged, and then that
/// with what they flushed later; with memory for everything, and for hardly a lane.
/// Guarantees: each row group of the output has the rows of minutes that follow one another, of
/// both processes; a second merge leaves row groups in the order of time.
#[tokio::test]
async fn rows_of_one_time_stay_together() {
    const MINUTE: i64 = 60_000_000_000;
    let mut bench = Bench::new(604);
    let hour = UnixNanos(1_700_000_000_000_000_000).hour().0;
    let mut flushed = Vec::new();
    for minute in (0..12).flat_map(|minute| [minute, minute]) {
        let rows = bench.generator.batch(Table::Spans, 200);
        let schema = rows.schema();
        let fields = schema.fields().iter().zip(rows.columns());
        let columns = fields.map(|(field, column)| match field.name() == "start_time" {
            true => {
                let times = vec![hour + minute * MINUTE; rows.num_rows()];
                Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))
            }
            false => Arc::clone(column),
        });
        let rows = RecordBatch::try_new(rows.schema(), columns.collect()).unwrap();
        flushed.extend(entries(&bench.put_rows(Table::Spans, rows, 1000).await));
    }
    let later = flushed.split_off(18);
    let first = bench.merge(&flushed, None, 64 << 20).await.unwrap().output.unwrap();
    let groups = spans_of_groups(&bench, &first).await;
    assert!(groups.len() > 1, "{groups:?}");
    assert!(groups.is_sorted_by(|before, after| before.1 <= after.0), "{groups:?}");

    for memory in [64 << 20, 100_000] {
        let inputs = [later.clone(), vec![Arc::new(first.clone())]].concat();
        let output = bench.merge(&inputs, None, memory).await.unwrap().output.unwrap();
        let groups = spans_of_groups(&bench, &output).await;
        assert!(groups.is_sorted_by_key(|(_, last)| *last), "{groups:?}");
    }
}

/// Scenario: points in a file that an earlier build wrote are merged with such as this one writes.
/// Guarantees: the rows are those that went in, ints and all.
#[tokio::test]
async fn files_of_version_1_are_merged() {
    let mut bench = Bench::new(750);
    let earlier = bench.put_of_version_1().await;
    let (entry, rows_before) = earlier.into_iter().max_by_key(|(file, _)| file.rows).unwrap();
    let mut model = bench.inputs(Table::Metrics, 1).await;
    model.retain(|(file, _)| file.hour == entry.hour);
    assert_eq!(model.len(), 1);
    model.push((entry, rows_before));
    let merged = bench.merge(&entries(&model), None, 64 << 20).await.unwrap();
    let read = bench.read(&merged.output.unwrap()).await;
    assert_eq!(canonical(Table::Metrics, &read), canonical(Table::Metrics, &rows(&model)));
}

/// Scenario: rows have a key again and again, an int first and then texts, so that the merged file
/// has a column of texts for it, and nothing to put there.
/// Guarantees: the rows are those that went in, and a deep look finds the file whole.
#[tokio::test]
async fn a_key_that_rows_repeat_leaves_a_whole_file() {
    let mut bench = Bench::new(760);
    let mut model = Vec::new();
    for _ in 0..2 {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        model.push(bench.file_with(1, r#"{"k":"x","k":"y"}"#, Some(ints)).await);
    }
    let merged = bench.merge(&entries(&model), None, 64 << 20).await.unwrap();
    let output = Arc::new(merged.output.unwrap());
    let read = bench.read(&output).await;
    assert_eq!(canonical(Table::Logs, &read), canonical(Table::Logs, &rows(&model)));
    let column = &output.layout.attributes[0];
    assert_eq!((column.key.as_str(), column.kind), ("k", AttributeType::String));
    assert!(read.iter().all(|rows| {
        rows.column_by_name("attributes.k").is_none_or(|it| it.null_count() == it.len())
    }));
    let faults = inspect(bench.bucket.objects(), &output, true).await.unwrap();
    assert_eq!(faults, Vec::<String>::new());
}

/// Scenario: the catalog says of an input that it has more rows than are in it; no input at all.
/// Guarantees: no merge, so that no row is dropped for good, and no object.
#[tokio::test]
async fn an_input_that_lacks_rows_stops_the_merge() {
    let mut bench = Bench::new(600);
    let mut inputs = entries(&bench.inputs(Table::Metrics, 3).await);
    let rows = inputs[1].rows;
    inputs[1] = Arc::new(FileEntry { rows: rows + 1, ..FileEntry::clone(&inputs[1]) });
    let before = bench.bucket.list("data").await.unwrap().len();
    let error = bench.merge(&inputs, None, 1 << 20).await.unwrap_err();
    assert!(error.to_string().contains(&format!("it holds {rows} rows")), "{error}");
    assert!(bench.merge(&[], None, 1 << 20).await.is_err());
    assert_eq!(bench.bucket.list("data").await.unwrap().len(), before);
}

/// Scenario: the put of the output fails before it was carried out, and after.
/// Guarantees: an error that may be tried again; the next attempt makes the file.
#[tokio::test]
async fn a_failed_put_can_be_tried_again() {
    for fault in [Fault::BeforePut("data/"), Fault::AfterPut("data/")] {
        let mut bench = Bench::new(601);
        let inputs = bench.inputs(Table::Logs, 2).await;
        bench.faults.inject(fault);
        let failed = bench.merge(&entries(&inputs), None, 1 << 20).await.unwrap_err();
        assert!(failed.is_retryable(), "{failed}");
        let merged = bench.merge(&entries(&inputs), None, 1 << 20).await.unwrap();
        let read = bench.read(&merged.output.unwrap()).await;
        assert_eq!(canonical(Table::Logs, &read), canonical(Table::Logs, &rows(&inputs)));
    }
}

/// Keeps the rows whose flags are 0, or none.
#[derive(Debug)]
enum Drops {
    Flagged,
    Everything,
}

impl Keep for Drops {
    fn keeps(&self, rows: &RecordBatch) -> Result<BooleanArray, Error> {
        let flags = rows.column_by_name("flags").unwrap().as_primitive::<UInt32Type>();
        let keep = |flags: &u32| matches!(self, Self::Flagged) && *flags == 0;
        Ok(flags.values().iter().map(keep).map(Some).collect())
    }
}

/// Scenario: a merge of three files, and of one, that is to leave rows out; one that leaves none.
/// Guarantees: exactly the rows that stay are in the output, the others are counted, and where
/// nothing stays there is no file.
#[tokio::test]
async fn a_merge_drops_what_is_to_go_and_counts_it() {
    for table in [Table::Spans, Table::Metrics, Table::Logs] {
        let mut bench = Bench::new(602);
        let inputs = bench.inputs(table, 3).await;
        for inputs in [inputs.clone(), inputs[..1].to_vec()] {
            let before: u64 = inputs.iter().map(|(file, _)| file.rows).sum();
            let stay = |batch: RecordBatch| {
                filter_record_batch(&batch, &Drops::Flagged.keeps(&batch).unwrap()).unwrap()
            };
            let stay: Vec<_> = rows(&inputs).into_iter().map(stay).collect();
            let keep = || Some(Arc::new(Drops::Flagged) as Arc<dyn Keep>);
            let made = bench.merge(&entries(&inputs), keep(), 64 << 20).await.unwrap();
            let output = made.output.unwrap();
            assert!(made.dropped > 0 && output.rows + made.dropped == before);
            let read = bench.read(&output).await;
            assert_eq!(canonical(table, &read), canonical(table, &stay));
            let nothing = Some(Arc::new(Drops::Everything) as Arc<dyn Keep>);
            let nothing = bench.merge(&entries(&inputs), nothing, 64 << 20).await.unwrap();
            assert!(nothing.output.is_none() && nothing.dropped == before);
        }
    }
}

/// Scenario: a key is rare in one file, and in its overflow, as one type and as another, and
/// frequent in the next, where it has a column; a key that had a column among few rows is rare
/// among many.
/// Guarantees: the frequent key has one column, with every entry of its type; what is of another
/// type, and the rare key, are in the overflow; the entry says so; every row is kept.
#[tokio::test]
async fn columns_are_decided_anew() {
    let mut bench = Bench::new(603);
    let texts = |text: &str, rows: usize| {
        let texts = StringArray::from(vec![text; rows]);
        Some(cast(&texts, &text_type()).unwrap())
    };
    let inputs = vec![
        bench.file_with(600, r#"{"k":"here","x":[1]}"#, None).await,
        bench.file_with(600, r#"{"z":true}"#, texts("there", 600)).await,
    ];
    let lifted = bench.merge(&entries(&inputs), None, 1 << 20).await.unwrap().output.unwrap();
    let layout = &lifted.layout;
    let [column] = layout.attributes.as_slice() else { panic!("{layout:?}") };
    assert!(column.key == "k" && column.kind == AttributeType::String && column.whole);
    let keys = |layout: &FileLayout| {
        layout.overflow.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(keys(layout), ["x", "z"]);
    let read = bench.read(&lifted).await;
    assert_eq!(canonical(Table::Logs, &read), canonical(Table::Logs, &rows(&inputs)));

    let ints: ArrayRef = Arc::new(Int64Array::from(vec![7; 2]));
    let other = bench.file_with(2, r#"{"k":1.5}"#, Some(ints)).await;
    let mut inputs = vec![(Arc::new(lifted), rows(&inputs)), other];
    let merged = bench.merge(&entries(&inputs), None, 1 << 20).await.unwrap().output.unwrap();
    let layout = &merged.layout;
    assert!(layout.attributes.len() == 1 && !layout.attributes[0].whole, "{layout:?}");
    assert_eq!(keys(layout), ["k", "x", "z"]);
    let read = bench.read(&merged).await;
    assert_eq!(canonical(Table::Logs, &read), canonical(Table::Logs, &rows(&inputs)));

    inputs.truncate(1);
    let few = bench.file_with(3, "{}", texts("few", 3)).await;
    let many = bench.file_with(3000, "{}", None).await;
    let rare = bench.merge(&entries(&vec![few.clone(), many.clone()]), None, 1 << 20).await;
    let rare = rare.unwrap().output.unwrap();
    assert!(rare.layout.attributes.is_empty(), "{:?}", rare.layout);
    assert_eq!(keys(&rare.layout), ["k"]);
    let read = bench.read(&rare).await;
    assert_eq!(canonical(Table::Logs, &read), canonical(Table::Logs, &rows(&vec![few, many])));
}

/// Scenario: rows whose one text of a kilobyte is nearly all of them, no two alike; merged with
/// memory for some of them at a time, and with plenty.
/// Guarantees: every row is kept; no row group has more of that column than its part of the memory,
/// and where there is plenty one has all rows that it may.
#[tokio::test]
async fn long_texts_make_small_row_groups() {
    const ROWS: usize = 600;
    let mut bench = Bench::new(605);
    let mut inputs = Hours::new();
    for file in 0..2 {
        let texts = (0..ROWS).map(|row| format!("{:>1000}", file * ROWS + row));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let column = Some(cast(&texts, &text_type()).unwrap());
        inputs.push(bench.file_with(ROWS, "{}", column).await);
    }
    for (memory, most) in [(1 << 20, 100), (64 << 20, 2 * ROWS)] {
        let merged = bench.merge(&entries(&inputs), None, memory).await.unwrap().output.unwrap();
        let groups = bench.groups(&merged).await;
        assert!(groups.iter().all(|rows| *rows <= most), "{groups:?}");
        assert!(groups.len() <= 2 * (2 * ROWS).div_ceil(most), "{groups:?}");
        let read = bench.read(&merged).await;
        assert_eq!(canonical(Table::Logs, &read), canonical(Table::Logs, &rows(&inputs)));
    }
}
