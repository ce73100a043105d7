//! `icecore doctor`: what this machine can do; each line says how to mend it.

use std::net::{SocketAddr, TcpListener};

use super::print;
use crate::error::{Failure, Outcome};
use crate::settings::Settings;

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Good,
    Limited,
    Missing,
}

/// One line of the report.
#[derive(Debug)]
struct Line {
    level: Level,
    name: String,
    detail: String,
    hint: Option<String>,
}

/// Looks, changes nothing but probing the bucket, and prints; fails where something is missing.
pub(super) fn run(settings: &Settings) -> Outcome {
    crate::process::install_tls();
    let mut lines = kernel(settings)?;
    lines.extend(ports(settings));
    lines.extend(data(settings));
    #[cfg(feature = "ingest")]
    lines.push(bucket(settings)?);
    print(&lines.iter().map(render).collect::<String>())?;
    let missing = lines.iter().filter(|line| line.level == Level::Missing).count();
    match missing {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} of {} checks failed", lines.len()))),
    }
}

#[cfg(feature = "probe")]
fn kernel(settings: &Settings) -> Result<Vec<Line>, Failure> {
    let config = crate::compose::probes::config(settings, None)?;
    let findings = icecore_probes::findings(&config).into_iter().map(|finding| Line {
        level: match finding.level {
            icecore_probes::Level::Good => Level::Good,
            icecore_probes::Level::Limited => Level::Limited,
            icecore_probes::Level::Missing => Level::Missing,
        },
        name: finding.name.to_owned(),
        detail: finding.detail,
        hint: finding.hint,
    });
    Ok(findings.collect())
}

#[cfg(not(feature = "probe"))]
fn kernel(_settings: &Settings) -> Result<Vec<Line>, Failure> {
    Ok(Vec::new())
}

fn ports(settings: &Settings) -> Vec<Line> {
    let ports = [
        ("OTLP/gRPC port", "--otlp-grpc-addr", settings.otlp_grpc_addr),
        ("OTLP/HTTP port", "--otlp-http-addr", settings.otlp_http_addr),
        ("query API port", "--http-addr", settings.http_addr),
    ];
    let mut lines: Vec<Line> = ports.map(|(name, flag, addr)| port(name, flag, addr)).into();
    // One that is left out or is no address is told by whoever starts it.
    let flight = settings.grpc_addr.parse().ok();
    lines.extend(flight.map(|addr| port("Arrow Flight SQL port", "--grpc-addr", addr)));
    let postgres = settings.pg_addr.parse().ok();
    lines.extend(postgres.map(|addr| port("PostgreSQL port", "--pg-addr", addr)));
    lines
}

fn port(name: &str, flag: &str, addr: SocketAddr) -> Line {
    let (level, detail, hint) = match TcpListener::bind(addr) {
        Ok(_free) => (Level::Good, format!("{addr} is free"), None),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => (
            Level::Limited,
            format!("{addr} is in use"),
            Some(format!("fine if Icecore runs already; else choose another with {flag}")),
        ),
        Err(error) => (
            Level::Missing,
            format!("{addr} cannot be listened on: {error}"),
            Some(format!("choose an address of this machine with {flag}")),
        ),
    };
    Line { level, name: name.to_owned(), detail, hint }
}

/// Whether the data directory, or the nearest folder above it that exists, can be written.
fn data(settings: &Settings) -> Option<Line> {
    let wanted = std::path::absolute(&settings.data_dir).ok()?;
    let there = wanted.ancestors().find(|folder| folder.exists())?;
    let read_only = std::fs::metadata(there).is_ok_and(|meta| meta.permissions().readonly());
    let (level, hint) = if read_only {
        (Level::Missing, Some("choose a folder that can be written with --data-dir".to_owned()))
    } else {
        (Level::Good, None)
    };
    let detail =
        format!("{}{}", wanted.display(), if there == wanted { "" } else { " (to be made)" });
    Some(Line { level, name: "data directory".to_owned(), detail, hint })
}

/// Opens the bucket as a reader would, with an index of its own that is thrown away.
#[cfg(feature = "ingest")]
fn bucket(settings: &Settings) -> Result<Line, Failure> {
    let (level, detail, hint) = match super::store::opened(settings) {
        Ok(stats) if stats.create_only => {
            (Level::Good, "answers, and keeps create-only puts", None)
        }
        Ok(_) => (
            Level::Limited,
            "answers, but ignores create-only puts",
            Some("one process may write at a time; Icecore sees to that".to_owned()),
        ),
        Err(failure) => {
            let hint = "check --storage, --s3-endpoint and the AWS_ variables".to_owned();
            let name = "bucket".to_owned();
            return Ok(Line {
                level: Level::Missing,
                name,
                detail: failure.to_string(),
                hint: Some(hint),
            });
        }
    };
    Ok(Line { level, name: "bucket".to_owned(), detail: detail.to_owned(), hint })
}

fn render(line: &Line) -> String {
    let mark = match line.level {
        Level::Good => "ok  ",
        Level::Limited => "warn",
        Level::Missing => "FAIL",
    };
    let hint = line.hint.as_ref().map_or_else(String::new, |hint| format!("\n       -> {hint}"));
    format!("{mark}  {}: {}{hint}\n", line.name, line.detail)
}
