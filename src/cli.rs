//! Commands and flags, no logic.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::settings;

/// The whole command line.
pub(crate) fn command() -> Command {
    Command::new("icecore")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The flight recorder for Kubernetes")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(services())
        .subcommands(clients())
        .subcommands(care())
}

/// The command line, parsed; clap itself answers what is wrong with it (exit code 2) or asks for help.
pub(crate) fn matches() -> ArgMatches {
    command().get_matches()
}

/// What runs until it is stopped: one command a role, and `run` for all of them.
fn services() -> Vec<Command> {
    [
        ("run", "Run everything in one process: probes, ingest, store, compaction, query API, page, bridge"),
        ("probe", "Run the probes alone: observe this machine and send OTLP"),
        ("ingest", "Run the ingest tier alone: receive OTLP, keep the log, flush to the bucket"),
        ("query", "Run the query API alone, on a bucket"),
        ("compact", "Run compaction and garbage collection alone, on a bucket"),
    ]
    .map(|(name, about)| {
        let command = with_settings(Command::new(name).about(about));
        if name == "probe" { command.arg(check_rules()) } else { command }
    })
    .into()
}

fn check_rules() -> Arg {
    Arg::new("check-rules")
        .long("check-rules")
        .value_name("FILE")
        .help("Say whether a file of rules has a fault, and start nothing")
}

/// What talks to a running Icecore.
fn clients() -> Vec<Command> {
    let sql = Command::new("sql")
        .about(
            "Run SQL; `-` reads it from standard input, and without any it is typed at a terminal",
        )
        .arg(Arg::new("query").value_name("SQL"))
        .arg(output())
        .arg(
            Arg::new("param")
                .long("param")
                .short('p')
                .action(ArgAction::Append)
                .value_name("VALUE")
                .help("The value of $1, $2, …: a JSON value, or else a text"),
        )
        .arg(url());
    let trace = Command::new("trace")
        .about("Show one trace as a waterfall")
        .arg(Arg::new("id").required(true).value_name("TRACE_ID"))
        .arg(switch("linked", "Also what other nodes did for it, by the links of the probes"))
        .arg(url());
    vec![sql, script(), trace, tail(), hold()]
}

fn tail() -> Command {
    Command::new("tail")
        .about("Show rows as they arrive; a sample where they are too many, and of how many")
        .arg(
            Arg::new("table")
                .value_name("TABLE")
                .default_value("spans")
                .value_parser(["spans", "metrics", "logs", "profiles"]),
        )
        .arg(flag("service", "Only rows of this service"))
        .arg(flag("name", "Only spans, metrics or events of this name"))
        .arg(switch("errors", "Only spans and log records that tell of an error"))
        .arg(flag("where", "Only rows that this SQL condition accepts"))
        .arg(
            flag("rate", "Rows in a second, at most; 50 on a terminal")
                .value_parser(clap::value_parser!(u64).range(1..)),
        )
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_parser(["table", "ndjson"])
                .help("A line a row as on a terminal, or JSON as in a pipe"),
        )
        .arg(url())
}

fn script() -> Command {
    let name = || Arg::new("name").required(true).value_name("NAME").help("The name of the script");
    let run = Command::new("run")
        .about("Run a script")
        .arg(name())
        .arg(
            Arg::new("param")
                .long("param")
                .short('p')
                .action(ArgAction::Append)
                .value_name("NAME=VALUE")
                .help("The value of a parameter; may be repeated"),
        )
        .arg(flag("since", "From when: RFC 3339, or how long ago, such as `15m`"))
        .arg(output())
        .arg(url());
    Command::new("script")
        .about("Ask questions that have a name")
        .subcommand_required(true)
        .subcommand(Command::new("list").about("Show the scripts that can be run").arg(url()))
        .subcommand(
            Command::new("show")
                .about("Show a script: what it asks for, what it answers, its SQL")
                .arg(name())
                .arg(url()),
        )
        .subcommand(run)
}

fn output() -> Arg {
    Arg::new("output")
        .short('o')
        .long("output")
        .default_value("table")
        .value_parser(["table", "json", "ndjson", "csv", "parquet", "arrow"])
        .help("The form of the answer")
}

fn url() -> Arg {
    Arg::new("url")
        .long("url")
        .env("ICECORE_URL")
        .default_value("http://127.0.0.1:7070")
        .help("Where the query API answers")
}

/// A flag with a value.
fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("VALUE").help(help)
}

/// A flag without one.
fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn hold() -> Command {
    let name = || Arg::new("name").required(true).value_name("NAME").help("The name of the hold");
    let create = Command::new("create")
        .about("Keep a window of rows beyond retention and erasure")
        .arg(name())
        .arg(
            flag("from", "Its begin: RFC 3339, `now`, or how long ago, such as `2h`")
                .required(true),
        )
        .arg(flag("to", "Its end, in the same forms").required(true))
        .arg(flag("where", "Only rows that this SQL condition accepts"))
        .arg(flag("table", "Only this table; may be repeated").action(ArgAction::Append))
        .arg(url());
    Command::new("hold")
        .about("Keep windows beyond retention")
        .subcommand_required(true)
        .subcommand(create)
        .subcommand(Command::new("list").about("Show the holds that stand").arg(url()))
        .subcommand(Command::new("release").about("Let a hold go").arg(name()).arg(url()))
}

fn erase() -> Command {
    Command::new("erase")
        .about("Erase the rows that a condition names, flushed or not, and prove it")
        .arg(flag("where", "Rows that this SQL condition accepts").required(true))
        .arg(flag("table", "Only of this table; may be repeated").action(ArgAction::Append))
        .arg(flag("from", "Only from this time on: RFC 3339, `now`, or how long ago"))
        .arg(flag("to", "Only up to this time, in the same forms"))
        .arg(flag("by", "Who asks, for the record; $USER where not given"))
        .arg(switch("dry-run", "Only say what would go"))
        .arg(switch("yes", "Erase; without it, only say what would go"))
        .arg(switch("now", "Delete the old files at once: queries that still read them fail"))
        .arg(switch("wait", "Return only when the old files are gone").conflicts_with("now"))
        .arg(url())
}

/// Care of the bucket, the cluster and the machine.
fn care() -> Vec<Command> {
    let store = [
        ("rebuild-index", "Throw the index away and build it again from the bucket"),
        ("stats", "Files, rows and bytes, by table"),
        ("compact", "Merge small files once, now"),
        ("files", "List the files that count, one path a line"),
    ]
    .map(|(name, about)| with_settings(Command::new(name).about(about)));
    let check = Command::new("check")
        .about("Prove the bucket whole: every catalogued file there, readable and as described")
        .arg(switch("deep", "Read every row, and not only the footer of every file"))
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FORMAT")
                .value_parser(["text", "json"])
                .default_value("text")
                .help("How the findings are printed"),
        );
    let retain = Command::new("retain")
        .about("Remove rows that are older than the rules of `retention` allow, once, now")
        .arg(switch("dry-run", "Only say what would go"));
    vec![
        Command::new("store")
            .about("Care of the bucket")
            .subcommand_required(true)
            .subcommands(store)
            .subcommand(with_settings(check))
            .subcommand(with_settings(retain))
            .subcommand(erase()),
        with_settings(
            Command::new("doctor")
                .about("Say what this machine can do, and how to mend what it cannot"),
        ),
        with_settings(
            Command::new("config").about("Print the settings in force and where each came from"),
        ),
        deploy(),
    ]
}

fn deploy() -> Command {
    let options = || {
        [
            flag("namespace", "The namespace to put everything in").default_value("icecore"),
            flag("image", "The container image")
                .default_value(concat!("ghcr.io/icecore/icecore:", env!("CARGO_PKG_VERSION"))),
            flag("storage", "The bucket, such as s3://bucket/prefix").required(true),
            flag("s3-endpoint", "The endpoint of an S3-compatible server"),
            flag("s3-region", "The region to sign for"),
            flag("s3-secret", "The Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
            flag("ingest-replicas", "How many ingesters").default_value("1"),
            flag("query-replicas", "How many query servers").default_value("1"),
            flag("log-size", "The volume for each ingester's log").default_value("10GiB"),
            flag("forward", "An OTLP endpoint that gets everything").action(ArgAction::Append),
        ]
    };
    let namespace = || flag("namespace", "The namespace it is in").default_value("icecore");
    let context = || flag("context", "The context of the kubeconfig; the current one if not given");
    Command::new("deploy")
        .about("Install on Kubernetes")
        .subcommand_required(true)
        .subcommand(Command::new("render").about("Print the manifests").args(options()))
        .subcommand(
            Command::new("apply")
                .about("Apply the manifests by server-side apply")
                .args(options())
                .arg(context())
                .arg(switch("force", "Take fields over that another manager owns"))
                .arg(switch("dry-run", "Let the cluster check everything and change nothing")),
        )
        .subcommands([
            Command::new("status")
                .about("Say how far the rollout is")
                .arg(namespace())
                .arg(context()),
            Command::new("delete")
                .about("Remove what `apply` made")
                .arg(namespace())
                .arg(context()),
        ])
}

fn with_settings(command: Command) -> Command {
    command.args(settings::args())
}

#[cfg(test)]
mod tests {
    /// Scenario: the command line as clap sees it.
    /// Guarantees: no flag is defined twice, no default is refused by its own parser.
    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }
}
