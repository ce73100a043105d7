//! Columns of one file: what can be ruled out is not fetched, and what filters leave out is not
//! decoded.
//!
//! Invariant: a row that is within bounds and passes every filter comes back once, in the order of
//! the file. Bytes are fetched on the runtime, for some row groups at a time and in two waits at
//! most: what filters look at, then the answer's columns of the rows that are left; far away a small
//! answer comes with the first. They are
//! decoded on blocking threads, some batches a turn, so that a reader that stops asking stops the
//! work.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::ObjectStore;

use super::chunks::Fetched;
use super::fetch::{Bare, Fetching, Reach};
use super::filter::of_trace;
use super::footer::{Footer, description, failed, fetch_footer, fetch_metadata, length};
use super::footers::{Dictionaries, Footers};
use super::point::Points;
use super::prune::Pruning;
use super::request::{Bound, ReadRequest, RowFilter, RowStream, Values};
use super::room::{Held, Room};
use super::rows::Rows;
use super::source::{Decoding, Source};
use super::tally::{Opened, ReadTally};
use super::{FileOrigin, ReadColumn};
use crate::catalog::FileEntry;
use crate::error::Error;
use crate::model::{TimeRange, TraceId};
use crate::work::off_runtime;

/// Batches decoded in one turn on a blocking thread, and held at most.
const BATCHES_A_TURN: usize = 4;

/// Row groups are fetched together up to about so many bytes, and one at least.
const FETCHED_BYTES_MAX: u64 = 4 << 20;

/// The same of a bucket that is far away, where each wait takes as long as some megabytes do.
const FETCHED_FAR_BYTES_MAX: u64 = 16 << 20;

/// From such a bucket the answer's columns come with those that filters look at where they are no more
/// than this: at 90 MB a second they take as long as the wait that they save.
const FETCHED_AHEAD_BYTES_MAX: u64 = 4 << 20;

/// A trace is in all columns of a file, and in many places of each. From a bucket that is far away
/// a file that is no larger is fetched whole: at 90 MB a second that takes as long as asking twice.
const WHOLE_BYTES_MAX: u64 = 8 << 20;

/// Some columns of some rows of one file.
pub(crate) fn read(reach: Reach, footers: Arc<Footers>, request: ReadRequest) -> RowStream {
    let ReadRequest { file, columns, bounds, filters, room, tally } = request;
    let columns = Some(columns);
    let (fetched_max, ahead_max) = if reach.far {
        (FETCHED_FAR_BYTES_MAX, FETCHED_AHEAD_BYTES_MAX)
    } else {
        (FETCHED_BYTES_MAX, 0)
    };
    let job = Job::new(reach, Some(footers), file);
    Job { columns, bounds, filters, room, tally, fetched_max, ahead_max, ..job }.stream()
}

/// Whole rows of one file in row shape: those of one trace, where one is named, and no row group
/// or page that lies out of `time`. The footer is fetched and forgotten.
pub(crate) fn read_rows(
    bucket: Arc<dyn ObjectStore>,
    file: &Arc<FileEntry>,
    time: TimeRange,
    trace_id: Option<TraceId>,
) -> RowStream {
    whole_rows(Reach::bare(&bucket), None, file, time, trace_id, InOne::Never)
}

/// As [`read_rows`]. The footer is kept for the next reader.
pub(crate) fn read_kept(
    reach: Reach,
    footers: Arc<Footers>,
    file: &Arc<FileEntry>,
    time: TimeRange,
) -> RowStream {
    whole_rows(reach, Some(footers), file, time, None, InOne::Never)
}

/// The same of one trace, with leave to fetch the file in one request if it is not large, and each
/// row group of it in one if it is.
pub(crate) fn read_trace(
    reach: Reach,
    footers: Arc<Footers>,
    file: &Arc<FileEntry>,
    trace_id: TraceId,
    in_one: InOne,
) -> RowStream {
    let large = in_one != InOne::Never && file.bytes > WHOLE_BYTES_MAX;
    let in_one = if large { InOne::Groups } else { in_one };
    whole_rows(reach, Some(footers), file, TimeRange::ALL, Some(trace_id), in_one)
}

/// What of a file is fetched in one request, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InOne {
    /// A request costs hardly more than its bytes.
    Never,
    /// Each row group that its own filters let in: the file is large.
    Groups,
    /// Once its own filters let it in: nobody knows yet that it has nothing of the trace.
    LetIn,
    /// At once: it is known to have rows of the trace.
    Always,
}

fn whole_rows(
    reach: Reach,
    footers: Option<Arc<Footers>>,
    file: &Arc<FileEntry>,
    time: TimeRange,
    trace_id: Option<TraceId>,
    in_one: InOne,
) -> RowStream {
    let mut bounds: Vec<Bound> = trace_id.map(Bound::trace).into_iter().collect();
    if time != TimeRange::ALL {
        bounds.push(Bound::time(file.table, time));
    }
    let filters = trace_id.map(of_trace).into_iter().collect();
    Job { bounds, filters, in_one, ..Job::new(reach, footers, Arc::clone(file)) }.stream()
}

/// The origin in a file's key-value metadata; `None` where there is no such file.
pub(crate) async fn read_origin(
    bucket: Arc<dyn ObjectStore>,
    path: &str,
) -> Result<Option<FileOrigin>, Error> {
    let file_bytes = match length(&bucket, path).await {
        Err(Error::Bucket { source: object_store::Error::NotFound { .. }, .. }) => return Ok(None),
        other => other?,
    };
    let metadata = fetch_metadata(Bare::new(&bucket).of(path), file_bytes).await?;
    Ok(Some(description(&metadata, path)?.origin()))
}

/// One reading of one file.
#[derive(Debug)]
struct Job {
    reach: Reach,
    footers: Option<Arc<Footers>>,
    file: Arc<FileEntry>,
    path: String,
    /// None for whole rows.
    columns: Option<Vec<ReadColumn>>,
    bounds: Vec<Bound>,
    filters: Vec<Arc<dyn RowFilter>>,
    room: Option<Room>,
    tally: Arc<ReadTally>,
    /// When the file is fetched in one piece, and that piece.
    in_one: InOne,
    whole: OnceLock<Bytes>,
    /// Row groups are fetched together up to so many bytes.
    fetched_max: u64,
    /// Columns of the answer are fetched before anything is filtered up to so many bytes.
    ahead_max: u64,
}

/// A row group and the rows of it that are still wanted.
type Wanted = (usize, Rows);

/// What does not change while a file is read.
#[derive(Debug)]
struct Plan {
    footer: Arc<Footer>,
    filters: Vec<(Arc<dyn RowFilter>, Arc<Source>)>,
    answer: Arc<Source>,
}

/// Row groups that were fetched together and wait to be decoded.
#[derive(Default)]
struct Wave {
    fetched: Arc<Fetched>,
    groups: VecDeque<Wanted>,
    decoding: Option<Decoding>,
    _held: Option<Held>,
}

impl Job {
    /// All rows, whole.
    fn new(reach: Reach, footers: Option<Arc<Footers>>, file: Arc<FileEntry>) -> Self {
        Self {
            reach,
            footers,
            path: file.path(),
            file,
            columns: None,
            bounds: Vec::new(),
            filters: Vec::new(),
            room: None,
            tally: Arc::default(),
            in_one: InOne::Never,
            whole: OnceLock::new(),
            fetched_max: FETCHED_BYTES_MAX,
            ahead_max: 0,
        }
    }

    fn stream(self) -> RowStream {
        let job = Arc::new(self);
        let begin = async move {
            let left = job.plan().await?;
            let state = left.map(|(plan, groups)| (Arc::new(plan), groups, Wave::default()));
            Ok::<_, Error>(stream::try_unfold(state, move |state| {
                let job = Arc::clone(&job);
                async move {
                    let Some((plan, mut groups, wave)) = state else { return Ok(None) };
                    let turn = job.turn(&plan, &mut groups, wave).await?;
                    Ok(turn.map(|(batches, wave)| (batches, Some((plan, groups, wave)))))
                }
            }))
        };
        let turns = stream::once(begin).try_flatten();
        turns.map_ok(|batches| stream::iter(batches.into_iter().map(Ok))).try_flatten().boxed()
    }

    /// What is left of the file after pruning; `None` where that is nothing.
    async fn plan(&self) -> Result<Option<(Plan, VecDeque<Wanted>)>, Error> {
        if self.in_one == InOne::Always {
            self.fetch_whole().await?;
        }
        let footer = match &self.footers {
            Some(footers) => footers.of(&self.file, self.from()).await?,
            None => Arc::new(fetch_footer(self.from(), self.file.bytes).await?),
        };
        let pruned = |source| failed(&self.path, source);
        let pruning = Pruning::new(&self.file, &footer, &self.bounds);
        let mut groups = pruning.row_groups().map_err(pruned)?;
        let within_bounds = groups.len();
        for bound in &self.bounds {
            if let (Values::Ids(ids), ReadColumn::Fixed(name)) = (&bound.values, &bound.column)
                && name == "trace_id"
                && !groups.is_empty()
            {
                let may = footer.may_have_trace(self.from(), ids).await?;
                groups.retain(|group| may[*group]);
            }
        }
        let without_trace = within_bounds - groups.len();
        if self.in_one == InOne::LetIn && !groups.is_empty() {
            self.fetch_whole().await?;
        }
        let rows = groups.iter().map(|group| Ok((*group, pruning.rows(*group)?)));
        let rows: Result<VecDeque<Wanted>, _> = rows.collect();
        let mut rows = rows.map_err(pruned)?;
        rows.retain(|(_, rows)| !rows.is_empty());
        self.tally.opened(Opened {
            groups: footer.metadata.num_row_groups(),
            groups_left: rows.len(),
            without_trace,
            rows: usize::try_from(self.file.rows).unwrap_or(usize::MAX),
            rows_here: rows.iter().map(|(group, _)| footer.rows(*group)).sum(),
            rows_left: count(rows.make_contiguous()),
        });
        if rows.is_empty() {
            return Ok(None);
        }
        let filters = self.filters.iter().map(|filter| {
            let source = Source::new(&self.file, &footer, Some(filter.columns().to_vec()))?;
            Ok((Arc::clone(filter), Arc::new(source)))
        });
        let filters = filters.collect::<Result<_, Error>>()?;
        let answer = Arc::new(Source::new(&self.file, &footer, self.columns.clone())?);
        Ok(Some((Plan { footer, filters, answer }, rows)))
    }

    async fn fetch_whole(&self) -> Result<(), Error> {
        let all: Vec<_> = std::iter::once(0..self.file.bytes).collect();
        let whole = self.from().fetch(&all).await?.pop();
        whole.into_iter().for_each(|(_, whole)| drop(self.whole.set(whole)));
        Ok(())
    }

    fn from(&self) -> Fetching<'_> {
        let Self { reach, path, tally, whole, file, .. } = self;
        Fetching { reach, path, tally, whole: whole.get(), entry: Some(file) }
    }

    /// Some batches, and what is left to decode; `None` at the end.
    async fn turn(
        &self,
        plan: &Arc<Plan>,
        groups: &mut VecDeque<Wanted>,
        mut wave: Wave,
    ) -> Result<Option<(Vec<RecordBatch>, Wave)>, Error> {
        loop {
            if wave.decoding.is_none() && wave.groups.is_empty() {
                if groups.is_empty() {
                    return Ok(None);
                }
                // What the last one held must be there for the next.
                drop(std::mem::take(&mut wave));
                wave = self.wave(plan, groups).await?;
                continue;
            }
            let plan = Arc::clone(plan);
            let work = move || {
                let batches = wave.decode(&plan)?;
                Ok((batches, wave))
            };
            let (batches, rest) = off_runtime("decoding rows", work).await?;
            wave = rest;
            if !batches.is_empty() {
                return Ok(Some((batches, wave)));
            }
        }
    }

    /// The next row groups with the pages of the rows that pass the filters.
    async fn wave(&self, plan: &Arc<Plan>, groups: &mut VecDeque<Wanted>) -> Result<Wave, Error> {
        let (mut now, bytes) = plan.next(groups, self.fetched_max);
        let held = match &self.room {
            Some(room) => room.take(bytes).await,
            None => None,
        };
        let kept =
            self.footers.as_ref().map(|kept| Dictionaries::new(Arc::clone(kept), self.file.id));
        let mut fetched = Fetched::with(kept);
        if self.in_one == InOne::Groups {
            // A trace is in all columns, and in many places of each: nearly all of it is needed.
            let whole: Vec<_> =
                now.iter().map(|(group, _)| plan.footer.group_range(*group)).collect();
            for (range, bytes) in self.from().fetch(&whole).await? {
                fetched.add(range.start, bytes);
            }
        }
        if !plan.filters.is_empty() {
            let is_ahead = self.ahead_max > 0 && plan.answer_bytes(&now) <= self.ahead_max;
            let ahead = is_ahead.then_some(&plan.answer);
            let sources = plan.filters.iter().map(|(_, source)| source).chain(ahead);
            self.fetch(plan, sources, &now, &mut fetched).await?;
            let (plan, before) = (Arc::clone(plan), count(&now));
            let work = move || {
                let fetched = Arc::new(fetched);
                let kept = plan.filter(&fetched, now)?;
                Ok((kept, fetched))
            };
            let (kept, shared) = off_runtime("filtering rows", work).await?;
            self.tally.filtered(before - count(&kept));
            now = kept;
            fetched = Arc::into_inner(shared).unwrap_or_default();
        }
        self.fetch(plan, std::iter::once(&plan.answer), &now, &mut fetched).await?;
        let (fetched, groups) = (Arc::new(fetched), now.into());
        Ok(Wave { fetched, groups, decoding: None, _held: held })
    }

    /// Fetches what is not here yet of the pages that these rows are in.
    async fn fetch<'s>(
        &self,
        plan: &Plan,
        sources: impl Iterator<Item = &'s Arc<Source>>,
        groups: &[Wanted],
        fetched: &mut Fetched,
    ) -> Result<(), Error> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        for source in sources {
            for (group, rows) in groups {
                source.missing(&plan.footer, *group, rows, fetched, &mut missing);
            }
        }
        for (range, bytes) in self.from().fetch(&missing).await? {
            fetched.add(range.start, bytes);
        }
        Ok(())
    }
}

fn count(groups: &[Wanted]) -> usize {
    groups.iter().map(|(_, rows)| rows.count()).sum()
}

impl Plan {
    /// The row groups that are fetched together, and how many bytes of them at most.
    fn next(&self, groups: &mut VecDeque<Wanted>, bytes_max: u64) -> (Vec<Wanted>, u64) {
        let bytes = |(group, rows): &Wanted| {
            let filters = self.filters.iter().map(|(_, source)| source);
            let sources = filters.chain(std::iter::once(&self.answer));
            sources.map(|source| source.bytes(&self.footer, *group, rows)).sum::<u64>()
        };
        let mut here = Vec::new();
        let mut sum = 0;
        while let Some(group) = groups.front() {
            let more = bytes(group);
            if sum + more > bytes_max && !here.is_empty() {
                break;
            }
            sum += more;
            here.extend(groups.pop_front());
        }
        (here, sum)
    }

    fn answer_bytes(&self, groups: &[Wanted]) -> u64 {
        let bytes = |(group, rows): &Wanted| self.answer.bytes(&self.footer, *group, rows);
        groups.iter().map(bytes).sum()
    }

    /// The rows that pass all filters. Each filter decodes only what those before it left.
    fn filter(&self, fetched: &Arc<Fetched>, groups: Vec<Wanted>) -> Result<Vec<Wanted>, Error> {
        let mut kept = Vec::with_capacity(groups.len());
        for (group, mut rows) in groups {
            for (filter, source) in &self.filters {
                if rows.is_empty() {
                    break;
                }
                if let Some(ids) = filter.ids() {
                    let points = Points { footer: &self.footer, group, fetched };
                    if let Some(found) = source.with_id(points, &rows, ids)? {
                        rows = found;
                        continue;
                    }
                }
                let batches = source.decode(&self.footer, fetched, group, &rows)?;
                let masks = batches
                    .map(|batch| filter.keep(&batch?).map_err(|source| Error::Filter { source }));
                rows = rows.kept(&masks.collect::<Result<Vec<_>, _>>()?);
            }
            if !rows.is_empty() {
                kept.push((group, rows));
            }
        }
        Ok(kept)
    }
}

impl Wave {
    /// Some batches; fewer than a turn has where there are no more.
    fn decode(&mut self, plan: &Plan) -> Result<Vec<RecordBatch>, Error> {
        let mut batches = Vec::with_capacity(BATCHES_A_TURN);
        while batches.len() < BATCHES_A_TURN {
            if let Some(batch) = self.decoding.as_mut().and_then(Iterator::next) {
                batches.push(batch?);
                continue;
            }
            self.decoding = None;
            let Some((group, rows)) = self.groups.pop_front() else { break };
            let decoding = plan.answer.decode(&plan.footer, &self.fetched, group, &rows)?;
            self.decoding = Some(decoding);
        }
        Ok(batches)
    }
}
