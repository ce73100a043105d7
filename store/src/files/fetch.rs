//! Where stretches of a file come from: memory, what is kept of the file on local disk, or the bucket.
//!
//! Invariant: what is looked for on local disk is what was asked for by whoever reads rows for a query; a
//! check, a merge, a proof of an erasure ask the bucket.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore};

use super::pages::{Brought, Pages, Part, bytes_of, covering, missing, whole};
use super::room::Room;
use super::tally::ReadTally;
use crate::bucket::{FAR_GAP_BYTES_MAX, Turn, apart, joined};
use crate::catalog::FileEntry;
use crate::error::Error;
use crate::work::off_runtime;

/// Stretches that lie this close together are fetched as one, which costs less than asking twice. A
/// bucket that is far away joins more of them itself.
const GAP_BYTES_MAX: u64 = 16 << 10;

/// How often a reader waits for what others fetch and they do not bring, before it fetches all of that itself.
const SHARED_TURNS_MAX: usize = 2;

/// The bucket, and what is kept of it here.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) bucket: Arc<dyn ObjectStore>,
    /// Whether each request takes its time.
    pub(crate) far: bool,
    /// `None`: whatever is asked for is asked of the bucket.
    pub(crate) pages: Option<Arc<Pages>>,
    /// What may be asked for before there is room for it; `None`: nothing.
    pub(crate) ahead: Option<Room>,
}

impl Reach {
    /// The bucket alone, of which it does not matter how far away it is.
    pub(crate) fn bare(bucket: &Arc<dyn ObjectStore>) -> Self {
        Self { bucket: Arc::clone(bucket), far: false, pages: None, ahead: None }
    }
}

/// For whoever needs a file once: asks the bucket, and counts nothing.
#[derive(Debug)]
pub(super) struct Bare {
    reach: Reach,
    tally: ReadTally,
}

impl Bare {
    pub(super) fn new(bucket: &Arc<dyn ObjectStore>) -> Self {
        Self { reach: Reach::bare(bucket), tally: ReadTally::default() }
    }

    /// Of the file at this path.
    pub(super) const fn of<'a>(&'a self, path: &'a str) -> Fetching<'a> {
        let Self { reach, tally } = self;
        Fetching { reach, path, tally, whole: None, entry: None, turn: None }
    }
}

/// Where stretches of one file are fetched from, and who counts them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetching<'a> {
    pub(super) reach: &'a Reach,
    pub(super) path: &'a str,
    pub(super) tally: &'a ReadTally,
    /// The file, where it is here already.
    pub(super) whole: Option<&'a Bytes>,
    /// What the catalog says of it: what is fetched of a file without may not be kept.
    pub(super) entry: Option<&'a FileEntry>,
    /// When answers are read, where they have to wait.
    pub(super) turn: Option<&'a Turn>,
}

impl Fetching<'_> {
    /// Stretches of the file, each in one piece, in one wait.
    pub(super) async fn fetch(
        self,
        ranges: &[Range<u64>],
    ) -> Result<Vec<(Range<u64>, Bytes)>, Error> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let pieces = match (self.whole, &self.reach.pages, self.entry) {
            (Some(whole), ..) => Vec::from([(0..whole.len() as u64, whole.clone())]),
            (None, Some(pages), Some(entry)) => self.through(pages, entry, ranges).await?,
            _ => {
                let joined = joined(ranges, GAP_BYTES_MAX);
                let pieces = self.ask(&joined).await?;
                joined.into_iter().zip(pieces).collect()
            }
        };
        let cut = ranges.iter().map(|range| {
            let at = pieces.partition_point(|(piece, _)| piece.end < range.end);
            let start = pieces.get(at).map_or(0, |(piece, _)| piece.start);
            let from = usize::try_from(range.start.saturating_sub(start)).unwrap_or_default();
            let to = usize::try_from(range.end.saturating_sub(start)).unwrap_or_default();
            let piece = pieces.get(at).filter(|(_, piece)| from <= to && to <= piece.len());
            let (_, piece) = piece.ok_or_else(|| self.ends_before(range.end))?;
            Ok((range.clone(), piece.slice(from..to)))
        });
        cut.collect()
    }

    /// The blocks that these ranges are in: those that are kept from local disk, those that others fetch from
    /// them, and the rest from the bucket, to be kept from now on.
    async fn through(
        self,
        pages: &Arc<Pages>,
        entry: &FileEntry,
        ranges: &[Range<u64>],
    ) -> Result<Vec<(Range<u64>, Bytes)>, Error> {
        let runs = covering(ranges, entry.bytes);
        if let Some(turn) = self.turn {
            // Who waits for room has nobody wait: others do so only once it is there.
            if !pages.may_have(entry, &runs)
                && let Some(flight) = pages.begin_ahead(entry, &runs, turn)
            {
                let parts = self.bring(pages, entry, runs).await?;
                flight.land(&parts);
                let of_file = |(run, bytes)| (bytes_of(&run, entry.bytes), bytes);
                return Ok(parts.into_iter().map(of_file).collect());
            }
            // What is kept is read into memory at once, and so is what others fetch.
            turn.come().await;
        }
        let (mut parts, mut late) = (pages.find(entry, &runs).await, false);
        self.tally.kept(bytes_in(&parts));
        for turn in 1.. {
            let lacking = missing(&runs, &parts);
            if lacking.is_empty() {
                break;
            }
            let alone = late || turn > SHARED_TURNS_MAX;
            let more = self.fetch_or_share(pages, entry, &lacking, alone).await?;
            parts.extend(more.parts);
            late = more.late;
            parts.sort_by_key(|(run, _)| run.start);
        }
        let places: Vec<_> = runs.iter().map(|run| bytes_of(run, entry.bytes)).collect();
        Ok(places.into_iter().zip(put_together(runs, parts).await?).collect())
    }

    /// These blocks, but for those that another was to fetch and did not.
    async fn fetch_or_share(
        self,
        pages: &Arc<Pages>,
        entry: &FileEntry,
        runs: &[Range<u64>],
        alone: bool,
    ) -> Result<Brought, Error> {
        let (flight, mut parts, others) = pages.begin(entry, runs, alone).await;
        self.tally.kept(bytes_in(&parts));
        let rest = missing(&flight.runs, &parts);
        if !rest.is_empty() {
            parts.extend(self.bring(pages, entry, rest).await?);
        }
        flight.land(&parts);
        let shared = pages.awaited(others).await;
        self.tally.kept(bytes_in(&shared.parts));
        parts.extend(shared.parts);
        Ok(Brought { parts, ..shared })
    }

    /// These blocks from the bucket, to be kept from now on.
    async fn bring(
        self,
        pages: &Arc<Pages>,
        entry: &FileEntry,
        runs: Vec<Range<u64>>,
    ) -> Result<Vec<Part>, Error> {
        let stretches: Vec<_> = runs.iter().map(|run| bytes_of(run, entry.bytes)).collect();
        let parts: Vec<Part> = runs.into_iter().zip(self.ask(&stretches).await?).collect();
        for (run, bytes) in &parts {
            let expected = bytes_of(run, entry.bytes);
            if bytes.len() as u64 != expected.end - expected.start {
                return Err(self.ends_before(expected.end));
            }
            pages.keep(entry, (run.clone(), bytes.clone())).await;
        }
        Ok(parts)
    }

    fn ends_before(self, byte: u64) -> Error {
        let reason = format!("it ends before byte {byte}");
        Error::Damaged { path: self.path.to_owned(), reason }
    }

    async fn ask(self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Error> {
        // What is near is one request for all of them; what is far joins what is close together.
        let requests = if self.reach.far { joined(ranges, FAR_GAP_BYTES_MAX).len() } else { 1 };
        let bytes = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        self.tally.fetched(requests as u64, bytes);
        let path = Path::from(self.path);
        let pieces = match self.turn {
            Some(turn) => apart(ranges, |range| self.in_turn(&path, range, turn)).await,
            None => self.reach.bucket.get_ranges(&path, ranges).await,
        };
        pieces.map_err(|source| bucket_failed(self.path, source))
    }

    async fn in_turn(
        self,
        path: &Path,
        range: Range<u64>,
        turn: &Turn,
    ) -> object_store::Result<Bytes> {
        let mut options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        options.extensions.insert(turn.clone());
        self.reach.bucket.get_opts(path, options).await?.bytes().await
    }
}

fn bytes_in(parts: &[Part]) -> u64 {
    parts.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

/// The bytes of each run.
async fn put_together(runs: Vec<Range<u64>>, parts: Vec<Part>) -> Result<Vec<Bytes>, Error> {
    // Each run is one part: nothing has to be copied.
    if parts.len() == runs.len() {
        return Ok(parts.into_iter().map(|(_, bytes)| bytes).collect());
    }
    off_runtime("putting pages together", move || Ok(whole(&runs, &parts))).await
}

/// The bucket did not answer, or not with what was asked for.
pub(super) fn bucket_failed(path: &str, source: object_store::Error) -> Error {
    Error::Bucket { action: "read", path: path.to_owned(), source }
}
