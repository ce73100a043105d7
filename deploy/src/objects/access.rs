//! Who may do what: only the probe may ask the Kubernetes API, and only for pods and what made them.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};

use super::labels::{Component, meta_of_cluster};
use crate::Options;

/// An account of its own for each component, so that one can be given a cloud identity alone.
pub(super) fn account(options: &Options, component: Component) -> ServiceAccount {
    ServiceAccount {
        metadata: component.meta(options),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// Pods of every namespace, to list and to watch: RBAC cannot narrow that to one node, the probe
/// asks for its own node's alone. Of the replica sets and jobs that made them it asks for one at a
/// time, by name: for the deployment or cron job behind.
pub(super) fn probe_role(options: &Options) -> ClusterRole {
    ClusterRole {
        metadata: meta_of_cluster(options, role_name(options)),
        rules: Some(vec![
            rule("", "pods", &["list", "watch"]),
            rule("apps", "replicasets", &["get"]),
            rule("batch", "jobs", &["get"]),
        ]),
        ..ClusterRole::default()
    }
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
        ..PolicyRule::default()
    }
}

pub(super) fn probe_binding(options: &Options) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: meta_of_cluster(options, role_name(options)),
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "ClusterRole".to_owned(),
            name: role_name(options),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: Component::Probe.name().to_owned(),
            namespace: Some(options.namespace.clone()),
            ..Subject::default()
        }]),
    }
}

/// Roles of the whole cluster carry the namespace, so that two installations do not share one.
fn role_name(options: &Options) -> String {
    format!("{}-{}", Component::Probe.name(), options.namespace)
}
