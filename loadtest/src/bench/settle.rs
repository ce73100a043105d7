//! Waits until a server has put everything into the bucket and has nothing left to do.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::server::Server;
use super::usage;
use crate::error::Error;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Longer than the wait between two compactions, so that each quiet time has one in it.
const QUIET_FOR: Duration = Duration::from_secs(6);

/// A server below this share of a core over [`QUIET_FOR`] is idle.
const IDLE_SHARE: f64 = 0.03;

const SETTLED_WITHIN: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Settled {
    /// CPU time of the server when it became idle.
    pub(super) cpu_seconds: f64,
    /// How long after the call it became idle.
    pub(super) after: Duration,
    /// Files that the catalog names, and the catalog itself. Files that were merged away and wait
    /// for their grace period are not in it.
    pub(super) bucket_bytes: u64,
}

pub(super) async fn wait(server: &Server, spans: u64) -> Result<Settled, Error> {
    let client = reqwest::Client::builder().no_proxy().build().map_err(Error::Client)?;
    let url = format!("{}metrics", server.api);
    let began = Instant::now();
    let mut quiet_since = (Instant::now(), usage::cpu_seconds(server.pid)?);
    loop {
        sleep(LOOK_EVERY).await;
        let metrics = metrics(&client, &url).await?;
        let live = sum(&metrics, "icecore_ingest_live_rows");
        let stored = sum(&metrics, "icecore_store_rows");
        let now = (Instant::now(), usage::cpu_seconds(server.pid)?);
        let quiet = now.0 - quiet_since.0;
        let busy = now.1 - quiet_since.1 > IDLE_SHARE * QUIET_FOR.as_secs_f64();
        if live > 0.0 || stored < spans as f64 || busy {
            quiet_since = now;
        } else if quiet >= QUIET_FOR {
            let files = sum(&metrics, "icecore_store_file_bytes");
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
            let files = files as u64;
            let catalog = bytes_under(&server.data_dir.join("bucket"), "data");
            let after = quiet_since.0 - began;
            let bucket_bytes = files + catalog;
            return Ok(Settled { cpu_seconds: quiet_since.1, after, bucket_bytes });
        }
        if began.elapsed() > SETTLED_WITHIN {
            let seconds = SETTLED_WITHIN.as_secs();
            let what = format!("{live} live rows, {stored} of {spans} rows in the bucket");
            return Err(Error::Busy { seconds, what });
        }
    }
}

async fn metrics(client: &reqwest::Client, url: &str) -> Result<String, Error> {
    let failed = |source| Error::Ask { url: url.to_owned(), source };
    client.get(url).send().await.map_err(failed)?.text().await.map_err(failed)
}

/// All values of a metric, over its labels.
fn sum(metrics: &str, name: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (_, value) = rest.rsplit_once(' ')?;
        rest.starts_with(['{', ' ']).then(|| value.parse().ok())?
    });
    values.fold(0.0, |sum, value: f64| sum + value)
}

/// Sizes of all files of a folder, but for those under its folder `without`.
fn bytes_under(folder: &Path, without: &str) -> u64 {
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

    /// Scenario: a page of metrics, and a folder of files.
    /// Guarantees: a metric is summed over its labels and not mixed up with one that begins alike;
    /// sizes leave out the one folder.
    #[test]
    fn figures_are_summed() {
        let page = "# TYPE rows gauge\nrows{table=\"a\"} 3\nrows{table=\"b\"} 4\nrows_total 9\n";
        assert!((sum(page, "rows") - 7.0).abs() < f64::EPSILON);
        assert!((sum(page, "rows_total") - 9.0).abs() < f64::EPSILON);
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in [("data/x", 100), ("catalog/y/z", 7), ("w", 5)] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; bytes]).unwrap();
        }
        assert_eq!(bytes_under(folder.path(), "data"), 12);
    }
}
