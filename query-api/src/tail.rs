//! Rows as they arrive, for those who look on.
//!
//! Invariant: at most so many rows a second are handed on, and of the blocks that arrived no more
//! are made into rows than that takes, but always one, as a whole: its rows are not bounded here.
//! What is left out is counted, and so is what was flushed before it could be looked at.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use icecore_store::{
    Condition, ConditionError, LiveBlock, LogPosition, PortError, ReadColumn, Table, TimeRange,
    WriterId, select,
};
use serde::Serialize;

use crate::Error;
use crate::answer::Answers;
use crate::condition::SqlConditions;
use crate::table::columns::{schema_of, table_columns};
use crate::table::shown;

/// How often rows are made of what arrived, in milliseconds, where a row may be shown each time.
const LOOKED_EVERY_MS: u64 = 100;
/// How often it is noted what arrived. Rows that come just before a flush are live for as long as the
/// flush takes, which is hardly ever less than this.
const NOTED_EVERY: Duration = Duration::from_millis(10);
/// The same where some of it arrives at other processes, which are asked each time.
const FAR_NOTED_EVERY: Duration = Duration::from_millis(500);
/// Rows that are made for each that may be handed on: a condition rarely accepts all.
const MADE_FOR_EACH: u64 = 10;

/// What is looked at.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) table: Table,
    /// A condition on rows, as SQL has it.
    pub(crate) condition: Option<String>,
    /// Rows that are handed on in a second, at most.
    pub(crate) rows_per_second: u64,
}

/// What became of the rows that arrived since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    /// That arrived.
    pub(crate) arrived: u64,
    /// Of these, that were looked at.
    pub(crate) looked_at: u64,
    /// Of these, that the condition accepts.
    pub(crate) accepted: u64,
    /// Of these, that are handed on.
    pub(crate) shown: u64,
    /// Whether others were flushed before they could be looked at.
    pub(crate) flushed_unseen: bool,
    /// Ingesters that did not answer, so that nothing of theirs is among what arrived.
    pub(crate) unanswered: usize,
}

impl Seen {
    /// This and what was seen later.
    pub(crate) fn plus(&self, later: &Self) -> Self {
        Self {
            arrived: self.arrived + later.arrived,
            looked_at: self.looked_at + later.looked_at,
            accepted: self.accepted + later.accepted,
            shown: self.shown + later.shown,
            flushed_unseen: self.flushed_unseen || later.flushed_unseen,
            unanswered: self.unanswered.max(later.unanswered),
        }
    }
}

/// Follows what arrives in one table.
pub(crate) struct Follower {
    answers: Arc<Answers>,
    wanted: Wanted,
    chooser: Arc<Chooser>,
    writers: HashMap<WriterId, Place>,
    begun: bool,
    noted: Noted,
}

/// What arrived since the last look. Noted blocks can be read whatever is flushed meanwhile.
#[derive(Default)]
struct Noted {
    fresh: Vec<Fresh>,
    flushed_unseen: bool,
    unanswered: usize,
}

/// Which rows are chosen, and what is read of them.
struct Chooser {
    table: Table,
    condition: Option<Arc<dyn Condition>>,
    schema: SchemaRef,
    reads: Vec<ReadColumn>,
}

/// How far the rows of one writer were seen.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The last block with rows of the table, and how many rows it had: it may have more later.
    last: Option<(LogPosition, u64)>,
    /// The end of the blocks with rows of the table that were seen.
    seen_to: LogPosition,
    /// The end of what was seen of any table.
    to: LogPosition,
}

/// A block with rows that were not seen yet.
struct Fresh {
    writer: WriterId,
    block: Arc<dyn LiveBlock>,
    /// Rows of it that were.
    skip: usize,
}

impl Fresh {
    fn rows(&self) -> u64 {
        self.block.rows().saturating_sub(self.skip as u64)
    }
}

impl Follower {
    /// Rows that arrive from now on.
    ///
    /// # Errors
    /// Where the condition is none, and where rows do not arrive at this process.
    pub(crate) async fn start(answers: Arc<Answers>, wanted: Wanted) -> Result<Self, Error> {
        if answers.engine.sources().is_empty() {
            return Err(Error::NothingArrives);
        }
        let columns = table_columns(wanted.table);
        let chooser = Chooser {
            table: wanted.table,
            condition: understood(&answers, &wanted).await?,
            schema: schema_of(columns),
            reads: columns.iter().map(|column| column.read.clone()).collect(),
        };
        let (chooser, writers) = (Arc::new(chooser), HashMap::new());
        let noted = Noted::default();
        let mut follower = Self { answers, wanted, chooser, writers, begun: false, noted };
        follower.note().await?;
        follower.noted = Noted::default();
        follower.begun = true;
        Ok(follower)
    }

    /// Of the rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.chooser.schema
    }

    /// What arrived within the next moment.
    ///
    /// # Errors
    /// Where rows cannot be read.
    pub(crate) async fn look(&mut self) -> Result<(Vec<RecordBatch>, Seen), Error> {
        let (every, shown_max) = pace(self.wanted.rows_per_second);
        let clock = Arc::clone(&self.answers.clock);
        let far = self.answers.engine.sources().are_far();
        let noted_every = if far { FAR_NOTED_EVERY } else { NOTED_EVERY };
        let end = clock.elapsed() + every;
        loop {
            let left = end.saturating_sub(clock.elapsed());
            if left.is_zero() {
                break;
            }
            // Noting is cheap, but it cuts live rows into blocks: where a sample is taken anyway
            // they are left whole.
            let many = self.noted.fresh.iter().map(Fresh::rows).sum::<u64>() > shown_max;
            clock.sleep(if many { left } else { left.min(noted_every) }).await;
            self.note().await?;
        }
        let Noted { mut fresh, flushed_unseen, unanswered } = std::mem::take(&mut self.noted);
        let mut seen = Seen { flushed_unseen, unanswered, ..Seen::default() };
        seen.arrived = fresh.iter().map(Fresh::rows).sum();
        let mut accepted = Vec::new();
        for fresh in fresh.drain(passed_over(&fresh, shown_max * MADE_FOR_EACH)..) {
            let chooser = Arc::clone(&self.chooser);
            let far = fresh.block.is_far();
            let work = move || Ok(chooser.choose(fresh));
            let read = self.answers.engine.live_reads().read(far, work).await;
            let (looked_at, batches) = read.map_err(unread)??;
            seen.looked_at += looked_at;
            accepted.extend(batches);
        }
        seen.accepted = rows_of(&accepted);
        let shown = sample(accepted, seen.accepted, shown_max)?;
        seen.shown = rows_of(&shown);
        Ok((shown, seen))
    }

    /// Notes the blocks of the table with rows that were not seen, in order, and whether rows of
    /// any table were flushed unseen.
    async fn note(&mut self) -> Result<(), Error> {
        let (sources, lost) = self.answers.engine.sources().now().await;
        let mut unanswered = lost.len();
        for source in sources {
            for table in Table::ALL {
                let Ok(live) = source.live_rows(table, TimeRange::ALL).await else {
                    unanswered += 1;
                    break;
                };
                let place = self.writers.entry(live.writer).or_default();
                for block in live.blocks {
                    place.to = place.to.max(block.next());
                    if table == self.wanted.table {
                        place
                            .unseen(live.writer, block)
                            .into_iter()
                            .for_each(|it| self.noted.add(it));
                    }
                }
            }
        }
        self.noted.unanswered = self.noted.unanswered.max(unanswered);
        let files = self.answers.engine.store().snapshot();
        for (writer, place) in &mut self.writers {
            let covered = files.covered_to(*writer).unwrap_or_default();
            self.noted.flushed_unseen |= self.begun && covered > place.to;
            place.to = place.to.max(covered);
        }
        Ok(())
    }
}

/// How often is looked so that there are at most so many rows in a second, and how many there are at
/// most each time: one or more.
fn pace(rows_per_second: u64) -> (Duration, u64) {
    let rate = rows_per_second.max(1);
    let every_ms = LOOKED_EVERY_MS.max(1000_u64.div_ceil(rate));
    (Duration::from_millis(every_ms), rate.saturating_mul(every_ms) / 1000)
}

/// The condition that is asked for, compiled where a thread may be held.
async fn understood(
    answers: &Answers,
    wanted: &Wanted,
) -> Result<Option<Arc<dyn Condition>>, Error> {
    let (table, Some(sql)) = (wanted.table, wanted.condition.clone()) else { return Ok(None) };
    let snapshot = answers.engine.snapshot(&[table]).await;
    let compile = move || SqlConditions::new().of_rows(table, &sql, snapshot);
    let compiled = tokio::task::spawn_blocking(compile).await.map_err(|_panic| Error::Lost)?;
    compiled.map(Some).map_err(no_condition)
}

/// How many of the oldest blocks are passed over so that about `made_max` rows are made of the
/// others: at least one block, because a block costs what all of its rows do.
fn passed_over(fresh: &[Fresh], made_max: u64) -> usize {
    let mut made = 0;
    let kept = fresh.iter().rev().take_while(|fresh| {
        let enough = made >= made_max;
        made += fresh.rows();
        !enough
    });
    fresh.len() - kept.count()
}

impl Noted {
    /// A block that has grown since it was noted stands for what it was then.
    fn add(&mut self, fresh: Fresh) {
        let place = |fresh: &Fresh| (fresh.writer, fresh.block.position());
        match self.fresh.last_mut().filter(|last| place(last) == place(&fresh)) {
            Some(last) => last.block = fresh.block,
            None => self.fresh.push(fresh),
        }
    }
}

impl Place {
    /// What of a block was not seen yet; it counts as seen then.
    fn unseen(&mut self, writer: WriterId, block: Arc<dyn LiveBlock>) -> Option<Fresh> {
        let (position, rows) = (block.position(), block.rows());
        let skip = match self.last {
            Some((last, seen)) if last == position => seen,
            _ if block.next() <= self.seen_to => return None,
            _ => 0,
        };
        self.seen_to = self.seen_to.max(block.next());
        if rows <= skip {
            return None;
        }
        self.last = Some((position, rows));
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Some(Fresh { writer, block, skip })
    }
}

impl Chooser {
    /// The rows of a block that the condition accepts, and how many it was asked about.
    fn choose(&self, fresh: Fresh) -> Result<(u64, Vec<RecordBatch>), Error> {
        let Fresh { block, mut skip, .. } = fresh;
        let mut batches = Vec::new();
        let mut looked_at = 0;
        for rows in block.read(None).map_err(unread)? {
            let all = rows.rows.num_rows();
            let skipped = skip.min(all);
            skip -= skipped;
            looked_at += (all - skipped) as u64;
            let rows = self.accepted(&rows.rows.slice(skipped, all - skipped))?;
            if rows.num_rows() > 0 {
                batches.push(rows);
            }
        }
        Ok((looked_at, batches))
    }

    /// The rows that the condition accepts, as they are shown.
    fn accepted(&self, rows: &RecordBatch) -> Result<RecordBatch, Error> {
        let columns = select(rows, self.table, &self.reads, &[]).map_err(Error::of_store)?;
        let kept = match &self.condition {
            None => columns,
            Some(condition) => {
                let asked = select(rows, self.table, condition.columns(), &[]);
                let mask = condition.matches(&asked.map_err(Error::of_store)?);
                let mask = mask.map_err(no_condition)?;
                filter_record_batch(&columns, &mask).map_err(not_shown)?
            }
        };
        shown(&kept, &self.schema).map_err(not_shown)
    }
}

fn rows_of(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

/// At most `most` of `all` rows, as far from each other as can be.
fn sample(batches: Vec<RecordBatch>, all: u64, most: u64) -> Result<Vec<RecordBatch>, Error> {
    if all <= most {
        return Ok(batches);
    }
    let mut at = 0;
    let mut sampled = Vec::new();
    for batch in batches {
        let mask: BooleanArray = (at..at + batch.num_rows() as u64)
            .map(|row| Some((row + 1) * most / all > row * most / all))
            .collect();
        at += mask.len() as u64;
        sampled.push(filter_record_batch(&batch, &mask).map_err(not_shown)?);
    }
    Ok(sampled)
}

fn no_condition(error: ConditionError) -> Error {
    Error::Sql { message: error.reason, hint: error.hint, at: None }
}

fn unread(source: PortError) -> Error {
    Error::of_store(icecore_store::Error::LiveRows { source })
}

fn not_shown(source: arrow::error::ArrowError) -> Error {
    Error::Encode { format: "events", source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    /// Scenario: rates from one row a second, below, at and beyond a row a look.
    /// Guarantees: looks of as many rows each never make more than the rate in any second; each may
    /// show one, and there are ten a second where that is enough.
    #[test]
    fn a_rate_is_never_passed() {
        for rate in [1, 2, 3, 7, 9, 10, 11, 15, 50, 99, 1000, u64::MAX] {
            let (every, shown_max) = pace(rate);
            assert!(shown_max >= 1, "{rate}");
            assert!(u128::from(shown_max) * 1000 <= u128::from(rate) * every.as_millis(), "{rate}");
            assert!(every >= Duration::from_millis(LOOKED_EVERY_MS), "{rate}");
        }
        let every = |rate| pace(rate).0.as_millis();
        assert_eq!([1, 3, 10, 11, 15].map(every), [1000, 334, 100, 100, 100]);
        assert_eq!([1, 11, 15, 50].map(|rate| pace(rate).1), [1, 1, 1, 5]);
    }

    /// Scenario: more and fewer rows than may be shown, over batches of odd sizes.
    /// Guarantees: exactly as many as may be, in order, from all of the stretch.
    #[test]
    fn a_sample_is_spread() {
        let batches = |sizes: &[i64]| -> Vec<RecordBatch> {
            let mut next = 0;
            let batch = |size: &i64| {
                let values: Int64Array = (next..next + size).collect();
                next += size;
                RecordBatch::try_from_iter([("n", Arc::new(values) as _)]).unwrap()
            };
            sizes.iter().map(batch).collect()
        };
        for (sizes, most) in [(&[3, 0, 7][..], 4_u64), (&[5], 5), (&[1000, 1], 10), (&[], 1)] {
            let all = sizes.iter().sum::<i64>() as u64;
            let sampled = sample(batches(sizes), all, most).unwrap();
            let column = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().clone();
            let values: Vec<i64> =
                sampled.iter().flat_map(|it| column(it).values().to_vec()).collect();
            assert_eq!(values.len() as u64, all.min(most));
            assert!(values.is_sorted_by(|a, b| a < b));
            let wide = values.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(1) as u64;
            assert!(wide <= all.div_ceil(most.min(all.max(1))) + 1, "{values:?}");
        }
    }
}
