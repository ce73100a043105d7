//! What an installation can choose.
//!
//! Invariant: options that passed `check` render into objects that the Kubernetes API accepts.

use crate::Error;

/// One installation of Icecore: one namespace, one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where everything goes; made when missing.
    pub namespace: String,
    /// The container image, tag or digest included.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; the cluster's rule where none is given.
    pub image_pull_policy: Option<String>,
    /// `s3://bucket/prefix`. Files of one pod are not seen by another, so `file://` is refused.
    pub storage: String,
    /// URL of an S3-compatible server other than AWS.
    pub s3_endpoint: Option<String>,
    /// AWS region.
    pub s3_region: Option<String>,
    /// A Secret in the namespace with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; without
    /// one the pods rely on the identity that the cloud gives them.
    pub credentials_secret: Option<String>,
    /// Volume of each ingester for its write-ahead log. It rides out a bucket that is away.
    pub log_bytes: u64,
    /// Class of that volume; the cluster's default where none is given.
    pub storage_class: Option<String>,
    /// Ingesters; each has its own log.
    pub ingest_replicas: u32,
    /// Query servers.
    pub query_replicas: u32,
    /// Whether every node gets a probe.
    pub probe: bool,
    /// OTLP endpoints that get a copy of everything.
    pub forward: Vec<String>,
    /// What probe, ingest, query and compaction may use.
    pub resources: Resources,
}

/// Requests and limits as Kubernetes writes quantities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// Memory limit of a probe.
    pub probe_memory: String,
    /// Memory limit of an ingester.
    pub ingest_memory: String,
    /// Memory limit of a query server.
    pub query_memory: String,
    /// Memory limit of the compaction.
    pub compaction_memory: String,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            probe_memory: "256Mi".to_owned(),
            ingest_memory: "1Gi".to_owned(),
            query_memory: "2Gi".to_owned(),
            compaction_memory: "1Gi".to_owned(),
        }
    }
}

impl Default for Options {
    /// Complete but for `storage`, which has no sensible default.
    fn default() -> Self {
        Self {
            namespace: "icecore".to_owned(),
            image: concat!("ghcr.io/icecore/icecore:", env!("CARGO_PKG_VERSION")).to_owned(),
            image_pull_policy: None,
            storage: String::new(),
            s3_endpoint: None,
            s3_region: None,
            credentials_secret: None,
            log_bytes: 10 << 30,
            storage_class: None,
            ingest_replicas: 1,
            query_replicas: 1,
            probe: true,
            forward: Vec::new(),
            resources: Resources::default(),
        }
    }
}

/// The least volume that holds a useful stretch of log.
const LOG_BYTES_MIN: u64 = 256 << 20;

/// More pods than this is a slip of the hand.
const REPLICAS_MAX: u32 = 1_000;

impl Options {
    /// Names every fault at once.
    pub fn check(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        let mut need = |fine: bool, problem: String| {
            if !fine {
                problems.push(problem);
            }
        };
        let namespace = &self.namespace;
        need(is_label(namespace), format!("`{namespace}` is not a namespace name"));
        let image = &self.image;
        let one_word = !image.is_empty() && !image.contains(char::is_whitespace);
        need(one_word, format!("`{image}` is not an image name"));
        let storage = &self.storage;
        need(
            bucket_of(storage).is_some(),
            format!("storage `{storage}` must be s3://bucket or s3://bucket/prefix"),
        );
        for (what, name) in
            [("Secret", &self.credentials_secret), ("storage class", &self.storage_class)]
        {
            let fine = name.as_ref().is_none_or(|name| is_subdomain(name));
            need(fine, format!("`{}` is not a {what} name", name.as_deref().unwrap_or_default()));
        }
        for url in self.s3_endpoint.iter().chain(&self.forward) {
            need(is_url(url), format!("`{url}` is not a URL without credentials"));
        }
        let policy = self.image_pull_policy.as_deref();
        let known = policy.is_none_or(|it| ["Always", "IfNotPresent", "Never"].contains(&it));
        need(known, "the pull policy is Always, IfNotPresent or Never".to_owned());
        let log = self.log_bytes;
        need(log >= LOG_BYTES_MIN, format!("a log of {log} bytes is less than 256 MiB"));
        for (what, count) in [("ingest", self.ingest_replicas), ("query", self.query_replicas)] {
            let fine = (1..=REPLICAS_MAX).contains(&count);
            need(fine, format!("{what} needs between 1 and {REPLICAS_MAX} replicas, not {count}"));
        }
        let Resources { probe_memory, ingest_memory, query_memory, compaction_memory } =
            &self.resources;
        for memory in [probe_memory, ingest_memory, query_memory, compaction_memory] {
            need(is_quantity(memory), format!("`{memory}` is not a memory size such as 512Mi"));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Options { problems }) }
    }
}

impl Options {
    /// The one option that objects of an installation are found by.
    pub(crate) fn check_namespace(&self) -> Result<(), Error> {
        if is_label(&self.namespace) {
            return Ok(());
        }
        let problems = vec![format!("`{}` is not a namespace name", self.namespace)];
        Err(Error::Options { problems })
    }
}

/// RFC 1123 label: what namespaces are named by.
fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// RFC 1123 subdomain: what most other objects are named by.
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

fn bucket_of(storage: &str) -> Option<&str> {
    let path = storage.strip_prefix("s3://")?;
    let bucket = path.split('/').next()?;
    (is_subdomain(bucket) && !path.contains(char::is_whitespace)).then_some(bucket)
}

fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    ["http", "https", "grpc", "grpcs"].contains(&scheme)
        && !authority.is_empty()
        && !rest.contains(|letter: char| letter == '@' || letter.is_whitespace())
}

fn is_quantity(text: &str) -> bool {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    digits.parse::<u64>().is_ok_and(|amount| amount > 0)
        && ["", "Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"].contains(&unit)
}

/// Bytes as Kubernetes writes them, in the largest unit that is exact.
pub(crate) fn quantity(bytes: u64) -> String {
    let units = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Options {
        Options { storage: "s3://telemetry/prod".to_owned(), ..Options::default() }
    }

    fn check(change: impl FnOnce(&mut Options), expected: &str) {
        let mut options = good();
        change(&mut options);
        let error = options.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    /// Scenario: options with one fault each, and with several.
    /// Guarantees: each fault is named; all are named together.
    #[test]
    fn every_fault_is_named() {
        good().check().unwrap();
        check(|it| it.namespace = "Ice".to_owned(), "namespace");
        check(|it| it.storage = "file:///data".to_owned(), "must be s3://");
        check(|it| it.storage = "s3://".to_owned(), "must be s3://");
        check(|it| it.image = "a b".to_owned(), "image");
        check(|it| it.credentials_secret = Some("a_b".to_owned()), "Secret name");
        check(|it| it.forward = vec!["http://me:pw@x".to_owned()], "credentials");
        check(|it| it.s3_endpoint = Some("minio:9000".to_owned()), "URL");
        check(|it| it.log_bytes = 1, "256 MiB");
        check(|it| it.ingest_replicas = 0, "ingest needs");
        check(|it| it.resources.query_memory = "lots".to_owned(), "memory size");
        check(|it| it.image_pull_policy = Some("Often".to_owned()), "pull policy");
        let empty = Options { namespace: String::new(), ..Options::default() };
        let Err(Error::Options { problems }) = empty.check() else { panic!("it passed") };
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    /// Scenario: sizes that are and are not whole units.
    /// Guarantees: exact quantities.
    #[test]
    fn sizes_are_exact() {
        assert_eq!(quantity(10 << 30), "10Gi");
        assert_eq!(quantity(1536 << 20), "1536Mi");
        assert_eq!(quantity(1_000_000_000), "1000000000");
    }
}
