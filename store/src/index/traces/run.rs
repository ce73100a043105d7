//! Keeps trace filters up with the catalog, behind everybody's back.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::keep::Alive;
use super::{TraceFiles, TracePrints, Traces};
use crate::catalog::{FileEntry, FileKey, Snapshot};
use crate::error::Error;
use crate::files::{FooterMetrics, Footers, KeptMax, Reach, ReadColumn, ReadRequest, read};
use crate::model::{FileId, Table, TraceId};
use crate::store::Store;
use crate::work::off_runtime;

/// How often new files are looked for.
const TURN_EVERY: Duration = Duration::from_secs(2);

/// How often what is deleted is let go of: every known file is looked up.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Files that are read for one segment, and how many at once: of each, one footer and one column.
const FILES_A_TURN: usize = 64;
const READS_PARALLEL: usize = 4;

/// How often it is said how far a long build is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What the keeper remembers between its turns.
#[derive(Debug, Default)]
struct Turns {
    /// Damaged files; they stay candidates.
    unreadable: BTreeSet<FileId>,
    swept_at: Duration,
    told_at: Duration,
}

impl Store {
    /// The span files of `snapshot` that may hold spans of the trace; one that does is never left
    /// out. Asks the local index, not the bucket.
    pub async fn files_with_trace(&self, snapshot: &Snapshot, id: TraceId) -> TraceFiles {
        let traces = Arc::clone(&self.traces);
        let held = snapshot.clone();
        let find = move || Ok(traces.find(&held, id));
        match off_runtime("looking a trace up", find).await {
            Ok(files) => files,
            Err(error) => {
                warn!(%error, "a look-up of a trace failed, taking every file");
                TraceFiles::any_of(snapshot)
            }
        }
    }

    /// Makes and tidies trace filters until `stop`, or until the disk fails.
    pub(crate) async fn keep_traces(
        &self,
        wanted: bool,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let traces = Arc::clone(&self.traces);
        if !wanted || !traces.begin() {
            return Ok(());
        }
        let mut turns = Turns { swept_at: self.clock.elapsed(), ..Turns::default() };
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(TURN_EVERY) => {}
            }
            if let Err(error) = self.keep_turn(&traces, &mut turns, stop).await {
                traces.end(&error);
                return Ok(());
            }
        }
    }

    /// Makes what is missing, all of it; `tell` gets the files that are done and those that wait.
    pub(crate) async fn build_traces(&self, tell: impl Fn(usize, usize)) -> io::Result<()> {
        let traces = Arc::clone(&self.traces);
        let mut turns = Turns::default();
        let mut done = 0;
        while let Some(built) = self.build_waiting(&traces, &mut turns).await? {
            done += built;
            let (waiting, _) = traces.known().counts();
            tell(done, waiting);
        }
        let alive = self.alive().await;
        blocking(&traces, move |traces| traces.merge(&alive)).await
    }

    async fn keep_turn(
        &self,
        traces: &Arc<Traces>,
        turns: &mut Turns,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        let snapshot = self.snapshot();
        let stashed = blocking(traces, move |traces| traces.keep_stashed(&snapshot));
        let mut changed = stashed.await?;
        if traces.has_stashed() {
            traces.drop_stashed(&self.alive().await.removed);
        }
        while !stop.is_cancelled() && self.build_waiting(traces, turns).await?.is_some() {
            changed = true;
        }
        let sweep = self.clock.elapsed().saturating_sub(turns.swept_at) >= SWEEP_EVERY;
        if sweep {
            turns.swept_at = self.clock.elapsed();
        }
        if changed || sweep {
            let alive = self.alive().await;
            let tidy = move |traces: &Traces| {
                if sweep {
                    traces.sweep(&alive)?;
                }
                traces.merge(&alive)
            };
            blocking(traces, tidy).await?;
        }
        Ok(())
    }

    /// Reads some of the files that wait; how many, or `None` where there is nothing to do.
    async fn build_waiting(
        &self,
        traces: &Arc<Traces>,
        turns: &mut Turns,
    ) -> io::Result<Option<usize>> {
        let snapshot = self.snapshot();
        let waiting = traces.waiting(&snapshot, &turns.unreadable, FILES_A_TURN);
        let files = waiting.iter().filter_map(|file| snapshot.file(Table::Spans, *file).cloned());
        let files: Vec<_> = files.collect();
        if files.is_empty() {
            return Ok(None);
        }
        let reads = files.into_iter().map(|file| self.read_prints(file));
        let reads: Vec<_> = reads.collect();
        let mut reads = futures::stream::iter(reads).buffer_unordered(READS_PARALLEL);
        let (mut read, mut away) = (Vec::new(), false);
        while let Some((file, prints)) = reads.next().await {
            match prints {
                Ok(prints) => read.push((file, Arc::from(prints))),
                Err(error) if error.is_retryable() => away = true,
                Err(error) => {
                    warn!(file = %file.1, %error, "no trace filter can be made of a file");
                    turns.unreadable.insert(file.1);
                }
            }
        }
        let built = read.len();
        self.metrics.traces.built(built);
        blocking(traces, move |traces| traces.keep(read)).await?;
        self.tell(traces, turns, built);
        // The bucket is away: the next turn tries again.
        Ok((!away).then_some(built))
    }

    async fn read_prints(&self, file: Arc<FileEntry>) -> (FileKey, Result<Vec<u64>, Error>) {
        let (key, path) = (file.key(), file.path());
        let columns = vec![ReadColumn::Fixed("trace_id".to_owned())];
        // Each file is read once, and little of it at a time: what queries need stays.
        let footers = Arc::new(Footers::new(KeptMax::default(), FooterMetrics::default()));
        let request = ReadRequest::all(file, columns);
        let reach = Reach::bare(&self.bucket.objects());
        let mut batches = read(reach, footers, request);
        let mut prints = TracePrints::default();
        let all = async {
            while let Some(batch) = batches.try_next().await? {
                let ids = batch.columns().first().and_then(|ids| ids.as_fixed_size_binary_opt());
                prints.add(ids.ok_or_else(|| not_ids(path.clone()))?);
            }
            Ok(prints.finish())
        };
        (key, all.await)
    }

    fn tell(&self, traces: &Traces, turns: &mut Turns, built: usize) {
        let (waiting, covered) = traces.known().counts();
        let now = self.clock.elapsed();
        if waiting == 0 || now.saturating_sub(turns.told_at) >= TELL_EVERY {
            turns.told_at = now;
            info!(covered, waiting, built, "trace filters made from the bucket");
        }
    }

    /// What is there still: of one moment, so that nothing is in neither.
    async fn alive(&self) -> Alive {
        let state = self.state.lock().await;
        let removed = state.removed().keys().copied().collect();
        Alive { snapshot: self.snapshot(), removed, now: self.clock.now() }
    }
}

fn not_ids(path: String) -> Error {
    Error::Damaged { path, reason: "its trace ids are not of 16 bytes".to_owned() }
}

/// Work on local disk, off the runtime's threads.
async fn blocking<T: Send + 'static>(
    traces: &Arc<Traces>,
    work: impl FnOnce(&Traces) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let traces = Arc::clone(traces);
    crate::work::blocking(move || work(&traces)).await.map_err(io::Error::other)?
}
