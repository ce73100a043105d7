//! Columns of one file: what can be ruled out is not fetched, and what filters leave out is not
//! decoded.
//!
//! Invariant: a row that is within bounds and passes every filter comes back once, in the order of
//! the file. Bytes are fetched on the runtime, for some row groups at a time and in two waits at
//! most: what filters look at, then the answer's columns of the rows that are left; far away a small
//! answer comes with the first, and the first wait for all row groups is about the same. They are
//! decoded on blocking threads, some batches a turn, so that a reader that stops asking stops the
//! work.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::ObjectStore;

use super::ahead::{Coming, Together};
use super::chunks::Fetched;
use super::fetch::{Bare, Fetching, Reach};
use super::filter::of_trace;
use super::footer::{description, failed, fetch_footer, fetch_metadata, length};
use super::footers::{Dictionaries, Footers};
use super::plan::Plan;
use super::prune::Pruning;
use super::request::{Bound, ReadRequest, RowFilter, RowStream, Values};
use super::room::{Held, Room};
use super::rows::Rows;
use super::source::{Decoding, Source};
use super::tally::{Opened, ReadTally};
use super::{FileOrigin, ReadColumn};
use crate::bucket::Turn;
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

/// From such a bucket the answer's columns of a row group come with those that filters look at where they
/// are no more than this: at 90 MB a second they take hardly longer than the wait that they save, and
/// few rows of a row group lie in most of its pages. Ids and times of 300,000 spans are 4.4 MB.
const FETCHED_AHEAD_BYTES_MAX: u64 = 6 << 20;

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
    let ahead = job.reach.ahead.clone();
    Job { columns, bounds, filters, room, tally, fetched_max, ahead_max, ahead, ..job }.stream()
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
    /// Columns of the answer are fetched before anything is filtered up to so many bytes a row group.
    ahead_max: u64,
    /// What may be asked for before there is room for it.
    ahead: Option<Room>,
}

/// A row group and the rows of it that are still wanted.
pub(super) type Wanted = (usize, Rows);

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
            ahead: None,
        }
    }

    fn stream(self) -> RowStream {
        let job = Arc::new(self);
        let begin = async move {
            let left = job.plan().await?;
            let state =
                left.map(|(plan, groups)| (Arc::new(plan), Coming::new(groups), Wave::default()));
            Ok::<_, Error>(stream::try_unfold(state, move |state| {
                let job = Arc::clone(&job);
                async move {
                    let Some((plan, mut coming, wave)) = state else { return Ok(None) };
                    let turn = job.turn(&plan, &mut coming, wave).await?;
                    Ok(turn.map(|(batches, wave)| (batches, Some((plan, coming, wave)))))
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
        Ok(Some((Plan::new(footer, filters, answer), rows)))
    }

    async fn fetch_whole(&self) -> Result<(), Error> {
        let all: Vec<_> = std::iter::once(0..self.file.bytes).collect();
        let whole = self.from().fetch(&all).await?.pop();
        whole.into_iter().for_each(|(_, whole)| drop(self.whole.set(whole)));
        Ok(())
    }

    fn from(&self) -> Fetching<'_> {
        let Self { reach, path, tally, whole, file, .. } = self;
        Fetching { reach, path, tally, whole: whole.get(), entry: Some(file), turn: None }
    }

    /// Some batches, and what is left to decode; `None` at the end.
    async fn turn(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        coming: &mut Coming,
        mut wave: Wave,
    ) -> Result<Option<(Vec<RecordBatch>, Wave)>, Error> {
        loop {
            if wave.decoding.is_none() && wave.groups.is_empty() {
                if coming.is_empty() {
                    return Ok(None);
                }
                // What the last one held must be there for the next.
                drop(std::mem::take(&mut wave));
                wave = self.wave(plan, coming).await?;
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
    async fn wave(self: &Arc<Self>, plan: &Arc<Plan>, coming: &mut Coming) -> Result<Wave, Error> {
        let (mut now, mut fetched, held) = self.next(plan, coming).await?;
        if !plan.filters.is_empty() {
            let (filtering, before) = (Arc::clone(plan), count(&now));
            let work = move || {
                let fetched = Arc::new(fetched);
                let kept = filtering.filter(&fetched, now)?;
                Ok((kept, fetched))
            };
            let (kept, shared) = off_runtime("filtering rows", work).await?;
            self.tally.filtered(before - count(&kept));
            now = kept;
            fetched = Arc::into_inner(shared).unwrap_or_default();
            let answers = now.iter().map(|wanted| (wanted, vec![&plan.answer]));
            self.fetch(plan, answers, None, &mut fetched).await?;
        }
        let (fetched, groups) = (Arc::new(fetched), now.into());
        Ok(Wave { fetched, groups, decoding: None, _held: held })
    }

    /// The next row groups, what is fetched of them before anything is filtered, and their room.
    async fn next(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        coming: &mut Coming,
    ) -> Result<(Vec<Wanted>, Fetched, Option<Held>), Error> {
        loop {
            let far = self.room.as_ref().zip(self.ahead.as_ref());
            if let Some((room, ahead)) = far.filter(|(room, _)| room.is_moving()) {
                self.ask_ahead(plan, ahead, coming);
                if let Some(asked) = coming.take_asked() {
                    let held = room.take(asked.together.bytes).await;
                    let (groups, fetched) = asked.read().await?;
                    return Ok((groups, fetched, held));
                }
            }
            let Together { groups, bytes } = plan.next(&mut coming.left, self.fetched_max);
            let Some(room) = &self.room else {
                let fetched = self.first(plan, &groups, None).await?;
                return Ok((groups, fetched, None));
            };
            // Whoever wants the first rows alone has asked for no more than there is room for.
            let held = tokio::select! {
                biased;
                held = room.take(bytes) => held,
                () = room.moves(), if far.is_some() && !room.is_moving() => {
                    coming.put_back(groups);
                    continue;
                }
            };
            let fetched = self.first(plan, &groups, None).await?;
            return Ok((groups, fetched, held));
        }
    }

    fn ask_ahead(self: &Arc<Self>, plan: &Arc<Plan>, ahead: &Room, coming: &mut Coming) {
        let next = |left: &mut VecDeque<Wanted>| plan.next(left, self.fetched_max);
        coming.ask(ahead, next, |groups, turn| {
            let (job, plan, groups) = (Arc::clone(self), Arc::clone(plan), groups.to_vec());
            async move { job.first(&plan, &groups, Some(&turn)).await }
        });
    }

    /// Fetches what is looked at before anything is filtered; answers are read in their turn.
    async fn first(
        &self,
        plan: &Plan,
        groups: &[Wanted],
        turn: Option<&Turn>,
    ) -> Result<Fetched, Error> {
        let kept =
            self.footers.as_ref().map(|kept| Dictionaries::new(Arc::clone(kept), self.file.id));
        let mut fetched = Fetched::with(kept);
        if self.in_one == InOne::Groups {
            // A trace is in all columns, and in many places of each: nearly all of it is needed.
            let whole: Vec<_> =
                groups.iter().map(|(group, _)| plan.footer.group_range(*group)).collect();
            for (range, bytes) in self.from().fetch(&whole).await? {
                fetched.add(range.start, bytes);
            }
        }
        let wanted = groups.iter().map(|wanted| (wanted, plan.first(wanted, self.ahead_max)));
        self.fetch(plan, wanted, turn, &mut fetched).await?;
        Ok(fetched)
    }

    /// Fetches what is not here yet of the pages that rows of row groups are in.
    async fn fetch<'p>(
        &self,
        plan: &'p Plan,
        wanted: impl Iterator<Item = (&'p Wanted, Vec<&'p Arc<Source>>)>,
        turn: Option<&Turn>,
        fetched: &mut Fetched,
    ) -> Result<(), Error> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        for ((group, rows), sources) in wanted {
            for source in sources {
                source.missing(&plan.footer, *group, rows, fetched, &mut missing);
            }
        }
        let from = Fetching { turn, ..self.from() };
        for (range, bytes) in from.fetch(&missing).await? {
            fetched.add(range.start, bytes);
        }
        Ok(())
    }
}

fn count(groups: &[Wanted]) -> usize {
    groups.iter().map(|(_, rows)| rows.count()).sum()
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
