//! Names and labels: how the objects of an installation find each other, and are found.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::Options;

/// Value of `app.kubernetes.io/managed-by` on everything that we make.
pub(crate) const MANAGED_BY: &str = "icecore";

/// A kind of pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Component {
    Probe,
    Ingest,
    Query,
    Compaction,
}

impl Component {
    /// Those that these options ask for.
    pub(super) fn of(options: &Options) -> Vec<Self> {
        let always = [Self::Ingest, Self::Query, Self::Compaction];
        options.probe.then_some(Self::Probe).into_iter().chain(always).collect()
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Probe => "icecore-probe",
            Self::Ingest => "icecore-ingest",
            Self::Query => "icecore-query",
            Self::Compaction => "icecore-compaction",
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Ingest => "ingest",
            Self::Query => "query",
            Self::Compaction => "compaction",
        }
    }

    /// Metadata of the object of this component that carries its name.
    pub(super) fn meta(self, options: &Options) -> ObjectMeta {
        self.meta_named(options, self.name())
    }

    pub(super) fn meta_named(self, options: &Options, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(options.namespace.clone()),
            labels: Some(self.labels(options)),
            ..ObjectMeta::default()
        }
    }

    pub(super) fn labels(self, options: &Options) -> BTreeMap<String, String> {
        let mut labels = of_installation(&options.namespace);
        labels.insert("app.kubernetes.io/component".to_owned(), self.label().to_owned());
        labels
    }

    /// What selects this component's pods; must never change, since workloads refuse that.
    pub(super) fn selected(self, options: &Options) -> BTreeMap<String, String> {
        let mut labels = self.labels(options);
        labels.remove("app.kubernetes.io/managed-by");
        labels
    }

    pub(super) fn selector(self, options: &Options) -> LabelSelector {
        let match_labels = Some(self.selected(options));
        LabelSelector { match_labels, ..LabelSelector::default() }
    }
}

/// The labels of every object of the installation in `namespace`.
pub(crate) fn of_installation(namespace: &str) -> BTreeMap<String, String> {
    let label = |key: &str, value: &str| (format!("app.kubernetes.io/{key}"), value.to_owned());
    BTreeMap::from([
        label("name", "icecore"),
        label("instance", namespace),
        label("managed-by", MANAGED_BY),
    ])
}

/// Metadata of an object of the namespace that belongs to no component.
pub(super) fn meta(options: &Options, name: &str) -> ObjectMeta {
    let namespace = Some(options.namespace.clone());
    ObjectMeta { namespace, ..meta_of_cluster(options, name.to_owned()) }
}

/// Metadata of an object of the whole cluster.
pub(super) fn meta_of_cluster(options: &Options, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        labels: Some(of_installation(&options.namespace)),
        ..ObjectMeta::default()
    }
}
