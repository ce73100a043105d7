//! One file a command; each a thin client of the part that does the work.

#[cfg(feature = "ingest")]
mod check;
mod client;
#[cfg(feature = "deploy")]
mod deploy;
mod doctor;
mod erase;
mod hold;
mod plan;
#[cfg(feature = "probe")]
mod probe;
mod script;
mod service;
mod shell;
mod sql;
#[cfg(feature = "ingest")]
mod store;
mod table;
mod tail;
mod terminal;
mod trace;
mod units;
mod watch;

use std::io::Write as _;

use clap::ArgMatches;

use crate::error::{Failure, Outcome};
use crate::role::Roles;
use crate::settings::Layers;

/// Runs the command that the command line names.
pub(crate) fn run(matches: &ArgMatches) -> Outcome {
    let (name, matches) = matches.subcommand().ok_or_else(|| Failure::usage("no command given"))?;
    match name {
        "sql" => client(sql::run(matches)),
        "trace" => client(trace::run(matches)),
        "script" => client(script::run(matches)),
        "tail" => client(tail::run(matches)),
        "hold" => client(hold::run(matches)),
        "config" => print(&Layers::read(matches)?.report()),
        "doctor" => doctor::run(&Layers::read(matches)?.settings()?),
        "store" if matches.subcommand_name() == Some("erase") => client(erase::run(matches)),
        #[cfg(feature = "ingest")]
        "store" => store::run(matches),
        #[cfg(feature = "deploy")]
        "deploy" => deploy::run(matches),
        #[cfg(feature = "probe")]
        "probe" if matches.contains_id("check-rules") => probe::check_rules(matches),
        service => match Roles::of_command(service) {
            Some(roles) => service::run(roles, &Layers::read(matches)?.settings()?),
            None => Err(Failure::usage(format!("this binary was built without `{service}`"))),
        },
    }
}

/// Tells a failure on standard error.
pub(crate) fn tell(failure: &Failure) {
    // There is nobody left to tell where standard error is closed.
    drop(writeln!(std::io::stderr(), "icecore: {failure}"));
}

/// Tells what is worth knowing and no failure.
fn note(text: &str) {
    drop(writeln!(std::io::stderr(), "note: {}", terminal::one_line(text)));
}

/// Writes a text to standard output; a reader that has gone away is not a fault.
fn print(text: &str) -> Outcome {
    print_bytes(text.as_bytes())
}

/// Writes bytes to standard output; a reader that has gone away is not a fault.
fn print_bytes(bytes: &[u8]) -> Outcome {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write the answer: {error}")))
        }
        _ => Ok(()),
    }
}

/// Runs a command that only waits for an answer.
fn client(work: impl Future<Output = Outcome>) -> Outcome {
    crate::process::install_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::from_error("cannot start the runtime", &error))?.block_on(work)
}
