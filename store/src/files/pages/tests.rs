//! The page cache under removal, deletion, a full disk, and two processes.
#![expect(clippy::single_range_in_vec_init, reason = "one range is meant")]

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use ulid::Ulid;

use super::blocks::BLOCK_BYTES;
use super::leaving::LOOK_AFTER;
use super::queue::QUEUE_BYTES_MAX;
use super::*;
use crate::catalog::FileLayout;
use crate::catalog::record::Removal;
use crate::catalog::state::State;
use crate::index::tests::full::SmallDisk;
use crate::metrics::Metrics;
use crate::model::{FileId, Table, TimeRange, UnixNanos};
use crate::ports::SystemClock;

mod ahead;
mod hostile;

/// The data files of the tests have five blocks and a bit.
const FILE_BYTES: u64 = 5 * BLOCK_BYTES + 100;

fn file(number: u64) -> FileEntry {
    FileEntry {
        id: FileId(Ulid::from_parts(number, 7)),
        table: Table::Spans,
        bytes: FILE_BYTES,
        rows: 1,
        time: TimeRange::covering(UnixNanos(0), UnixNanos(0)),
        hour: UnixNanos(0),
        layout: Arc::new(FileLayout::default()),
    }
}

fn snapshot(files: impl IntoIterator<Item = FileEntry>) -> Arc<Snapshot> {
    let (covered, sequences, removed) = Default::default();
    Arc::new(State::restore(files, covered, sequences, removed).snapshot().clone())
}

/// What a data file has in a run of blocks.
fn part(file: &FileEntry, run: Range<u64>) -> Part {
    let at = bytes_of(&run, file.bytes);
    let seed = file.id.0.timestamp_ms();
    let bytes: Vec<u8> = at.map(|at| ((at / 7 + seed * 31) % 251) as u8).collect();
    (run, bytes.into())
}

/// One cache, and the catalog that it asks.
struct Bench {
    base: PathBuf,
    bytes_max: u64,
    catalog: watch::Sender<Arc<Snapshot>>,
    registry: Registry,
    metrics: Metrics,
    _folder: TempDir,
}

impl Bench {
    /// Of a catalog with these files.
    fn new(files: Range<u64>, bytes_max: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        Self {
            base: folder.path().join("cache"),
            bytes_max,
            catalog: watch::Sender::new(snapshot(files.map(file))),
            registry,
            metrics,
            _folder: folder,
        }
    }

    fn try_open(&self) -> Option<Arc<Pages>> {
        let config =
            PageCacheConfig { dir: self.base.clone(), bytes_max: self.bytes_max, near: false };
        let clock = Arc::new(SystemClock::new());
        Pages::open(&config, self.catalog.subscribe(), clock, self.metrics.pages.clone())
    }

    /// Opens it. Whoever had it may be about to end on another thread.
    #[expect(clippy::disallowed_methods, reason = "the other thread keeps its own time")]
    fn open(&self) -> Arc<Pages> {
        for _ in 0..1000 {
            if let Some(pages) = self.try_open() {
                return pages;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("somebody has {}", self.base.display());
    }

    /// From here on the catalog has these files, as far as the cache is told.
    async fn catalog_has(&self, pages: &Arc<Pages>, files: Range<u64>, removed: &[u64]) {
        self.catalog.send_replace(snapshot(files.map(file)));
        let removed: Vec<Removal> =
            removed.iter().map(|number| Removal::of(&file(*number))).collect();
        pages.leave(removed.iter());
        pages.settle().await;
    }

    /// The files of the cache, and their bytes.
    fn on_disk(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.base.join("pages-1")).into_iter().flatten() {
            let entry = entry.unwrap();
            found.push((entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()));
        }
        found.retain(|(name, _)| name != "lock");
        found.sort();
        found
    }

    /// A figure that is told; 0 where it never was.
    fn figure(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    fn dropped(&self, reason: &str) -> u64 {
        let labels = format!("{{reason=\"{reason}\"}}");
        self.figure(&format!("icecore_store_page_cache_dropped_bytes_total{labels}"))
    }

    fn skipped(&self, reason: &str) -> u64 {
        self.figure(&format!("icecore_store_page_cache_skipped_total{{reason=\"{reason}\"}}"))
    }
}

/// Keeps a part and waits until it is written, or is known not to be.
async fn keep(pages: &Arc<Pages>, number: u64, run: Range<u64>) {
    let file = file(number);
    pages.keep(&file, part(&file, run)).await;
    while pages.queue.is_writing() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// That of these blocks of a file just those are found, as they are.
async fn check(pages: &Arc<Pages>, number: u64, runs: &[Range<u64>], expected: &[Range<u64>]) {
    let file = file(number);
    let found = pages.find(&file, runs).await;
    let expected: Vec<Part> = expected.iter().map(|run| part(&file, run.clone())).collect();
    assert!(found == expected, "of {runs:?} of file {number}");
}

/// Scenario: blocks of two files are kept, some twice; the process ends and another one begins.
/// Guarantees: what was kept is found, block by block, before and after; nothing is on disk twice.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_is_found_after_a_restart() {
    let bench = Bench::new(1..3, u64::MAX);
    let pages = bench.open();
    check(&pages, 1, &[0..6], &[]).await;
    keep(&pages, 1, 1..3).await;
    keep(&pages, 1, 2..6).await;
    keep(&pages, 2, 5..6).await;
    check(&pages, 1, &[0..6], &[1..6]).await;
    check(&pages, 1, &[0..2, 4..6], &[1..2, 4..6]).await;
    check(&pages, 2, &[0..1, 3..6], &[5..6]).await;
    let whole = FILE_BYTES - BLOCK_BYTES + 5 * HEADER_BYTES as u64;
    let bytes: Vec<u64> = bench.on_disk().into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(bytes, [whole, 100 + HEADER_BYTES as u64]);
    assert_eq!(bench.figure("icecore_store_page_cache_bytes"), bytes.iter().sum::<u64>());
    drop(pages);
    let again = bench.open();
    check(&again, 1, &[0..6], &[1..6]).await;
    keep(&again, 1, 0..1).await;
    check(&again, 1, &[0..6], &[0..6]).await;
}

/// Scenario: a file leaves the catalog, is put in again by a query that reads an older snapshot, and while it is
/// removed; another leaves it without a word, and one while no process runs.
/// Guarantees: nothing of it is on disk once the record is in force, nor afterwards; at the latest it goes
/// when it is looked after, or with the next start.
#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_catalog_leaves_the_disk() {
    let bench = Bench::new(1..5, u64::MAX);
    let pages = bench.open();
    for number in 1..5 {
        keep(&pages, number, 0..6).await;
    }
    assert_eq!(bench.on_disk().len(), 4);
    bench.catalog_has(&pages, 2..5, &[1]).await;
    assert_eq!(bench.on_disk().len(), 3);
    check(&pages, 1, &[0..6], &[]).await;
    keep(&pages, 1, 0..6).await;
    assert_eq!((bench.on_disk().len(), bench.skipped("removed")), (3, 6));
    let being_kept = file(2);
    for _ in 0..20 {
        pages.keep(&being_kept, part(&being_kept, 0..6)).await;
    }
    bench.catalog_has(&pages, 3..5, &[2]).await;
    keep(&pages, 2, 0..1).await;
    assert_eq!(bench.on_disk().len(), 2);
    bench.catalog_has(&pages, 4..5, &[]).await;
    pages.look_after(LOOK_AFTER / 2).await;
    assert_eq!(bench.on_disk().len(), 2);
    pages.look_after(LOOK_AFTER * 2).await;
    assert_eq!(bench.on_disk().len(), 1);
    drop(pages);
    bench.catalog.send_replace(snapshot([]));
    std::fs::write(bench.base.join("pages-1/spans.0.notours"), "what is this").unwrap();
    let _pages = bench.open();
    assert_eq!(bench.on_disk(), []);
    assert_eq!(bench.dropped("removed"), 4 * (FILE_BYTES + 6 * HEADER_BYTES as u64));
}

/// Scenario: twelve files are kept where there is room for three, one of which is asked for again and again.
/// Guarantees: never more is on disk than may be; what is asked for stays; what left is said; a file that has
/// no room at all is not kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asks_for_makes_room() {
    let each = FILE_BYTES + 6 * HEADER_BYTES as u64;
    let mut bench = Bench::new(1..13, 3 * each + 10);
    let pages = bench.open();
    for number in 1..13 {
        keep(&pages, number, 0..6).await;
        check(&pages, 1, &[0..6], &[0..6]).await;
        let bytes: u64 = bench.on_disk().iter().map(|(_, bytes)| bytes).sum();
        assert!(bytes <= bench.bytes_max, "{bytes}");
        assert_eq!(bench.figure("icecore_store_page_cache_bytes"), bytes);
    }
    check(&pages, 12, &[0..6], &[0..6]).await;
    check(&pages, 5, &[0..6], &[]).await;
    assert_eq!(bench.dropped("room"), 9 * each);
    drop(pages);
    bench.bytes_max = each + 10;
    let pages = bench.open();
    assert_eq!(bench.on_disk().len(), 1);
    drop(pages);
    bench.bytes_max = each - 10;
    let pages = bench.open();
    keep(&pages, 1, 0..6).await;
    assert_eq!((bench.on_disk(), bench.skipped("room")), (Vec::new(), 6));
}

/// Scenario: the whole folder is deleted under a running process, of two files that are kept.
/// Guarantees: what was there is fetched again, and kept again.
#[tokio::test(flavor = "multi_thread")]
async fn the_folder_may_be_deleted_at_any_time() {
    let bench = Bench::new(1..4, u64::MAX);
    let pages = bench.open();
    keep(&pages, 1, 0..2).await;
    keep(&pages, 2, 0..2).await;
    std::fs::remove_dir_all(&bench.base).unwrap();
    check(&pages, 1, &[0..2], &[]).await;
    keep(&pages, 2, 2..4).await;
    check(&pages, 2, &[0..6], &[2..4]).await;
    keep(&pages, 1, 0..2).await;
    check(&pages, 1, &[0..2], &[0..2]).await;
    assert_eq!(bench.on_disk().len(), 2);
    let bytes: u64 = bench.on_disk().iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(bench.figure("icecore_store_page_cache_bytes"), bytes);
}

/// Scenario: two processes on one folder, one after the other, and a folder of another version.
/// Guarantees: the second goes without while the first lives; of other versions nothing is left that nobody has.
#[tokio::test(flavor = "multi_thread")]
async fn one_process_has_the_folder() {
    let bench = Bench::new(1..2, u64::MAX);
    std::fs::create_dir_all(bench.base.join("pages-0/deeper")).unwrap();
    let pages = bench.open();
    assert!(!bench.base.join("pages-0").exists());
    assert!(bench.try_open().is_none());
    keep(&pages, 1, 0..1).await;
    drop(pages);
    check(&bench.open(), 1, &[0..1], &[0..1]).await;
}

/// Scenario: the disk becomes full by something else, and has room again later.
/// Guarantees: what is kept makes room for others at once, nothing is answered that is not whole, it is said
/// and counted, and nothing is tried for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_given_up() {
    let Some(disk) = SmallDisk::mount("4m") else { return };
    let mut bench = Bench::new(1..9, u64::MAX);
    bench.base = disk.path().join("cache");
    let pages = bench.open();
    keep(&pages, 1, 0..6).await;
    check(&pages, 1, &[0..6], &[0..6]).await;
    disk.fill();
    keep(&pages, 2, 0..6).await;
    assert_eq!(bench.on_disk(), []);
    check(&pages, 1, &[0..6], &[]).await;
    check(&pages, 2, &[0..6], &[]).await;
    keep(&pages, 3, 0..6).await;
    assert_eq!((bench.on_disk(), bench.skipped("disk_full")), (Vec::new(), 12));
    assert!(bench.dropped("disk_full") > 0);
    let free = std::fs::write(disk.path().join("log"), [0; 100_000]);
    assert!(free.is_ok(), "there is room for what must be kept");
}

/// Scenario: more waits to be written than may: short parts and long ones, slices of what is a hundred times as
/// large.
/// Guarantees: what is too much is not kept, and is counted; nobody waits; nothing that waits holds on to what it is
/// a slice of, and all of it together takes no more memory than it may.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::await_holding_lock, reason = "it stands for a disk that hangs")]
async fn what_waits_is_bounded() {
    let bench = Bench::new(1..2, u64::MAX);
    let pages = bench.open();
    let held = pages.hold();
    let one = file(1);
    for blocks in [20, 4] {
        for _ in 0..100 {
            let length = usize::try_from(blocks * BLOCK_BYTES).unwrap();
            let whole = Bytes::from(vec![7; length + (4 << 20)]);
            pages.keep(&one, (0..blocks, whole.slice(9..9 + length))).await;
            assert!(whole.is_unique(), "a copy waits");
        }
        let full = QUEUE_BYTES_MAX - 20 * usize::try_from(BLOCK_BYTES).unwrap();
        assert!((full..=QUEUE_BYTES_MAX).contains(&pages.queue.bytes()));
    }
    assert!(bench.skipped("busy") >= 4 * 30 + 20 * 90);
    drop(held);
    while pages.queue.is_writing() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(pages.queue.bytes(), 0);
}

/// Scenario: a hundred thousand files leave the catalog at once, the last that came first.
/// Guarantees: to know nothing of them any more takes a moment.
#[test]
fn many_files_leave_at_once() {
    let clock = SystemClock::new();
    let mut shelf = Shelf::default();
    let names: Vec<Name> = (0..100_000).map(|number| Name::of(&file(number))).collect();
    names.iter().for_each(|name| shelf.found(*name, 1));
    for name in names.iter().rev() {
        shelf.remove(name).unwrap();
    }
    let took = clock.elapsed();
    assert_eq!((shelf.bytes(), shelf.len()), (0, 0));
    assert!(took < Duration::from_secs(3), "{took:?}");
}
