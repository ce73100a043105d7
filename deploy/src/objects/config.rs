//! Settings that all pods share, as the environment variables that Icecore reads.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapEnvSource, EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector,
    SecretKeySelector,
};

use super::labels::{Component, meta};
use crate::Options;

/// The name of the map.
const NAME: &str = "icecore";

/// What the Secret of credentials must hold.
const CREDENTIAL_KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

pub(super) fn map(options: &Options) -> ConfigMap {
    let mut data = BTreeMap::from([("ICECORE_STORAGE".to_owned(), options.storage.clone())]);
    let mut put = |key: &str, value: &Option<String>| {
        if let Some(value) = value {
            data.insert(key.to_owned(), value.clone());
        }
    };
    put("ICECORE_S3_ENDPOINT", &options.s3_endpoint);
    put("AWS_REGION", &options.s3_region);
    ConfigMap { metadata: meta(options, NAME), data: Some(data), ..ConfigMap::default() }
}

/// The whole map as environment of a container.
pub(super) fn from_map() -> EnvFromSource {
    let config_map_ref = ConfigMapEnvSource { name: NAME.to_owned(), ..Default::default() };
    EnvFromSource { config_map_ref: Some(config_map_ref), ..EnvFromSource::default() }
}

/// Credentials of the bucket, by reference to the Secret that holds them.
pub(super) fn credentials(options: &Options) -> Vec<EnvVar> {
    let Some(secret) = &options.credentials_secret else { return Vec::new() };
    let variable = |key: &str| {
        let selector =
            SecretKeySelector { name: secret.clone(), key: key.to_owned(), optional: None };
        let source = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
        EnvVar { name: key.to_owned(), value_from: Some(source), ..EnvVar::default() }
    };
    CREDENTIAL_KEYS.into_iter().map(variable).collect()
}

/// A plain variable.
pub(super) fn variable(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() }
}

/// A variable with what the cluster knows of the pod itself.
pub(super) fn of_pod(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { field_path: path.to_owned(), api_version: None };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value_from: Some(source), ..EnvVar::default() }
}

/// Where the probes send: the ingesters, by their service.
pub(super) fn otlp_endpoint(options: &Options) -> String {
    format!("http://{}.{}.svc:4317", Component::Ingest.name(), options.namespace)
}
