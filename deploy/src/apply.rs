//! Server-side apply: the cluster merges, and says who owns what.

use kube::api::{DynamicObject, Patch, PatchParams};

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
    let Some(before) = before else { return Ok(Change::Created) };
    let is_same = substance(before) == substance(after);
    Ok(if is_same { Change::Unchanged } else { Change::Updated })
}

/// An object without what changes of itself: some servers give a new version, or a new time in
/// the list of managers, to an object that was applied as it was.
fn substance(mut object: DynamicObject) -> DynamicObject {
    object.metadata.resource_version = None;
    object.metadata.managed_fields = None;
    if let Some(data) = object.data.as_object_mut() {
        data.remove("status");
    }
    object
}

#[cfg(test)]
mod tests;
