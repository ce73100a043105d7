//! Sends realistic OpenTelemetry load and checks that what was acknowledged is there, once.
//!
//! Speaks wire protocols only, so that it can test any version of Icecore, and others.

mod acked;
mod bench;
mod cli;
mod corpus;
mod error;
mod fault;
mod generate;
mod send;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use error::Error;

#[tokio::main]
async fn main() -> ExitCode {
    let told = run(Cli::parse()).await.unwrap_or_else(|error| {
        drop(writeln!(io::stderr(), "icecore-loadtest: {}", error.chain()));
        false
    });
    if told { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a command; false where it found what it was looking for.
async fn run(cli: Cli) -> Result<bool, Error> {
    let mut out = io::stdout();
    match cli.command {
        Command::Bench(arguments) => {
            let report = bench::run(arguments).await?;
            write!(out, "{report}").map_err(Error::Print)?;
            Ok(report.whole())
        }
        Command::Corpus(arguments) => {
            let seeds = corpus::write(&arguments)?;
            writeln!(out, "{seeds} seeds in `{}`", arguments.out.display())
                .map_err(Error::Print)?;
            Ok(true)
        }
        Command::Describe(load) => {
            let statistics = generate::describe(&load.plan());
            write!(out, "{statistics}").map_err(Error::Print)?;
            Ok(true)
        }
        Command::Send(arguments) => {
            let summary = send::run(arguments).await?;
            writeln!(out, "{summary}").map_err(Error::Print)?;
            Ok(summary.complete())
        }
        Command::Verify(arguments) => {
            let report = verify::run(&arguments).await?;
            write!(out, "{report}").map_err(Error::Print)?;
            Ok(report.whole())
        }
    }
}
