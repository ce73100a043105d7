//! Every object of an installation, in an order that can be applied.

mod access;
mod config;
pub(crate) mod labels;
mod pods;
mod probe;
mod services;
mod workloads;

use k8s_openapi::api::core::v1::Namespace;

use crate::manifest::Manifest;
use crate::{Error, Options};

pub(crate) use labels::MANAGED_BY;
use labels::{Component, meta_of_cluster};

/// The objects, after a check of the options.
pub(crate) fn all(options: &Options) -> Result<Vec<Manifest>, Error> {
    options.check()?;
    build(options)
}

/// The objects of an installation of which only the namespace is known: fit to be looked for by
/// name, not to be applied.
pub(crate) fn named(options: &Options) -> Result<Vec<Manifest>, Error> {
    options.check_namespace()?;
    build(options)
}

fn build(options: &Options) -> Result<Vec<Manifest>, Error> {
    let namespace = Namespace {
        metadata: meta_of_cluster(options, options.namespace.clone()),
        ..Namespace::default()
    };
    let mut all = vec![Manifest::of(&namespace)?];
    for component in Component::of(options) {
        all.push(Manifest::of(&access::account(options, component))?);
    }
    if options.probe {
        all.push(Manifest::of(&access::probe_role(options))?);
        all.push(Manifest::of(&access::probe_binding(options))?);
    }
    all.push(Manifest::of(&config::map(options))?);
    for service in services::all(options) {
        all.push(Manifest::of(&service)?);
    }
    all.push(Manifest::of(&workloads::ingest(options))?);
    all.push(Manifest::of(&workloads::query(options))?);
    all.push(Manifest::of(&workloads::compaction(options))?);
    if options.probe {
        all.push(Manifest::of(&probe::daemon_set(options))?);
    }
    Ok(all)
}
