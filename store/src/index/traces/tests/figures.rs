//! What look-ups cost at a size that is given: `ICECORE_TRACE_FILES=100000`, with `--nocapture` to
//! see the figures, optimised for them to mean anything.

use super::*;
use crate::index::tests::stopwatch::Stopwatch;

/// Days that the files are of.
const DAYS: i64 = 30;

/// Traces in a file that are in no other, and those that it shares with the file before it: with
/// 17 spans a trace, 100,000 files are 100 million spans.
const OWN: u64 = 55;
const SHARED: u64 = 5;

fn count() -> u64 {
    let given = std::env::var("ICECORE_TRACE_FILES");
    given.map_or(60, |count| count.parse().expect("a number of files"))
}

/// Ids as tracers make them.
fn random_id(number: u64) -> TraceId {
    TraceId(SmallRng::seed_from_u64(number).random())
}

/// The numbers of the traces in a file.
fn ids_of(file: u64) -> impl Iterator<Item = u64> {
    let first = file * (OWN + SHARED);
    (first.saturating_sub(SHARED)..first).chain(first..first + OWN + SHARED)
}

fn entry(number: u64, files: u64) -> FileEntry {
    let hours = u64::try_from(DAYS).unwrap() * 24;
    let hour = UnixNanos(i64::try_from(number * hours / files).unwrap() * UnixNanos::HOUR);
    FileEntry {
        id: FileId(Ulid::from_parts(number, u128::from(number) << 20)),
        table: Table::Spans,
        bytes: 1,
        rows: 1,
        time: TimeRange::covering(hour, hour),
        hour,
        layout: Arc::default(),
    }
}

/// Scenario: a month of files, each with some dozen traces, some of which are in two files; up to
/// a thousand traces are looked up, and as many that were never there.
/// Guarantees: exactly the files that hold them; few pages are read, and few bytes kept.
#[test]
fn one_trace_among_many_files() {
    let (files, folder) = (count(), TempDir::new().unwrap());
    let made = (0..files).map(|number| entry(number, files));
    let state = State::restore(made, [].into(), [].into(), [].into());
    let snapshot = Arc::new(state.snapshot().clone());
    let traces = open(folder.path(), u64::MAX, &snapshot);
    let now = UnixNanos((DAYS + 2) * DAY);
    let alive = Alive { snapshot: Arc::clone(&snapshot), removed: BTreeSet::new(), now };
    let watch = Stopwatch::start();
    let all: Vec<u64> = (0..files).collect();
    for some in all.chunks(64) {
        let kept = some.iter().map(|number| {
            let prints: BTreeSet<u64> =
                ids_of(*number).map(|id| prints::print(random_id(id))).collect();
            (entry(*number, files).key(), prints.into_iter().collect())
        });
        traces.keep(kept.collect()).unwrap();
        traces.merge(&alive).unwrap();
    }
    let (segments, bytes, pairs) = {
        let known = traces.known();
        let pairs: u64 = known.segments().map(|segment| segment.pairs).sum();
        (known.segments().count(), known.bytes(), pairs)
    };
    println!(
        "{files} files, {pairs} pairs made and merged in {watch}: {segments} segments, \
         {bytes} bytes, {:.2} a pair",
        bytes as f64 / pairs as f64
    );
    assert!(segments <= 6 * usize::try_from(DAYS).unwrap(), "{segments} segments");
    // The last page of a segment is seldom full.
    assert!(bytes < 8 * pairs + 4096 * segments as u64, "{bytes} bytes");

    let known = files * (OWN + SHARED);
    let look_ups = files.min(1000);
    let there = (0..look_ups).map(|at| at * (known / look_ups));
    let asked: Vec<u64> = there.chain(known..known + look_ups).collect();
    let (mut needless, mut found, mut slowest) = (0, 0, std::time::Duration::ZERO);
    let watch = Stopwatch::start();
    for number in &asked {
        let one = Stopwatch::start();
        let candidates = traces.find(&snapshot, random_id(*number)).all().count();
        slowest = slowest.max(one.elapsed());
        // The last traces of a file are in the next one, too.
        let (file, at) = (number / (OWN + SHARED), number % (OWN + SHARED));
        let holders = [file, file + u64::from(at >= OWN)];
        let holders: BTreeSet<_> = holders.into_iter().filter(|file| *file < files).collect();
        assert!(candidates >= holders.len(), "trace {number}");
        needless += candidates - holders.len();
        found += holders.len();
    }
    println!(
        "{} look-ups in {watch}, the slowest {slowest:?}: {found} files, {needless} needless",
        asked.len()
    );
    assert_eq!(needless, 0);
    let watch = Stopwatch::start();
    drop(traces);
    let opened = open(folder.path(), u64::MAX, &snapshot);
    println!("opened in {watch}");
    assert_eq!(opened.known().counts(), (0, usize::try_from(files).unwrap()));
}
