//! Manifests as text.

use crate::{Error, Options, objects};

/// Every object as one YAML document, in an order that can be applied as it is.
pub fn render(options: &Options) -> Result<String, Error> {
    let mut text = String::new();
    for manifest in objects::all(options)? {
        let yaml = serde_yaml_ng::to_string(&manifest.value);
        let object = &manifest.object;
        text.push_str("---\n");
        text.push_str(&yaml.map_err(|source| Error::Yaml { object: object.clone(), source })?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
