//! From a storage URL to a bucket that answered.

use std::sync::Arc;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use tracing::{info, warn};
use ulid::Ulid;

use crate::bucket::Bucket;
use crate::bucket::folder::Folder;
use crate::bucket::metered::Metered;
use crate::bucket::parts::Parted;
use crate::bucket::probe::{Place, Puts, probe};
use crate::bucket::retrying::{Retry, Retrying};
use crate::chance::Machine;
use crate::config::{Config, S3Config};
use crate::error::Error;
use crate::metrics::Metrics;

/// Connects, checks who we are, and learns what the bucket does with create-only puts.
pub(crate) async fn open(
    config: &Config,
    machine: &Machine,
    metrics: &Arc<Metrics>,
    key: Ulid,
) -> Result<Bucket, Error> {
    let storage = config.storage.as_str();
    let (objects, endpoint) = match config.storage.scheme() {
        "file" => open_folder(config)?,
        "s3" => open_s3(config)?,
        other => return Err(refused(config, format!("`{other}://` is neither file:// nor s3://"))),
    };
    let stacked = stack(objects, config, machine, metrics);
    let objects = PrefixStore::new(stacked, prefix(config));
    let probed = probe(&objects, Place { storage, endpoint: &endpoint }, key).await;
    let puts = probed.map_err(|error| without_key(config, error))?;
    announce(storage, puts, metrics);
    Ok(Bucket::new(Arc::new(objects), storage, puts))
}

/// What every request passes on its way to `objects`: it is counted, and tried again.
pub(crate) fn stack<S: ObjectStore>(
    objects: S,
    config: &Config,
    machine: &Machine,
    metrics: &Arc<Metrics>,
) -> impl ObjectStore + use<S> {
    let metered = Metered::new(objects, Arc::clone(metrics));
    Retrying::new(metered, Retry::of(config), machine.clone())
}

/// Without a key, what could not be reached may as well be the machine's identity service.
fn without_key(config: &Config, error: Error) -> Error {
    let keyless = config.storage.scheme() == "s3" && config.s3.access_key_id.is_none();
    match error {
        Error::Unreachable { storage, endpoint: _, source } if keyless => {
            Error::MissingKey { storage, source }
        }
        other => other,
    }
}

fn announce(storage: &str, puts: Puts, metrics: &Metrics) {
    metrics.puts(puts);
    match puts {
        Puts::CreateOnly => info!(storage, "bucket open, create-only puts honoured"),
        Puts::Overwrite => warn!(
            storage,
            "bucket open, but it ignores create-only puts: single-writer mode, a second writer \
             will be refused"
        ),
        Puts::Refused => warn!(storage, "bucket open for reading only: this key may not write"),
    }
}

/// Objects and where they are, for messages.
type Opened = (Box<dyn ObjectStore>, String);

fn open_folder(config: &Config) -> Result<Opened, Error> {
    let path = config.storage.to_file_path();
    let path = path.map_err(|()| refused(config, "it is no path on this machine".to_owned()))?;
    let unusable = |source: object_store::Error| {
        refused(config, format!("folder `{}`: {source}", path.display()))
    };
    let folder = Folder::open(&path).map_err(unusable)?;
    Ok((Box::new(folder), path.display().to_string()))
}

fn open_s3(config: &Config) -> Result<Opened, Error> {
    let Some(bucket) = config.storage.host_str().filter(|bucket| !bucket.is_empty()) else {
        return Err(refused(config, "it names no bucket: s3://bucket/prefix".to_owned()));
    };
    let endpoint = config.s3.endpoint.as_ref().map(|url| url.as_str().trim_end_matches('/'));
    let client = build_s3(config, bucket, endpoint);
    let client = client.map_err(|source| refused(config, source.to_string()))?;
    Ok((Box::new(Parted::over(client)), endpoint.unwrap_or("amazonaws.com").to_owned()))
}

fn build_s3(
    config: &Config,
    bucket: &str,
    endpoint: Option<&str>,
) -> object_store::Result<AmazonS3> {
    let S3Config { endpoint: _, region, access_key_id, secret_access_key, session_token } =
        &config.s3;
    let options = ClientOptions::new()
        .with_timeout(config.request_timeout)
        .with_connect_timeout(config.request_timeout.min(CONNECT_TIMEOUT_MAX))
        .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")));
    // Every attempt must pass the meter, so the client itself tries once.
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    // Without a key of our own, the platform's identity (pod, container, machine) is used.
    let base = match access_key_id {
        Some(_) => AmazonS3Builder::new(),
        None => AmazonS3Builder::from_env(),
    };
    let mut builder = base
        .with_bucket_name(bucket)
        .with_region(region.as_deref().unwrap_or("us-east-1"))
        .with_client_options(options)
        .with_retry(retry);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(key) = access_key_id {
        builder = builder.with_access_key_id(key);
    }
    if let Some(secret) = secret_access_key {
        builder = builder.with_secret_access_key(secret.expose());
    }
    if let Some(token) = session_token {
        builder = builder.with_token(token.expose());
    }
    builder.build()
}

/// A server that does not take a connection in this time is not there.
const CONNECT_TIMEOUT_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// What every path starts with inside the bucket. A folder is its own bucket.
fn prefix(config: &Config) -> Path {
    match config.storage.scheme() {
        "s3" => Path::from(config.storage.path().trim_matches('/')),
        _ => Path::default(),
    }
}

fn refused(config: &Config, reason: String) -> Error {
    Error::Config { storage: config.storage.to_string(), reason }
}
