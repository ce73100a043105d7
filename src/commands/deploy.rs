//! `icecore deploy`: Kubernetes manifests, and the few calls that install them.

use clap::ArgMatches;
use icecore_deploy::{ApplyOptions, Change, Cluster, Deletion, Error, ErrorKind, Options, Rollout};

use super::{client, print};
use crate::error::{Failure, Outcome, chain};
use crate::settings::Bytes;

/// Runs one of the subcommands.
pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let (name, matches) = matches
        .subcommand()
        .ok_or_else(|| Failure::usage("`icecore deploy` needs a subcommand"))?;
    let options = options(name, matches)?;
    match name {
        "render" => print(&icecore_deploy::render(&options).map_err(|error| failure(&error))?),
        "apply" => client(apply(matches, &options)),
        "status" => client(status(matches, &options)),
        _ => client(delete(matches, &options)),
    }
}

async fn apply(matches: &ArgMatches, options: &Options) -> Outcome {
    let how =
        ApplyOptions { force: matches.get_flag("force"), dry_run: matches.get_flag("dry-run") };
    let cluster = connect(matches).await?;
    let told = |applied: &icecore_deploy::Applied| {
        let change = match applied.change {
            Change::Created => "created",
            Change::Updated => "updated",
            Change::Unchanged => "unchanged",
        };
        // Progress: where nobody reads it any more, applying still goes on.
        drop(print(&format!("{}  {change}\n", applied.object)));
    };
    icecore_deploy::apply(&cluster, options, how, told).await.map_err(|error| failure(&error))
}

async fn status(matches: &ArgMatches, options: &Options) -> Outcome {
    let cluster = connect(matches).await?;
    let rollouts =
        icecore_deploy::status(&cluster, options).await.map_err(|error| failure(&error))?;
    print(&rollouts.iter().map(|rollout| format!("{rollout}\n")).collect::<String>())?;
    if rollouts.iter().all(|rollout| !rollout.exists) {
        return Err(Failure::nothing_found("nothing is installed there"));
    }
    if rollouts.iter().all(Rollout::done) {
        Ok(())
    } else {
        Err(Failure::failed("the rollout is not complete"))
    }
}

async fn delete(matches: &ArgMatches, options: &Options) -> Outcome {
    let cluster = connect(matches).await?;
    let told = |deletion: &Deletion| {
        let text = match deletion {
            Deletion::Deleted(object) => format!("{object}  deleted\n"),
            Deletion::Kept(object) => format!("{object}  kept\n"),
            Deletion::Missing(object) => format!("{object}  was not there\n"),
        };
        // Progress: where nobody reads it any more, deleting still goes on.
        drop(print(&text));
    };
    icecore_deploy::delete(&cluster, options, told).await.map_err(|error| failure(&error))
}

async fn connect(matches: &ArgMatches) -> Result<Cluster, Failure> {
    let context = matches.get_one::<String>("context").map(String::as_str);
    Cluster::connect(context).await.map_err(|error| failure(&error))
}

fn options(command: &str, matches: &ArgMatches) -> Result<Options, Failure> {
    let mut options = Options::default();
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    options.namespace = text("namespace").unwrap_or(options.namespace);
    if !["render", "apply"].contains(&command) {
        return Ok(options);
    }
    let number = |name: &str| {
        let given = text(name).unwrap_or_default();
        given
            .parse::<u32>()
            .map_err(|error| Failure::usage(format!("--{name}: `{given}`: {error}")))
    };
    options.image = text("image").unwrap_or(options.image);
    options.storage = text("storage").unwrap_or_default();
    options.s3_endpoint = text("s3-endpoint");
    options.s3_region = text("s3-region");
    options.credentials_secret = text("s3-secret");
    options.ingest_replicas = number("ingest-replicas")?;
    options.query_replicas = number("query-replicas")?;
    let log_size = text("log-size").unwrap_or_default();
    let log_bytes =
        Bytes::try_from(log_size).map_err(|why| Failure::usage(format!("--log-size: {why}")))?;
    options.log_bytes = log_bytes.0;
    options.forward =
        matches.get_many::<String>("forward").into_iter().flatten().cloned().collect();
    Ok(options)
}

fn failure(error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::Options => Failure::usage(chain(error)),
        _ => Failure::failed(chain(error)),
    }
}
