//! Settings to the configuration of the parts that stand on the store.

use std::path::PathBuf;

use icecore_store::Store;
use url::Url;

use crate::error::{Failure, Outcome};
use crate::role::Roles;
use crate::settings::{Durability, PageCache, Retention, Settings};

/// The store's configuration.
///
/// # Errors
/// Where the storage or the endpoint is no URL.
pub(crate) fn store(settings: &Settings) -> Result<icecore_store::Config, Failure> {
    let endpoint = match settings.s3_endpoint.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|error| {
            Failure::usage(format!("`s3_endpoint`: `{text}` is not an address: {error}"))
        })?),
    };
    let region = Some(settings.s3_region.clone()).filter(|region| !region.is_empty());
    let s3 = icecore_store::S3Config { endpoint, region, ..Default::default() }
        .from_env(|name| std::env::var(name).ok());
    let compaction = icecore_store::CompactionConfig {
        interval: settings.compaction_interval,
        files_min: settings.compaction_files_min,
        settle_after: settings.compaction_interval,
        merge_bytes_max: settings.compaction_target_bytes.0,
        small_bytes_max: settings.compaction_target_bytes.0 / 2,
        memory_bytes_max: settings.compaction_memory_bytes_max.0,
        ..Default::default()
    };
    let retention = settings.retention.iter().map(rule).collect::<Result<_, _>>()?;
    let trace_filters = icecore_store::TraceFilterConfig {
        disk_bytes_max: settings.trace_filter_disk_bytes_max.0,
        pending_bytes_max: settings.trace_filter_memory_bytes_max.as_usize(),
    };
    let config =
        icecore_store::Config::new(storage_url(settings)?, data_dir(settings)?.join("index"));
    Ok(icecore_store::Config {
        s3,
        compaction,
        work_bytes_max: settings.work_memory_bytes_max.0,
        trace_filters,
        refresh_interval: settings.refresh_interval,
        row_group_rows_max: settings.row_group_rows_max,
        retention,
        retention_interval: settings.retention_interval,
        fetched_bytes_max: settings.fetched_bytes_max.0,
        fetch_ahead_bytes_max: settings.fetch_ahead_bytes_max.0,
        footers_bytes_max: settings.footer_cache_bytes_max.as_usize(),
        dictionaries_bytes_max: settings.dictionary_cache_bytes_max.as_usize(),
        garbage_grace: settings.garbage_grace,
        ..config
    })
}

/// What queries keep of data files on local disk. Where nothing is to be kept, what is there goes.
///
/// # Errors
/// Where the data directory cannot be made absolute.
pub(super) fn page_cache(settings: &Settings) -> Result<icecore_store::PageCacheConfig, Failure> {
    let bytes_max = match settings.page_cache {
        PageCache::Off => 0,
        PageCache::On | PageCache::Auto => settings.page_cache_bytes_max.0,
    };
    let near = settings.page_cache == PageCache::On;
    let dir = data_dir(settings)?.join("cache");
    Ok(icecore_store::PageCacheConfig { dir, bytes_max, near })
}

/// Gives the store what understands SQL, and checks the rules of retention with it.
///
/// # Errors
/// Names the first rule that is not understood.
pub(crate) fn understand(store: &Store) -> Outcome {
    #[cfg(feature = "query")]
    let understood = store.understand(std::sync::Arc::new(icecore_query::SqlConditions::new()));
    #[cfg(not(feature = "query"))]
    let understood = store.check_rules();
    understood.map_err(|error| Failure::usage(crate::error::chain(&error)))
}

fn rule(rule: &Retention) -> Result<icecore_store::RetentionRule, Failure> {
    let Retention { table, keep, condition } = rule.clone();
    let table: Result<icecore_store::Table, _> = table.parse();
    let table = table.map_err(|error| Failure::usage(format!("`retention`: {error}")))?;
    Ok(icecore_store::RetentionRule { table, keep, condition })
}

/// The configuration of ingest.
///
/// # Errors
/// Where the data directory cannot be made absolute.
pub(super) fn ingest(roles: Roles, settings: &Settings) -> Result<icecore_ingest::Config, Failure> {
    // Who answers queries itself, and knows of no others, is asked by nobody.
    let asked = !roles.query || !settings.ingesters.is_empty();
    let live_addr = address("live_addr", &settings.live_addr)?.filter(|_| asked);
    Ok(icecore_ingest::Config {
        live_addr,
        grpc_addr: settings.otlp_grpc_addr,
        http_addr: settings.otlp_http_addr,
        log_dir: data_dir(settings)?.join("log"),
        durability: match settings.durability {
            Durability::Disk => icecore_ingest::Durability::Disk,
            Durability::Bucket => icecore_ingest::Durability::Bucket,
            Durability::Memory => icecore_ingest::Durability::Memory,
        },
        segment_bytes_max: settings.log_segment_bytes_max.0,
        log_bytes_max: settings.log_bytes_max.0,
        live_cache_bytes_max: settings.live_cache_bytes_max.0,
        paced_from_bytes: settings.paced_from_bytes.0,
        flush_bytes: settings.flush_bytes.0,
        flush_after: settings.flush_after,
        request_bytes_max: settings.request_bytes_max.as_usize(),
        decoded_bytes_max: settings.request_decoded_bytes_max.as_usize(),
        inflight_bytes_max: settings.inflight_bytes_max.as_usize(),
        cors_origins: settings.otlp_http_cors_origins.clone(),
        ..Default::default()
    })
}

/// An address that may be left out.
pub(super) fn address(setting: &str, text: &str) -> Result<Option<std::net::SocketAddr>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text.parse().map_err(|_none| {
        Failure::usage(format!("`{setting}`: `{text}` is no address such as `127.0.0.1:7071`"))
    });
    address.map(Some)
}

fn storage_url(settings: &Settings) -> Result<Url, Failure> {
    let wrong = |why: String| Failure::usage(format!("`storage`: {why}"));
    if settings.storage.is_empty() {
        let bucket = data_dir(settings)?.join("bucket");
        return Url::from_directory_path(&bucket)
            .map_err(|()| wrong(format!("`{}` is no path", bucket.display())));
    }
    settings.storage.parse().map_err(|error| {
        wrong(format!("`{}` is not file:///path or s3://bucket/prefix: {error}", settings.storage))
    })
}

/// The folder that is the bucket; `None` where it is no folder.
///
/// # Errors
/// Where the storage is no URL.
pub(crate) fn folder(settings: &Settings) -> Result<Option<PathBuf>, Failure> {
    let url = storage_url(settings)?;
    Ok((url.scheme() == "file").then(|| url.to_file_path().ok()).flatten())
}

/// The data directory, made absolute.
///
/// # Errors
/// Where the working directory is gone.
pub(crate) fn data_dir(settings: &Settings) -> Result<PathBuf, Failure> {
    std::path::absolute(&settings.data_dir)
        .map_err(|error| Failure::from_error("cannot find the data directory", &error))
}
