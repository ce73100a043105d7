//! Waits until a server has put everything into the bucket and has nothing left to do.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::api::Api;
use super::server::{COMPACTION_INTERVAL, Server};
use super::usage;
use crate::error::Error;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// More than the wait between two compactions, so that each quiet time has one in it.
const QUIET_BEYOND: Duration = Duration::from_secs(1);

/// A server below this share of a core over a quiet time is idle.
const IDLE_SHARE: f64 = 0.03;

/// Without any progress for so long a server is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Settled {
    /// CPU time of the server when it became idle.
    pub(super) cpu_seconds: f64,
    /// How long after the call it became idle.
    pub(super) after: Duration,
    /// Files that the catalog names, and the catalog itself. Files that were merged away and wait
    /// for their grace period are not in it.
    pub(super) bucket_bytes: u64,
    /// Files that the catalog names.
    pub(super) files: u64,
}

/// Waits until `rows` are in files, none is live, and the server has been idle for longer than it
/// pauses between compactions.
pub(super) async fn wait(server: &Server, rows: u64) -> Result<Settled, Error> {
    let api = Api::new(&server.api)?;
    let quiet_for = COMPACTION_INTERVAL + QUIET_BEYOND;
    let began = Instant::now();
    let mut quiet_since = (Instant::now(), usage::cpu_seconds(server.pid)?);
    let mut progress = (Instant::now(), (0.0, 0.0, 0.0));
    loop {
        sleep(LOOK_EVERY).await;
        let metrics = api.metrics().await?;
        let live = metrics.sum("icecore_ingest_live_rows");
        let stored = metrics.sum("icecore_store_rows");
        let files = metrics.sum("icecore_store_files");
        let now = (Instant::now(), usage::cpu_seconds(server.pid)?);
        let quiet = now.0 - quiet_since.0;
        let busy = now.1 - quiet_since.1 > IDLE_SHARE * quiet_for.as_secs_f64();
        if live > 0.0 || stored < rows as f64 || busy {
            quiet_since = now;
        } else if quiet >= quiet_for {
            let file_bytes = whole(metrics.sum("icecore_store_file_bytes"));
            let catalog = bytes_under(&server.data_dir.join("bucket"), "data");
            return Ok(Settled {
                cpu_seconds: quiet_since.1,
                after: quiet_since.0 - began,
                bucket_bytes: file_bytes + catalog,
                files: whole(files),
            });
        }
        if progress.1 != (live, stored, files) {
            progress = (now.0, (live, stored, files));
        }
        if now.0 - progress.0 > STUCK_AFTER {
            let seconds = STUCK_AFTER.as_secs();
            let what = format!("{live} live rows, {stored} of {rows} rows in {files} files");
            return Err(Error::Busy { seconds, what });
        }
    }
}

/// Waits until a server whose index is new knows which files have which traces, and says how long
/// that took: it reads files for that, which is nobody's question.
pub(super) async fn know_traces(api: &Api) -> Result<Duration, Error> {
    let began = Instant::now();
    let mut progress = (began, f64::INFINITY);
    loop {
        let metrics = api.metrics().await?;
        let waiting = metrics.sum_of("icecore_store_trace_filter_files", "state=\"waiting\"");
        if waiting == 0.0 {
            return Ok(began.elapsed());
        }
        if waiting < progress.1 {
            progress = (Instant::now(), waiting);
        }
        if progress.0.elapsed() > STUCK_AFTER {
            let what = format!("the traces of {waiting} files are not known");
            return Err(Error::Busy { seconds: STUCK_AFTER.as_secs(), what });
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A size or a number of things, as metrics tell it.
pub(super) fn whole(value: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
    let whole = value as u64;
    whole
}

/// Sizes of all files of a folder, but for those under its folder `without`.
pub(super) fn bytes_under(folder: &Path, without: &str) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() && entry.file_name() == without => 0,
        Ok(about) if about.is_dir() => bytes_under(&entry.path(), without),
        Ok(about) => about.len(),
        Err(_gone) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a folder of files.
    /// Guarantees: sizes are summed, and leave out the one folder.
    #[test]
    fn sizes_are_summed() {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in [("data/x", 100), ("catalog/y/z", 7), ("w", 5)] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; bytes]).unwrap();
        }
        assert_eq!(bytes_under(folder.path(), "data"), 12);
    }
}
