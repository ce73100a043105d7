//! The parts of the name of a container image.
//!
//! Invariant: pure; a port of a registry is no tag.

/// What a reference to an image says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// With the registry, where it is named.
    pub(crate) name: String,
    pub(crate) tag: Option<String>,
    /// `sha256:…`
    pub(crate) digest: Option<String>,
}

impl Image {
    /// `registry:5000/shop/cart:1.0@sha256:…`
    pub(crate) fn parse(reference: &str) -> Self {
        let (rest, digest) = match reference.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (reference, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let some = |part: Option<&str>| part.filter(|part| !part.is_empty()).map(str::to_owned);
        Self { name: name.to_owned(), tag: some(tag), digest: some(digest) }
    }

    /// As the conventions for Kubernetes make a version of a service from it.
    pub(crate) fn version(&self) -> Option<String> {
        match (&self.tag, &self.digest) {
            (Some(tag), Some(digest)) => Some(format!("{tag}@{digest}")),
            (tag, digest) => digest.as_ref().or(tag.as_ref()).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: references as they are written and as runtimes tell them.
    /// Guarantees: name, tag and digest, and the version that follows.
    #[test]
    fn references() {
        for (reference, name, tag, digest, version) in [
            ("nginx", "nginx", None, None, None),
            ("shop/cart:1.0", "shop/cart", Some("1.0"), None, Some("1.0")),
            ("host:5000/cart", "host:5000/cart", None, None, None),
            ("host:5000/cart:v2", "host:5000/cart", Some("v2"), None, Some("v2")),
            ("cart@sha256:ab", "cart", None, Some("sha256:ab"), Some("sha256:ab")),
            ("h:1/c:t@sha256:ab", "h:1/c", Some("t"), Some("sha256:ab"), Some("t@sha256:ab")),
            ("", "", None, None, None),
            (":@", "", None, None, None),
        ] {
            let image = Image::parse(reference);
            assert_eq!(image.name, name, "{reference}");
            assert_eq!(image.tag.as_deref(), tag, "{reference}");
            assert_eq!(image.digest.as_deref(), digest, "{reference}");
            assert_eq!(image.version().as_deref(), version, "{reference}");
        }
    }
}
