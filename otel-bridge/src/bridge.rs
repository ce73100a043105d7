//! The bridge as a service: `open` checks and recovers, `run` sends until it is stopped.

use std::sync::Arc;

use icecore_store::{Clock, Feed};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cursor::{self, Cursor, CursorFile};
use crate::metrics::Metrics;
use crate::worker::{Parts, Worker};
use crate::{Config, Destination, Error, own};

/// Forwards a [`Feed`] to every configured destination.
#[derive(Debug)]
pub struct Bridge {
    workers: Vec<Worker>,
}

impl Bridge {
    /// Checks every destination, loads or makes the cursors, and connects to nothing yet.
    ///
    /// A destination without a cursor gets what is acknowledged from now on.
    pub async fn open(
        config: Config,
        feed: Arc<dyn Feed>,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        check(&config).await?;
        let metrics = Metrics::register(registry);
        let config = Arc::new(config);
        let mut workers = Vec::new();
        for (at, destination) in config.destinations.iter().enumerate() {
            let cursor_file = CursorFile::new(&config.cursor_dir, &destination.name);
            let cursor = load(&cursor_file, destination, &feed)?;
            feed.retain(&destination.name, cursor.position);
            workers.push(Worker::new(
                Parts {
                    feed: Arc::clone(&feed),
                    clock: Arc::clone(&clock),
                    metrics: metrics.of(&destination.name),
                    cursor_file,
                    cursor,
                    seed: config.seed.wrapping_add(at.try_into().unwrap_or(0)),
                    config: Arc::clone(&config),
                },
                destination,
            )?);
        }
        Ok(Self { workers })
    }

    /// Sends until `stop`; then lets requests on their way finish within the drain time, and
    /// saves the cursors.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        for worker in self.workers {
            tasks.spawn(worker.run(stop.child_token()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(Error::Worker)?;
        }
        // A bridge without destinations has nothing to do, and still ends with the others.
        stop.cancelled().await;
        Ok(())
    }
}

/// What only this machine can tell: whether a destination is ourselves, and whether there is a folder.
async fn check(config: &Config) -> Result<(), Error> {
    config.check()?;
    for destination in &config.destinations {
        own::check(destination, &config.own_addresses).await?;
    }
    if config.destinations.is_empty() {
        return Ok(());
    }
    let path = &config.cursor_dir;
    let made = std::fs::create_dir_all(path);
    made.map_err(|source| Error::File { action: "make the folder", path: path.clone(), source })
}

/// The cursor to go on from, saved at once, so that what comes in before the first request is
/// sent belongs to this destination even after a crash.
fn load(
    file: &CursorFile,
    destination: &Destination,
    feed: &Arc<dyn Feed>,
) -> Result<Cursor, Error> {
    let saved = file.load()?;
    let (writer, end) = (feed.writer(), *feed.end().borrow());
    let position = cursor::start(saved, writer, feed.oldest(), end);
    let cursor = Cursor { writer, position };
    if saved.is_some_and(|saved| saved != cursor) {
        warn!(destination = %destination.name, ?saved, ?cursor, "cursor does not fit the log");
    }
    file.save(cursor)?;
    info!(
        destination = %destination.name,
        url = %destination.url,
        protocol = ?destination.protocol,
        behind_bytes = end.0.saturating_sub(position.0),
        "forwarding"
    );
    Ok(cursor)
}
