//! Server-side apply: the cluster merges, and says who owns what.

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};

use crate::manifest::Manifest;
use crate::{Cluster, Error, ObjectName, Options, objects};

/// Who we are to the Kubernetes API: owner of the fields that we set.
pub(crate) const FIELD_MANAGER: &str = "icecore";

/// How to apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Take fields that another manager owns, rather than fail with a conflict.
    pub force: bool,
    /// Let the API check everything and change nothing.
    pub dry_run: bool,
}

/// What applying an object did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Created,
    /// It was there and differs now.
    Updated,
    /// It was there as it should be.
    Unchanged,
}

/// One applied object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Which.
    pub object: ObjectName,
    /// What happened to it.
    pub change: Change,
}

/// Applies every object in order and tells `on_applied` of each; stops at the first failure,
/// after which it can be run again. Does not wait for pods: see [`crate::status()`].
pub async fn apply(
    cluster: &Cluster,
    options: &Options,
    how: ApplyOptions,
    mut on_applied: impl FnMut(&Applied) + Send,
) -> Result<(), Error> {
    for manifest in objects::all(options)? {
        let change = apply_one(cluster, &manifest, how).await?;
        on_applied(&Applied { object: manifest.object, change });
    }
    Ok(())
}

async fn apply_one(
    cluster: &Cluster,
    manifest: &Manifest,
    how: ApplyOptions,
) -> Result<Change, Error> {
    let api = manifest.api(&cluster.client);
    let name = &manifest.object.name;
    let before = api.get_opt(name).await.map_err(|error| manifest.failed("look at", error))?;
    let mut params = PatchParams::apply(FIELD_MANAGER);
    params.force = how.force;
    params.dry_run = how.dry_run;
    let after = api.patch(name, &params, &Patch::Apply(&manifest.value)).await;
    let after = after.map_err(|error| manifest.failed("apply", error))?;
    Ok(match before {
        None => Change::Created,
        Some(before) if before.resource_version() == after.resource_version() => Change::Unchanged,
        Some(_) => Change::Updated,
    })
}

#[cfg(test)]
mod tests;
