//! Settings, looked at before anything is opened.
//!
//! Invariant: what can be known to be wrong from the settings alone is said before a port is bound, a
//! file written or a bucket asked, and each part checks it again when it opens.

use crate::error::{Failure, Outcome, chain};
use crate::role::Roles;
use crate::settings::Settings;

/// Whether these roles can be opened with these settings, as far as those tell.
pub(super) fn check(roles: Roles, settings: &Settings) -> Outcome {
    #[cfg(feature = "ingest")]
    storage(roles, settings)?;
    #[cfg(feature = "probe")]
    if roles.probe && settings.probes {
        probes(settings)?;
    }
    Ok(())
}

/// What stands on the store.
#[cfg(feature = "ingest")]
fn storage(roles: Roles, settings: &Settings) -> Outcome {
    use super::storage as parts;

    if !(roles.ingest || roles.query || roles.compact) {
        return Ok(());
    }
    let config = parts::store(settings)?;
    #[cfg(feature = "query")]
    config.retention.iter().try_for_each(rule)?;
    #[cfg(not(feature = "query"))]
    drop(config);
    if roles.ingest {
        parts::ingest(roles, settings)?.check().map_err(|error| wrong(&error))?;
    }
    #[cfg(feature = "bridge")]
    if roles.bridge {
        let destinations = super::bridge::destinations(settings)?;
        let config = icecore_bridge::Config { destinations, ..Default::default() };
        config.check().map_err(|error| Failure::usage(format!("`forward`: {}", chain(&error))))?;
    }
    #[cfg(feature = "query")]
    if roles.query {
        super::queries::config(settings)?.check().map_err(|error| wrong(&error))?;
    }
    Ok(())
}

/// A rule of retention is understood without a row as well.
#[cfg(all(feature = "ingest", feature = "query"))]
fn rule(rule: &icecore_store::RetentionRule) -> Outcome {
    use icecore_store::Conditions as _;

    let Some(sql) = &rule.condition else { return Ok(()) };
    let conditions = icecore_query::SqlConditions::new();
    let compiled = conditions.compile(rule.table, sql, &icecore_store::Snapshot::default());
    compiled.map(drop).map_err(|error| {
        let why = chain(&error);
        Failure::usage(format!("the rule `{rule}` of `retention` is not understood: {why}"))
    })
}

/// The probes; where the OTLP address is not known yet, any will do.
#[cfg(feature = "probe")]
fn probes(settings: &Settings) -> Outcome {
    let config = super::probes::config(settings, None)?;
    config.check().map_err(|error| wrong(&error))?;
    match &config.rules.file {
        Some(file) => super::probes::check_rules(file).map(drop),
        None => Ok(()),
    }
}

fn wrong(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::usage(chain(error))
}
