//! One storage, and stores that are opened over it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use icecore_store::{Config, Error, S3Config, Store, SystemClock, WriterId};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use ulid::Ulid;
use url::Url;

use crate::sample::{bodies, expected};

/// See the module.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Where the bucket is.
    pub(crate) storage: Url,
    /// How it is reached.
    pub(crate) s3: S3Config,
    /// What is local: index folders, and the bucket itself where it is a folder.
    pub(crate) local: TempDir,
}

impl Bench {
    /// A bucket in a local folder.
    pub(crate) fn folder() -> Self {
        let local = TempDir::new().unwrap();
        let storage = Url::from_directory_path(local.path().join("bucket")).unwrap();
        Self { storage, s3: S3Config::default(), local }
    }

    /// The bucket `core` of an S3-compatible server.
    pub(crate) fn s3(s3: S3Config) -> Self {
        // What the root binary does first thing.
        drop(rustls::crypto::ring::default_provider().install_default());
        let storage = Url::parse("s3://core/some/prefix").unwrap();
        Self { storage, s3, local: TempDir::new().unwrap() }
    }

    /// The folder of the index of this name.
    pub(crate) fn index(&self, name: &str) -> PathBuf {
        self.local.path().join(name)
    }

    /// What a store here is opened with.
    pub(crate) fn config(&self, index: &str) -> Config {
        let mut config = Config::new(self.storage.clone(), self.index(index));
        config.s3 = self.s3.clone();
        config.compaction.settle_after = Duration::ZERO;
        config.garbage_grace = Duration::ZERO;
        config.retries_max = 2;
        config.request_timeout = Duration::from_secs(10);
        config
    }

    /// A store with the index of this name, and what it counts.
    pub(crate) async fn try_open(&self, index: &str) -> Result<(Arc<Store>, Registry), Error> {
        let mut registry = Registry::default();
        let clock = Arc::new(SystemClock::new());
        let store = Store::open(self.config(index), clock, &mut registry).await?;
        Ok((store, registry))
    }

    /// The same, where it must succeed.
    pub(crate) async fn open(&self, index: &str) -> Arc<Store> {
        self.try_open(index).await.unwrap().0
    }
}

/// A writer of this number.
pub(crate) fn writer(number: u128) -> WriterId {
    WriterId(Ulid::from_parts(1, number))
}

/// That every row of `parts` is there once, and that the bucket is whole.
pub(crate) async fn check(store: &Store, parts: &[(&str, usize)]) {
    let snapshot = store.refresh().await.unwrap();
    assert_eq!(bodies(store, &snapshot).await, expected(parts));
    let report = store.check().await.unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
    assert!(report.index_agrees, "{report:?}");
}

/// What a registry would answer to a scrape.
pub(crate) fn scrape(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}
