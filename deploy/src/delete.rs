//! Taking an installation away again.
//!
//! Invariant: only objects that carry our label and this installation's are deleted. The
//! namespace and the volumes of the ingesters stay: logs may hold what is not in the bucket yet,
//! and the namespace may hold what others put there.

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};

use crate::objects::{self, MANAGED_BY, labels};
use crate::{Cluster, Error, ObjectName, Options};

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// It is going.
    Deleted(ObjectName),
    /// It is not ours, or holds what must not be lost; delete it by hand if that is wanted.
    Kept(ObjectName),
    /// It was not there.
    Missing(ObjectName),
}

/// Deletes what [`crate::apply()`] made, last made first, and tells `on_deleted` of each. Of the
/// options only the namespace is needed.
pub async fn delete(
    cluster: &Cluster,
    options: &Options,
    mut on_deleted: impl FnMut(&Deletion) + Send,
) -> Result<(), Error> {
    for manifest in objects::named(options)?.into_iter().rev() {
        let api = manifest.api(&cluster.client);
        let (object, name) = (manifest.object.clone(), manifest.object.name.clone());
        let found = api.get_opt(&name).await.map_err(|error| manifest.failed("look at", error))?;
        let Some(found) = found else {
            on_deleted(&Deletion::Missing(object));
            continue;
        };
        if object.kind == "Namespace" || !is_ours(found.labels(), &options.namespace) {
            on_deleted(&Deletion::Kept(object));
            continue;
        }
        let gone = api.delete(&name, &DeleteParams::background()).await;
        gone.map_err(|error| manifest.failed("delete", error))?;
        on_deleted(&Deletion::Deleted(object));
    }
    keep_volumes(cluster, options, on_deleted).await
}

fn is_ours(found: &std::collections::BTreeMap<String, String>, namespace: &str) -> bool {
    let ours = labels::of_installation(namespace);
    ours.iter().all(|(key, value)| found.get(key) == Some(value))
}

/// Names the volumes that stay.
async fn keep_volumes(
    cluster: &Cluster,
    options: &Options,
    mut on_deleted: impl FnMut(&Deletion) + Send,
) -> Result<(), Error> {
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    let namespace = &options.namespace;
    let api: kube::Api<PersistentVolumeClaim> =
        kube::Api::namespaced(cluster.client.clone(), namespace);
    let selector = format!("app.kubernetes.io/managed-by={MANAGED_BY}");
    let object = |name: String| ObjectName {
        kind: "PersistentVolumeClaim".to_owned(),
        namespace: Some(namespace.clone()),
        name,
    };
    let claims = api.list(&ListParams::default().labels(&selector)).await;
    let claims = claims.map_err(|error| Error::Api {
        action: "list",
        object: object("*".to_owned()),
        source: Box::new(error),
    })?;
    for claim in claims {
        on_deleted(&Deletion::Kept(object(claim.name_any())));
    }
    Ok(())
}
