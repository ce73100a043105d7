//! `icecore run` and its roles: open every part, wait for a signal or a failure, drain.

use tokio_util::sync::CancellationToken;

use crate::error::{Failure, Outcome};
use crate::role::Roles;
use crate::settings::Settings;
use crate::{compose, process};

/// Of an agent alone, or of all else.
#[cfg(feature = "probe")]
fn runtime(roles: Roles, settings: &Settings) -> Result<tokio::runtime::Runtime, Failure> {
    if roles.probe && !roles.ingest {
        process::step_back(settings.probe_nice);
        return process::agent_runtime();
    }
    process::runtime()
}

#[cfg(not(feature = "probe"))]
fn runtime(_: Roles, _: &Settings) -> Result<tokio::runtime::Runtime, Failure> {
    process::runtime()
}

/// Runs the roles until a signal comes or a part fails.
pub(super) fn run(roles: Roles, settings: &Settings) -> Outcome {
    process::install_tls();
    let runtime = runtime(roles, settings)?;
    let outcome = runtime.block_on(async {
        let telling = process::start_telling(settings)?;
        let stop = CancellationToken::new();
        process::stop_on_signal(stop.clone())?;
        let outcome = Box::pin(compose::run(roles, settings, stop)).await;
        tokio::task::spawn_blocking(|| telling.finish())
            .await
            .map_err(|error| Failure::from_error("cannot end telling", &error))?;
        outcome
    });
    // A thread that still waits for a slow disk or peer must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}
