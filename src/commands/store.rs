//! `icecore store`: care of the bucket.

use std::sync::Arc;

use clap::ArgMatches;
use comfy_table::{Table, presets};
use icecore_store::{
    CompactionReport, DeletionReport, MergeReport, RebuildProgress, Store, StoreStats, SystemClock,
    Table as RowTable, TimeRange,
};
use prometheus_client::registry::Registry;

use super::check::check;
use super::print;
use crate::compose::storage;
use crate::error::{Failure, Outcome, chain};
use crate::settings::{Layers, Settings};

/// Runs one of the subcommands.
pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let (name, matches) =
        matches.subcommand().ok_or_else(|| Failure::usage("`icecore store` needs a subcommand"))?;
    let mut layers = Layers::read(matches)?;
    // What a service tells of its start is no answer to a command.
    layers.unless_given("log", "warn");
    let settings = layers.settings()?;
    is_there(&settings)?;
    blocking(async {
        let telling = crate::process::start_telling(&settings)?;
        let store = open(&settings, name).await?;
        let outcome = match name {
            "check" => {
                let json = matches.get_one::<String>("output").is_some_and(|kind| kind == "json");
                check(&store, matches.get_flag("deep"), json).await
            }
            "rebuild-index" => {
                let told = std::cell::Cell::new(String::new());
                store
                    .rebuild_index(|progress| tell(progress, &told))
                    .await
                    .map_err(|error| failure("cannot rebuild the index", &error))?;
                print(&format!("index rebuilt: {}\n", summary(&store.stats())))
            }
            "compact" => compact(&store).await,
            "files" => files(&store),
            "retain" => retain(&store, &settings, matches.get_flag("dry-run")).await,
            _ => print(&format!("{}\n", stats(&store.stats()))),
        };
        telling.finish();
        outcome
    })
}

/// Refuses a folder that is not there: opening would make it, and an empty bucket is whole.
fn is_there(settings: &Settings) -> Outcome {
    let Some(folder) = storage::folder(settings)? else { return Ok(()) };
    if folder.is_dir() {
        return Ok(());
    }
    let folder = folder.display();
    Err(Failure::nothing_found(format!(
        "there is no bucket in `{folder}`; are `--data-dir` and `--storage` right?"
    )))
}

/// Opens the bucket, says what is in it, and closes it again.
pub(super) fn opened(settings: &Settings) -> Result<StoreStats, Failure> {
    blocking(async { Ok(open(settings, "stats").await?.stats()) })
}

/// The index in the data directory belongs to the running Icecore; only a rebuild wants it. A
/// check wants a bucket however damaged.
async fn open(settings: &Settings, command: &str) -> Result<Arc<Store>, Failure> {
    crate::process::install_tls();
    let config = storage::store(settings)?;
    let index_dir = config.index_dir.filter(|_| command == "rebuild-index");
    let open_damaged = command == "check";
    // Whoever asks for a merge means now, and all there is.
    let compaction = icecore_store::CompactionConfig {
        settle_after: std::time::Duration::ZERO,
        files_min: 2,
        ..config.compaction
    };
    let config = icecore_store::Config { index_dir, open_damaged, compaction, ..config };
    let clock = Arc::new(SystemClock::new());
    let store = Store::open(config, clock, &mut Registry::default())
        .await
        .map_err(|error| failure("cannot open the store", &error))?;
    storage::understand(&store)?;
    Ok(store)
}

/// Says how far a rebuild is, in steps of five hundredths.
fn tell(progress: RebuildProgress, told: &std::cell::Cell<String>) {
    let share = |done: u64, of: u64| (done.saturating_mul(20) / of.max(1)) * 5;
    let line = match progress {
        RebuildProgress::Records { read, of } => {
            format!("catalog: {} % of {of} records read\n", share(read, of))
        }
        RebuildProgress::Writing => "index: writing\n".to_owned(),
        RebuildProgress::TraceFilters { made, waiting } => {
            let of = (made + waiting) as u64;
            format!("trace filters: {} % of {of} files read\n", share(made as u64, of))
        }
    };
    if told.replace(line.clone()) != line {
        // Whoever does not listen does not stop it.
        drop(print(&line));
    }
}

async fn compact(store: &Store) -> Outcome {
    let tell = |merge: &MergeReport| {
        let &MergeReport { table, hour, files, rows, dropped: _, bytes_in, bytes_out, took } =
            merge;
        let took = took.as_secs_f64();
        // A reader that went away does not stop the work.
        drop(print(&format!(
            "{table} {hour}: {files} files, {rows} rows, {bytes_in} bytes became {bytes_out} in {took:.1} s\n"
        )));
    };
    let report = store.compact_telling(tell).await;
    let report = report.map_err(|error| failure("cannot compact", &error))?;
    let CompactionReport { merges, void, leased, files_in, rows, bytes_in, bytes_out } = report;
    print(&match merges {
        0 => "nothing to merge\n".to_owned(),
        _ => format!(
            "{files_in} files ({bytes_in} bytes) merged into {merges} ({bytes_out} bytes), {rows} rows\n"
        ),
    })?;
    if leased > 0 {
        print(&format!("{leased} hours were left to another compactor that is at them\n"))?;
    }
    match void {
        0 => Ok(()),
        _ => print(&format!("{void} merges were void: another compactor was faster\n")),
    }
}

async fn retain(store: &Store, settings: &Settings, trial: bool) -> Outcome {
    if settings.retention.is_empty() {
        return print("no rules: `retention` is empty, everything is kept\n");
    }
    let report =
        store.retain(trial).await.map_err(|error| failure("cannot apply the rules", &error))?;
    print(&deletion(&report, if trial { "would go" } else { "gone" }))?;
    match report.failed {
        0 => Ok(()),
        files => Err(Failure::failed(format!("{files} files could not be dealt with"))),
    }
}

/// What went, as a table.
fn deletion(report: &DeletionReport, went: &str) -> String {
    if report.tables.is_empty() {
        return format!("no rows {went}\n");
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    let rows = format!("rows {went}");
    table.set_header(["table", &rows, "rows held", "files dropped", "rewritten", "bytes of both"]);
    for one in &report.tables {
        let figures = [one.rows, one.held, one.dropped, one.rewritten, one.bytes_before]
            .map(|n| n.to_string());
        table.add_row(std::iter::once(one.table.to_string()).chain(figures));
    }
    format!("{table}\n")
}

fn files(store: &Store) -> Outcome {
    let snapshot = store.snapshot();
    let tables = RowTable::ALL.into_iter();
    let files = tables.flat_map(|table| snapshot.files(table, TimeRange::ALL));
    print(&files.map(|file| format!("{}\n", file.path())).collect::<String>())
}

fn stats(stats: &StoreStats) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["table", "files", "rows", "bytes", "from", "to"]);
    for one in &stats.tables {
        let time = |pick: fn(&TimeRange) -> icecore_store::UnixNanos| {
            one.time.as_ref().map_or_else(String::new, |range| pick(range).to_string())
        };
        table.add_row([
            one.table.to_string(),
            one.files.to_string(),
            one.rows.to_string(),
            one.bytes.to_string(),
            time(TimeRange::start),
            time(TimeRange::end),
        ]);
    }
    format!("{table}\n{}", summary(stats))
}

fn summary(stats: &StoreStats) -> String {
    let mode = if stats.create_only { "create-only puts kept" } else { "single-writer mode" };
    format!("{} records of {} writers; {mode}", stats.records, stats.writers)
}

fn failure(context: &str, error: &icecore_store::Error) -> Failure {
    Failure::failed(format!("{context}: {}", chain(error)))
}

fn blocking<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    crate::process::runtime()?.block_on(work)
}
