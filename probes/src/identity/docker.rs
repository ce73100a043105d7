//! Containers of Docker without Kubernetes: what Docker itself has written down of them.
//!
//! Invariant: only read where the machine lets us; a file of any size or shape does no harm.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::image::Image;

const FILE_BYTES_MAX: u64 = 1 << 20;

/// What Docker calls a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Docker {
    pub(crate) name: String,
    pub(crate) image: Image,
    pub(crate) image_id: String,
    /// The service of Docker Compose that it is of, and its project.
    pub(crate) service: Option<String>,
    pub(crate) project: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    name: String,
    #[serde(default)]
    image: String,
    config: WrittenConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenConfig {
    #[serde(default)]
    image: String,
    labels: Option<std::collections::HashMap<String, String>>,
}

/// Reads what Docker has written of the container; `docker_dir` is seen from the first process of the
/// machine, which is not in a container itself.
pub(crate) fn read(proc_dir: &Path, docker_dir: &Path, id: &str) -> Option<Docker> {
    let docker_dir = docker_dir.strip_prefix("/").unwrap_or(docker_dir);
    let root = proc_dir.join("1/root").join(docker_dir);
    let file = File::open(root.join("containers").join(id).join("config.v2.json")).ok()?;
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
    parse(&text)
}

fn parse(text: &[u8]) -> Option<Docker> {
    let Written { name, image, config } = serde_json::from_slice(text).ok()?;
    let WrittenConfig { image: asked_for, labels } = config;
    let label = |key: &str| {
        let value = labels.as_ref()?.get(&format!("com.docker.compose.{key}"))?;
        Some(value.clone()).filter(|value| !value.is_empty())
    };
    Some(Docker {
        name: name.trim_start_matches('/').to_owned(),
        image: Image::parse(&asked_for),
        image_id: image,
        service: label("service"),
        project: label("project"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: what Docker writes of containers made by hand and by Compose, and a broken file.
    /// Guarantees: names are those that a user gave; a broken file says nothing.
    #[test]
    fn written_by_docker() {
        let by_hand =
            br#"{"Name":"/web","Image":"sha256:ab","Config":{"Image":"nginx:1.25","Labels":{}}}"#;
        let docker = parse(by_hand).unwrap();
        assert_eq!((docker.name.as_str(), docker.image_id.as_str()), ("web", "sha256:ab"));
        assert_eq!(docker.image, Image::parse("nginx:1.25"));
        assert_eq!(docker.service, None);
        let composed = br#"{"Name":"/shop-cart-1","Config":{"Image":"cart","Labels":
            {"com.docker.compose.service":"cart","com.docker.compose.project":"shop"}},"More":[1]}"#;
        let docker = parse(composed).unwrap();
        assert_eq!(docker.service.as_deref(), Some("cart"));
        assert_eq!(docker.project.as_deref(), Some("shop"));
        assert_eq!(parse(br#"{"Name":"/web"}"#), None);
        assert_eq!(parse(br#"{"Name":"/web","Config":{"Labels":null}}"#).unwrap().service, None);
    }
}
