//! The bucket as one process reaches it: over a network that loses, delays and repeats.
//!
//! Invariant: the bucket itself is strongly consistent. What was sent may arrive whatever becomes
//! of its sender; a listing shows what was there all the time, and perhaps what came or went
//! meanwhile, in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result,
};

use super::oracle::Moment;
use super::uploads::Parts;
use super::weather::{Fate, PATIENCE};
use super::world::{Inside, Object, World};
use crate::catalog::collect::id_of;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) world: Arc<World>,
    pub(super) who: Arc<str>,
}

/// A request that changes something.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Put { path: String, bytes: Bytes, create: bool },
    Delete { path: String },
    Begin { path: String },
    Part { path: String, upload: u64, nth: usize, bytes: Bytes },
    Complete { path: String, upload: u64, parts: usize },
    Abort { path: String, upload: u64 },
}

impl Change {
    fn path(&self) -> &String {
        match self {
            Self::Put { path, .. }
            | Self::Delete { path }
            | Self::Begin { path }
            | Self::Part { path, .. }
            | Self::Complete { path, .. }
            | Self::Abort { path, .. } => path,
        }
    }
}

/// What the bucket says to a change: the number of the upload, where there is one.
type Answer = Arc<Mutex<Option<Result<u64>>>>;

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("simulation")
    }
}

fn broken() -> Error {
    Error::Generic { store: "simulation", source: "the connection broke".into() }
}

fn nothing_at(path: &str) -> Error {
    Error::NotFound { path: path.to_owned(), source: "nothing is there".into() }
}

fn refused() -> Error {
    Error::NotImplemented { operation: "it".into(), implementer: "simulation".into() }
}

impl Link {
    fn fate(&self, what: &str, path: &str) -> (Fate, Duration, Duration) {
        let now = self.world.schedule.now();
        let mut inside = self.world.inside();
        let fate = inside.weather.fate(now);
        let (there, back) = (inside.weather.travel(), inside.weather.travel());
        let short = inside.trace.short(path);
        inside.trace.note(now, &self.who, &format!("{what} {short}: {fate:?}"));
        (fate, there, back)
    }

    async fn sleep(&self, duration: Duration) {
        self.world.schedule.sleep(duration).await;
    }

    /// Sends a change, which arrives even if the sender dies while it waits.
    pub(super) async fn send(&self, what: &str, change: Change) -> Result<u64> {
        let (fate, there, back) = self.fate(what, change.path());
        let answer: Answer = Arc::default();
        let deliver = |after: Duration, answer: Option<&Answer>| {
            let (link, change, answer) = (self.clone(), change.clone(), answer.cloned());
            let delivery = async move {
                link.sleep(after).await;
                let carried = link.carry_out(&change);
                if let Some(answer) = answer {
                    *answer.lock().unwrap() = Some(carried);
                }
            };
            drop(self.world.schedule.spawn(0, delivery));
        };
        match fate {
            Fate::Lost => {}
            Fate::Fine => deliver(there, Some(&answer)),
            Fate::Unanswered => deliver(there, None),
            Fate::Late(late) => deliver(PATIENCE + late, None),
            Fate::Twice(late) => {
                deliver(there, Some(&answer));
                deliver(there + back + late, None);
            }
            Fate::Resent => {
                deliver(there, None);
                deliver(there + back, Some(&answer));
                self.sleep(there + back).await;
            }
        }
        match fate {
            Fate::Lost => self.sleep(there).await,
            Fate::Unanswered | Fate::Late(_) => self.sleep(PATIENCE).await,
            Fate::Fine | Fate::Twice(_) | Fate::Resent => self.sleep(there + back).await,
        }
        let answered = answer.lock().unwrap().take();
        answered.unwrap_or_else(|| Err(broken()))
    }

    /// What the bucket does when a change arrives.
    fn carry_out(&self, change: &Change) -> Result<u64> {
        let now = self.world.schedule.now();
        let mut inside = self.world.inside();
        match change {
            Change::Put { path, bytes, create } => {
                if *create && !self.world.overwrites && inside.objects.contains_key(path) {
                    inside.tell(now, path, "exists");
                    let source = "it is there".into();
                    return Err(Error::AlreadyExists { path: path.clone(), source });
                }
                self.land(&mut inside, path, bytes);
            }
            Change::Delete { path } => {
                inside.tell(now, path, "is deleted");
                assert!(!is_record(path), "{path} is a record, and those are kept");
                if let Some(file) = id_of(path) {
                    inside.oracle.deleted(file, now);
                }
                inside.objects.remove(path);
            }
            Change::Begin { .. } => {
                let upload = inside.uploads_begun;
                inside.uploads_begun += 1;
                inside.uploads.insert(upload, BTreeMap::new());
                return Ok(upload);
            }
            Change::Part { path, upload, nth, bytes } => {
                let parts = inside.uploads.get_mut(upload).ok_or_else(|| nothing_at(path))?;
                parts.insert(*nth, bytes.clone());
            }
            Change::Complete { path, upload, parts } => {
                let found = inside.uploads.remove(upload).ok_or_else(|| nothing_at(path))?;
                assert_eq!(found.len(), *parts, "{path} is completed without some parts");
                let whole: Vec<u8> = found.into_values().flatten().collect();
                self.land(&mut inside, path, &whole.into());
            }
            Change::Abort { path, upload } => {
                inside.uploads.remove(upload).ok_or_else(|| nothing_at(path))?;
            }
        }
        Ok(0)
    }

    fn land(&self, inside: &mut Inside, path: &str, bytes: &Bytes) {
        let now = self.world.schedule.now();
        inside.tell(now, path, "lands");
        let object = Object { bytes: bytes.clone(), modified: now };
        let before = inside.objects.insert(path.to_owned(), object);
        let same = before.is_none_or(|before| before.bytes == *bytes);
        assert!(same || path.ends_with(".claim.json"), "{path} is put with two contents");
        let (objects, wall) = (&inside.objects, self.world.wall(now));
        let moment = Moment { objects, now, wall };
        if is_record(path) {
            if !inside.oracle.landed(path, bytes, moment) {
                inside.tell(now, path, "counts for nothing");
            }
        } else if path.ends_with(".fence.json") {
            let (less, more) = inside.oracle.fenced(path, bytes, moment);
            inside.tell(
                now,
                path,
                &format!("says that {less} records count no more, {more} again"),
            );
        }
    }

    /// Reads what is there when the request arrives.
    async fn fetch(&self, path: &Path) -> Result<Object> {
        let path = path.as_ref();
        let (fate, there, back) = self.fate("get", path);
        self.sleep(there).await;
        let found = self.world.inside().objects.get(path).cloned();
        if matches!(fate, Fate::Lost | Fate::Unanswered | Fate::Late(_)) {
            self.sleep(if fate == Fate::Lost { back } else { PATIENCE }).await;
            return Err(broken());
        }
        self.sleep(back).await;
        found.ok_or_else(|| nothing_at(path))
    }

    /// Objects under a folder.
    async fn listing(&self, folder: String) -> Result<Vec<ObjectMeta>> {
        let (fate, there, back) = self.fate("list", &folder);
        self.sleep(there).await;
        let before = self.under(&folder);
        self.sleep(back).await;
        let after = self.under(&folder);
        if fate != Fate::Fine {
            return Err(broken());
        }
        let mut inside = self.world.inside();
        let mut shown: Vec<ObjectMeta> = Vec::new();
        let both: BTreeMap<&String, &ObjectMeta> = before.iter().chain(&after).collect();
        for (path, meta) in both {
            let all_the_time = before.contains_key(path) && after.contains_key(path);
            if all_the_time || inside.weather.below(2) == 0 {
                shown.push(meta.clone());
            }
        }
        for place in (1..shown.len()).rev() {
            let other = inside.weather.below(place + 1);
            shown.swap(place, other);
        }
        Ok(shown)
    }

    fn under(&self, folder: &str) -> BTreeMap<String, ObjectMeta> {
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let inside = self.world.inside();
        let from = inside.objects.range(folder.clone()..);
        let within = from.take_while(|(path, _)| path.starts_with(&folder));
        within.map(|(path, object)| (path.clone(), self.meta(path, object))).collect()
    }

    fn meta(&self, path: &str, object: &Object) -> ObjectMeta {
        ObjectMeta {
            location: Path::from(path),
            last_modified: DateTime::from_timestamp_nanos(self.world.wall(object.modified).0),
            size: object.bytes.len() as u64,
            e_tag: None,
            version: None,
        }
    }
}

/// Whether a catalog record belongs at this path.
pub(super) fn is_record(path: &str) -> bool {
    path.starts_with("catalog/") && !path.starts_with("catalog/checkpoint/")
}

fn cut(range: Option<GetRange>, len: u64) -> Range<u64> {
    match range {
        None => 0..len,
        Some(GetRange::Bounded(range)) => range.start.min(len)..range.end.min(len),
        Some(GetRange::Offset(start)) => start.min(len)..len,
        Some(GetRange::Suffix(bytes)) => len.saturating_sub(bytes)..len,
    }
}

fn slice(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let at = |place: u64| usize::try_from(place).unwrap().min(bytes.len());
    bytes.slice(at(range.start)..at(range.end))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Link {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let create = options.mode == PutMode::Create;
        let change = Change::Put { path: location.to_string(), bytes: payload.into(), create };
        self.send("put", change).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Parts::begin(self, location.to_string()).await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let object = self.fetch(location).await?;
        let meta = self.meta(location.as_ref(), &object);
        let bytes = object.bytes;
        let range = cut(options.range, bytes.len() as u64);
        let part = if options.head { Bytes::new() } else { slice(&bytes, &range) };
        let payload = GetResultPayload::Stream(futures::stream::iter([Ok(part)]).boxed());
        Ok(GetResult { payload, meta, range, attributes: object_store::Attributes::default() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let Object { bytes, modified: _ } = self.fetch(location).await?;
        Ok(ranges.iter().map(|range| slice(&bytes, range)).collect())
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let link = self.clone();
        let delete = move |location: Result<Path>| {
            let link = link.clone();
            async move {
                let location = location?;
                link.send("delete", Change::Delete { path: location.to_string() }).await?;
                Ok(location)
            }
        };
        locations.map(delete).buffered(4).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (link, folder) = (self.clone(), prefix.map_or_else(String::new, Path::to_string));
        let listed = futures::stream::once(async move { link.listing(folder).await });
        listed.map_ok(|found| futures::stream::iter(found).map(Ok)).try_flatten().boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let offset = offset.clone();
        let later = move |found: &ObjectMeta| futures::future::ready(found.location > offset);
        self.list(prefix).try_filter(later).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = prefix.map_or_else(String::new, Path::to_string);
        let (mut objects, mut folders) = (Vec::new(), BTreeSet::new());
        for found in self.listing(folder.clone()).await? {
            let rest = found.location.as_ref().strip_prefix(&folder).unwrap_or_default();
            match rest.trim_start_matches('/').split_once('/') {
                Some((name, _)) => {
                    folders.insert(Path::from(format!("{folder}/{name}")));
                }
                None => objects.push(found),
            }
        }
        Ok(ListResult { common_prefixes: folders.into_iter().collect(), objects })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused())
    }

    async fn rename_opts(&self, _: &Path, _: &Path, _: RenameOptions) -> Result<()> {
        Err(refused())
    }
}
