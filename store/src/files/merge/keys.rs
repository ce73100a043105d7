//! In which order the rows of sorted lanes follow one another in one.
//!
//! Invariant: each row is taken once or, where it is not to stay, passed over once; rows of one
//! lane stay in its order. Of each lane some keys are held at a time, and never its other columns.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Schema, TimestampNanosecondType};
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::super::order::{series, sort_columns};
use super::super::shape::{from_file, parts};
use super::input::Input;
use super::lanes::Lane;
use super::{FETCHES_PARALLEL, Keep};
use crate::error::Error;
use crate::model::{Table, TimeRange, UnixNanos};
use crate::schema::{MapColumn, fixed_fields};
use crate::work::off_runtime;

/// Rows that are spliced together at a time.
pub(super) const STEP_ROWS: u32 = 8_192;

/// Rows of one lane that follow one another in the output, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Of which lane.
    pub(super) lane: u32,
    /// Rows passed over since that lane's last run.
    pub(super) skip: u32,
    /// Rows taken.
    pub(super) take: u32,
}

/// One row group of the output.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Its runs, in steps of at most [`STEP_ROWS`] rows.
    pub(super) steps: Vec<Vec<Run>>,
    /// Its rows.
    pub(super) rows: usize,
    step_rows: u32,
}

impl Group {
    fn push(&mut self, run: Run) {
        self.rows += run.take as usize;
        if self.steps.is_empty() || self.step_rows == STEP_ROWS {
            self.steps.push(Vec::new());
            self.step_rows = 0;
        }
        self.step_rows += run.take;
        let Some(step) = self.steps.last_mut() else { return };
        match step.last_mut() {
            Some(last) if last.lane == run.lane && run.skip == 0 => last.take += run.take,
            _ => step.push(run),
        }
    }

    /// Rows that the step under construction still takes.
    fn step_room(&self) -> u32 {
        match self.step_rows {
            STEP_ROWS => STEP_ROWS,
            rows => STEP_ROWS - rows,
        }
    }
}

/// Some row groups of the output, and the rows of each lane that they take or pass over.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) groups: Vec<Group>,
    /// One a lane.
    pub(super) rows: Vec<Range<u64>>,
}

/// The keys of some rows that follow each other in a lane.
#[derive(Debug)]
struct Keys {
    texts: Vec<(Int32Array, StringArray)>,
    series: Vec<u64>,
    times: Vec<i64>,
    keep: Option<BooleanArray>,
}

impl Keys {
    fn text(&self, nth: usize, row: usize) -> &str {
        let (keys, texts) = &self.texts[nth];
        let key = keys.is_valid(row).then(|| keys.value(row));
        key.and_then(|key| usize::try_from(key).ok()).map_or("", |key| texts.value(key))
    }

    fn compare(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        let texts = (0..self.texts.len())
            .map(|nth| self.text(nth, row).cmp(other.text(nth, other_row)))
            .find(|order| order.is_ne());
        let series = |keys: &Self, row: usize| keys.series.get(row).copied();
        texts
            .unwrap_or_else(|| series(self, row).cmp(&series(other, other_row)))
            .then_with(|| self.times[row].cmp(&other.times[other_row]))
    }

    fn keeps(&self, row: usize) -> bool {
        self.keep.as_ref().is_none_or(|keep| keep.is_valid(row) && keep.value(row))
    }
}

/// Where the merge stands in one lane.
struct Cursor {
    /// The row groups whose keys were not read yet.
    groups: std::vec::IntoIter<Range<u64>>,
    reader: Option<ParquetRecordBatchReader>,
    keys: Option<Keys>,
    /// In `keys`.
    at: usize,
    /// Rows passed over since the last that was taken.
    skipped: u32,
    /// In the file, after the last row that was taken.
    taken_to: u64,
}

/// Why merging paused.
enum Pause {
    /// The keys of some lane's next row group must be read.
    Load,
    Full,
    Done,
}

/// See the module.
pub(super) struct KeyMerge {
    table: Table,
    inputs: Arc<Vec<Input>>,
    lanes: Arc<Vec<Lane>>,
    keep: Option<Arc<dyn Keep>>,
    cursors: Vec<Cursor>,
    /// Lanes with keys at hand, in the order of those.
    order: Vec<usize>,
    time: Option<TimeRange>,
    rows: u64,
}

impl KeyMerge {
    pub(super) fn new(
        table: Table,
        inputs: Arc<Vec<Input>>,
        lanes: Arc<Vec<Lane>>,
        keep: Option<Arc<dyn Keep>>,
    ) -> Self {
        let cursors = lanes.iter().map(|lane| {
            let groups = inputs[lane.input].groups_of(&lane.rows).map(|(_, rows)| rows);
            Cursor {
                groups: groups.collect::<Vec<_>>().into_iter(),
                reader: None,
                keys: None,
                at: 0,
                skipped: 0,
                taken_to: lane.rows.start,
            }
        });
        let cursors = cursors.collect();
        Self { table, inputs, lanes, keep, cursors, order: Vec::new(), time: None, rows: 0 }
    }

    /// The times of the rows taken so far, and how many they are.
    pub(super) const fn taken(&self) -> (Option<TimeRange>, u64) {
        (self.time, self.rows)
    }

    /// The next row groups, at most `groups_max`; none at the end.
    pub(super) async fn advance(
        mut self,
        bucket: &Arc<dyn ObjectStore>,
        groups_max: usize,
        group_rows: usize,
    ) -> Result<(Self, Option<Window>), Error> {
        let began: Vec<u64> = self.cursors.iter().map(|cursor| cursor.taken_to).collect();
        let mut groups = vec![Group::default()];
        loop {
            self.load(bucket).await?;
            let work = move || {
                let pause = self.merge(&mut groups, groups_max, group_rows)?;
                Ok((self, groups, pause))
            };
            let pause;
            (self, groups, pause) = off_runtime("merging keys", work).await?;
            if !matches!(pause, Pause::Load) {
                break;
            }
        }
        groups.retain(|group| group.rows > 0);
        let rows = began.into_iter().zip(&self.cursors).map(|(from, cursor)| from..cursor.taken_to);
        let rows = rows.collect();
        let window = (!groups.is_empty()).then_some(Window { groups, rows });
        Ok((self, window))
    }

    /// Fetches the keys of the next row group of every lane that has none at hand.
    async fn load(&mut self, bucket: &Arc<dyn ObjectStore>) -> Result<(), Error> {
        let whole = self.keep.is_some();
        let mut fetches = Vec::new();
        for (lane, cursor) in self.lanes.iter().zip(&mut self.cursors) {
            if cursor.reader.is_some() || cursor.keys.is_some() {
                continue;
            }
            let Some(rows) = cursor.groups.next() else { continue };
            let input = &self.inputs[lane.input];
            fetches.push(async move {
                let roots = key_roots(input, whole);
                let wanted = |root: &str| roots.iter().any(|name| name == root);
                let fetched = input.fetch(bucket, &rows, wanted).await?;
                let roots: Vec<&str> = roots.iter().map(String::as_str).collect();
                cursor.reader = Some(input.decode(&fetched, &rows, &roots)?);
                Ok(())
            });
        }
        stream::iter(fetches).buffer_unordered(FETCHES_PARALLEL).try_collect().await
    }

    /// Merges until a lane needs its next row group, or there are enough rows.
    fn merge(
        &mut self,
        groups: &mut Vec<Group>,
        groups_max: usize,
        group_rows: usize,
    ) -> Result<Pause, Error> {
        for at in 0..self.cursors.len() {
            if !self.order.contains(&at) && !self.enter(at)? {
                return Ok(Pause::Load);
            }
        }
        loop {
            let Some(first) = self.order.first().copied() else { return Ok(Pause::Done) };
            if groups.last().is_some_and(|group| group.rows == group_rows) {
                if groups.len() == groups_max {
                    return Ok(Pause::Full);
                }
                groups.push(Group::default());
            }
            let Some(group) = groups.last_mut() else { return Ok(Pause::Full) };
            let room = (group_rows - group.rows).min(group.step_room() as usize);
            let run = self.take_run(first, room);
            group.push(run);
            self.order.remove(0);
            if !self.enter(first)? {
                return Ok(Pause::Load);
            }
        }
    }

    /// Puts a lane at its place among those with keys at hand; `false` where its next row group
    /// must be read first. A lane that has come to its end has no place.
    fn enter(&mut self, at: usize) -> Result<bool, Error> {
        let keep = self.keep.as_deref();
        let input = &self.inputs[self.lanes[at].input];
        if !self.cursors[at].find_row(self.table, input, keep)? {
            return Ok(self.cursors[at].groups.len() == 0);
        }
        let place = self.order.partition_point(|other| self.compare(*other, at).is_lt());
        self.order.insert(place, at);
        Ok(true)
    }

    fn compare(&self, one: usize, other: usize) -> Ordering {
        self.compare_row(one, self.cursors[one].at, other)
    }

    /// A row of a lane against the next one of another; of equal ones the earlier lane's is first.
    fn compare_row(&self, one: usize, row: usize, other: usize) -> Ordering {
        let (here, there) = (&self.cursors[one], &self.cursors[other]);
        let keys = here.keys.as_ref().zip(there.keys.as_ref());
        let order =
            keys.map_or(Ordering::Equal, |(keys, others)| keys.compare(row, others, there.at));
        order.then(one.cmp(&other))
    }

    /// Takes as many rows of a lane as come before the next row of any other.
    fn take_run(&mut self, first: usize, room: usize) -> Run {
        let cursor = &self.cursors[first];
        let (at, rows) = (cursor.at, cursor.keys.as_ref().map_or(0, |keys| keys.times.len()));
        let most = room.min(rows - at);
        let next = self.order.get(1).copied();
        let before =
            |row: usize| next.is_none_or(|next| self.compare_row(first, row, next).is_lt());
        let stays = |row: usize| cursor.keys.as_ref().is_some_and(|keys| keys.keeps(row));
        let mut take = gallop(most, |nth| before(at + nth));
        if self.keep.is_some() {
            take = (1..take).find(|nth| !stays(at + nth)).unwrap_or(take);
        }
        let times = cursor.keys.as_ref().map_or(&[][..], |keys| &keys.times[at..at + take]);
        if let Some((first, last)) = times.iter().min().zip(times.iter().max()) {
            let here = TimeRange::covering(UnixNanos(*first), UnixNanos(*last));
            self.time = Some(self.time.map_or(here, |time| time.union(&here)));
        }
        self.rows += take as u64;
        let take = u32::try_from(take).expect("a step is no longer than that");
        let cursor = &mut self.cursors[first];
        let skip = std::mem::take(&mut cursor.skipped);
        cursor.at += take as usize;
        cursor.taken_to += u64::from(skip) + u64::from(take);
        Run { lane: u32::try_from(first).expect("lanes are bounded"), skip, take }
    }
}

/// How many of the first `most` are before, at least one: found in steps that double, for runs are
/// long or short.
fn gallop(most: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut yes, mut no) = (0, 1);
    while no < most && before(no) {
        yes = no;
        no *= 2;
    }
    let mut no = no.min(most);
    while no - yes > 1 {
        let middle = yes + (no - yes) / 2;
        if before(middle) { yes = middle } else { no = middle }
    }
    yes + 1
}

impl Cursor {
    /// Goes on to the next row that stays; `false` where none is at hand.
    fn find_row(
        &mut self,
        table: Table,
        input: &Input,
        keep: Option<&dyn Keep>,
    ) -> Result<bool, Error> {
        loop {
            while let Some(keys) = &self.keys {
                if self.at == keys.times.len() {
                    self.keys = None;
                } else if keys.keeps(self.at) {
                    return Ok(true);
                } else {
                    self.at += 1;
                    self.skipped += 1;
                }
            }
            let Some(batch) = self.reader.as_mut().and_then(Iterator::next) else {
                self.reader = None;
                return Ok(false);
            };
            let batch = batch.map_err(|source| arrow_failed(input, source))?;
            self.keys = Some(keys_of(table, input, &batch, keep)?);
            self.at = 0;
        }
    }
}

fn arrow_failed(input: &Input, source: arrow::error::ArrowError) -> Error {
    Error::Arrow { action: format!("read keys of `{}`", input.entry.path()), source }
}

/// The columns that keys are made from; all of them where rows must be seen whole.
pub(super) fn key_roots(input: &Input, whole: bool) -> Vec<String> {
    let table = input.entry.table;
    let time = table.time_column();
    let mut roots: Vec<String> = if whole {
        fixed_fields(table).iter().flat_map(|field| parts(field.name())).collect()
    } else {
        sort_columns(table).iter().chain([&time]).flat_map(|name| parts(name)).collect()
    };
    if whole || table == Table::Metrics {
        let attributes = input.entry.layout.attributes.iter();
        roots.extend(attributes.map(|attribute| attribute.map.column(&attribute.key)));
    }
    roots
}

fn keys_of(
    table: Table,
    input: &Input,
    batch: &RecordBatch,
    keep: Option<&dyn Keep>,
) -> Result<Keys, Error> {
    let rows = row_shape(table, batch).map_err(|source| arrow_failed(input, source))?;
    let missing = |name: &str| input.damaged(format!("it has no column `{name}`"));
    let column = |name: &str| rows.column_by_name(name).ok_or_else(|| missing(name));
    let time = table.time_column();
    let times = column(time)?.as_primitive_opt::<TimestampNanosecondType>();
    let times = times.ok_or_else(|| missing(time))?.values().to_vec();
    let mut texts = Vec::new();
    for name in sort_columns(table).iter().filter(|name| **name != time) {
        let shared = column(name)?.as_dictionary_opt::<Int32Type>();
        let shared = shared.ok_or_else(|| missing(name))?;
        let values = shared.values().as_string_opt::<i32>().ok_or_else(|| missing(name))?;
        texts.push((shared.keys().clone(), values.clone()));
    }
    let series = match table {
        Table::Metrics => series(attributes_of(&rows), rows.num_rows()),
        _ => Vec::new(),
    };
    let keep = keep.map(|keep| keep.keeps(&rows)).transpose()?;
    Ok(Keys { texts, series, times, keep })
}

/// The attribute columns of a batch.
fn attributes_of(rows: &RecordBatch) -> impl Iterator<Item = ((MapColumn, &str), &ArrayRef)> {
    let fields = rows.schema_ref().fields().iter().zip(rows.columns());
    fields.filter_map(|(field, column)| Some((MapColumn::parse(field.name())?, column)))
}

/// What a batch of a file has of the row shape.
fn row_shape(table: Table, batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let find = |name: &str| batch.column_by_name(name);
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for field in fixed_fields(table) {
        if let Some(column) = from_file(&field, &find)? {
            fields.push(field);
            columns.push(column);
        }
    }
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if MapColumn::parse(field.name()).is_some() {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
