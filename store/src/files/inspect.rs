//! Whether a file is what the catalog says of it.
//!
//! The footer alone proves size, rows, times, columns and statistics against each other; a deep
//! look reads every row and proves them against the rows. An attribute column that no row has
//! anything in is no fault: a merge chooses columns by counts, and where a key is repeated in a row,
//! or its rows were erased, nothing may be left for one.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::TimestampNanosecondType;
use futures::TryStreamExt;
use object_store::ObjectStore;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use super::fetch::Bare;
use super::footer::{description, fetch_metadata};
use super::overflow::KeysSeen;
use super::prune::leaf;
use super::read::read_rows;
use crate::catalog::FileEntry;
use crate::error::Error;
use crate::model::TimeRange;
use crate::schema::MapColumn;
use crate::work::off_runtime;

/// What is wrong with a file, each in words; nothing where it is whole. An error is one of the
/// bucket: nobody knows then.
pub(crate) async fn inspect(
    bucket: Arc<dyn ObjectStore>,
    entry: &Arc<FileEntry>,
    deep: bool,
) -> Result<Vec<String>, Error> {
    match footer(&bucket, entry).await {
        Ok((metadata, faults)) if deep && faults.is_empty() => {
            rows(bucket, entry, &metadata).await.or_else(damage)
        }
        Ok((_, faults)) => Ok(faults),
        Err(error) => damage(error),
    }
}

/// A file that cannot be read is a fault of the file; a bucket that does not answer is not.
fn damage(error: Error) -> Result<Vec<String>, Error> {
    let chain = |error: &dyn std::error::Error| {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
    };
    match error {
        Error::Parquet { .. } | Error::Damaged { .. } | Error::Arrow { .. } => {
            Ok(vec![format!("it cannot be read: {}", chain(&error))])
        }
        Error::Bucket { source: object_store::Error::NotFound { .. }, .. } => {
            Ok(vec!["it is in the catalog but not in the bucket".to_owned()])
        }
        other => Err(other),
    }
}

async fn footer(
    bucket: &Arc<dyn ObjectStore>,
    entry: &Arc<FileEntry>,
) -> Result<(Arc<ParquetMetaData>, Vec<String>), Error> {
    let path = entry.path();
    let metadata = fetch_metadata(Bare::new(bucket).of(&path), entry.bytes).await?;
    let said = description(&metadata, &path)?.entry(entry.id, entry.bytes);
    let mut faults = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
    expect(said.table == entry.table, format!("its footer says it is of {}", said.table));
    expect(said.rows == entry.rows, format!("its footer says {} rows", said.rows));
    expect(said.time == entry.time, format!("its footer says its rows are of {:?}", said.time));
    expect(said.layout == entry.layout, "its footer names other attributes".to_owned());
    let groups: u64 = metadata.row_groups().iter().map(rows_of).sum();
    expect(groups == entry.rows, format!("its row groups have {groups} rows"));
    let columns = attribute_columns(&metadata);
    let named = entry.layout.attributes.iter().map(|column| column.map.column(&column.key));
    expect(columns == named.collect(), format!("its attribute columns are {columns:?}"));
    let within = metadata.row_groups().iter().all(|group| lies_within(group, entry.bytes));
    expect(within, "some of its columns lie beyond its end".to_owned());
    faults.extend(times(&metadata, entry));
    Ok((Arc::new(metadata), faults))
}

fn rows_of(group: &RowGroupMetaData) -> u64 {
    u64::try_from(group.num_rows()).unwrap_or(0)
}

fn lies_within(group: &RowGroupMetaData, bytes: u64) -> bool {
    group.columns().iter().all(|column| {
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let end = start.checked_add(column.compressed_size());
        start >= 0 && end.and_then(|end| u64::try_from(end).ok()).is_some_and(|end| end <= bytes)
    })
}

fn attribute_columns(metadata: &ParquetMetaData) -> BTreeSet<String> {
    let root = metadata.file_metadata().schema_descr().root_schema();
    let names = root.get_fields().iter().map(|field| field.name().to_owned());
    names.filter(|name| MapColumn::parse(name).is_some()).collect()
}

/// The least and greatest microsecond of a row group, by its statistics.
fn micros(metadata: &ParquetMetaData, entry: &FileEntry, group: usize) -> Option<(i64, i64)> {
    let schema = metadata.file_metadata().schema_descr();
    let column = leaf(schema, entry.table.time_column())?;
    let Statistics::Int64(times) = metadata.row_group(group).column(column).statistics()? else {
        return None;
    };
    times.min_opt().copied().zip(times.max_opt().copied())
}

/// The statistics of all row groups together say the same times as the catalog.
fn times(metadata: &ParquetMetaData, entry: &FileEntry) -> Option<String> {
    let groups = 0..metadata.num_row_groups();
    let mut all: Option<(i64, i64)> = None;
    for group in groups {
        let Some((first, last)) = micros(metadata, entry, group) else {
            return Some(format!("row group {group} has no statistics of time"));
        };
        all = Some(all.map_or((first, last), |(least, most)| (least.min(first), most.max(last))));
    }
    let expected = (entry.time.start().0, entry.time.end().0 - 1);
    let expected = (expected.0.div_euclid(1000), expected.1.div_euclid(1000));
    (all != Some(expected)).then(|| {
        format!("its statistics say microseconds {all:?} where the catalog says {expected:?}")
    })
}

/// What is learnt from rows, batch by batch.
#[derive(Debug, Default)]
struct Seen {
    rows: usize,
    time: Option<(i64, i64)>,
    /// The same by row group, as far as rows came.
    groups: Vec<Option<(i64, i64)>>,
    keys: KeysSeen,
}

/// Reads every row.
async fn rows(
    bucket: Arc<dyn ObjectStore>,
    entry: &Arc<FileEntry>,
    metadata: &Arc<ParquetMetaData>,
) -> Result<Vec<String>, Error> {
    let mut batches = read_rows(bucket, entry, TimeRange::ALL, None);
    let mut seen = Seen { groups: vec![None; metadata.num_row_groups()], ..Seen::default() };
    while let Some(batch) = batches.try_next().await? {
        let (entry, metadata) = (Arc::clone(entry), Arc::clone(metadata));
        let look = move || seen.add(&batch, &entry, &metadata);
        seen = off_runtime("checking rows", look).await?;
    }
    Ok(seen.faults(entry, metadata))
}

impl Seen {
    fn add(
        mut self,
        batch: &RecordBatch,
        entry: &FileEntry,
        metadata: &ParquetMetaData,
    ) -> Result<Self, Error> {
        let column = |name: &str| batch.column_by_name(name);
        if let Some(times) = column(entry.table.time_column()) {
            self.add_times(times, metadata);
        }
        for (map, name) in [MapColumn::Attributes, MapColumn::Resource].map(|map| (map, map.name()))
        {
            if let Some(texts) = column(name) {
                self.keys.scan(map, texts)?;
            }
        }
        self.rows += batch.num_rows();
        Ok(self)
    }

    fn add_times(&mut self, times: &ArrayRef, metadata: &ParquetMetaData) {
        let mut start = 0;
        for (group, seen) in metadata.row_groups().iter().zip(&mut self.groups) {
            let end = start + usize::try_from(group.num_rows()).unwrap_or(0);
            let from = start.max(self.rows);
            let to = end.min(self.rows + times.len());
            if from < to {
                let here = range(&times.slice(from - self.rows, to - from));
                *seen = join(*seen, here);
                self.time = join(self.time, here);
            }
            start = end;
        }
    }

    fn faults(self, entry: &FileEntry, metadata: &ParquetMetaData) -> Vec<String> {
        let Self { rows, time, groups, keys } = self;
        let mut faults = Vec::new();
        if rows as u64 != entry.rows {
            faults.push(format!("it has {rows} rows, and the catalog says {}", entry.rows));
        }
        if time != Some((entry.time.start().0, entry.time.end().0 - 1)) {
            faults.push(format!("its rows are of {time:?}, and the catalog says {:?}", entry.time));
        }
        for (group, seen) in groups.into_iter().enumerate() {
            let seen = seen.map(|(first, last)| (first.div_euclid(1000), last.div_euclid(1000)));
            if seen != micros(metadata, entry, group) {
                faults.push(format!("the statistics of row group {group} do not fit its rows"));
            }
        }
        faults.extend(overflow(keys, entry));
        faults
    }
}

/// What is in the overflow and must not be there.
fn overflow(keys: KeysSeen, entry: &FileEntry) -> Vec<String> {
    let layout = &entry.layout;
    let mut faults = Vec::new();
    for ((map, key), kinds) in keys.finish() {
        let whole = layout.attributes.iter().any(|it| it.whole && it.map == map && it.key == key);
        if whole {
            faults.push(format!("`{key}` is in its overflow, though its column has all of it"));
        }
        let listed = layout.overflow.iter().find(|it| it.map == map && it.key == key);
        let known = listed.is_some_and(|it| kinds.iter().all(|kind| it.kinds.contains(kind)));
        if layout.overflow_listed && !known {
            faults.push(format!("`{key}` is in its overflow, and the catalog does not say so"));
        }
    }
    faults
}

fn range(times: &ArrayRef) -> Option<(i64, i64)> {
    let times = times.as_primitive_opt::<TimestampNanosecondType>()?;
    min(times).zip(max(times))
}

fn join(one: Option<(i64, i64)>, other: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}
