//! `icecore store check`: whether the bucket is whole, and what in it does not count.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};

use icecore_store::{CheckListener, CheckReport, Finding, Store};

use super::print;
use crate::error::{Failure, Outcome, chain};

/// Files between two lines of progress.
const PROGRESS_FILES: u64 = 50;

/// Checks, tells what is found as it is found, and fails where there are faults.
pub(super) async fn check(store: &Store, deep: bool, json: bool) -> Outcome {
    let teller =
        Teller { json, told: Mutex::new((0, Ok(()))), terminal: std::io::stderr().is_terminal() };
    if json {
        print("{\"findings\":[")?;
    }
    let checked = store.check_all(deep, &teller).await;
    teller.clear();
    teller.told.into_inner().unwrap_or_else(PoisonError::into_inner).1?;
    let report = checked
        .map_err(|error| Failure::failed(format!("cannot check the store: {}", chain(&error))))?;
    print(&if json { json_end(&report, deep) } else { text_end(&report, deep) })?;
    match report.faults_all {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} faults in the bucket"))),
    }
}

/// Prints what a check finds, and how far it is where somebody looks on.
struct Teller {
    json: bool,
    terminal: bool,
    /// How much was told, and whether that went well.
    told: Mutex<(u64, Outcome)>,
}

impl Teller {
    fn clear(&self) {
        if self.terminal {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }
}

impl CheckListener for Teller {
    fn found(&self, finding: &Finding) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let text = if self.json {
            let comma = if told.0 == 0 { "" } else { "," };
            let finding = serde_json::to_string(finding).unwrap_or_default();
            format!("{comma}\n{finding}")
        } else {
            match finding {
                Finding::Fault { path, what } => format!("fault: `{path}`: {what}\n"),
                Finding::Orphan { path, bytes, why } => {
                    format!("does not count: `{path}` ({bytes} bytes): {why}\n")
                }
            }
        };
        self.clear();
        told.0 += 1;
        if told.1.is_ok() {
            told.1 = print(&text);
        }
    }

    fn checked(&self, files: u64, of: u64) {
        if self.terminal && (files.is_multiple_of(PROGRESS_FILES) || files == of) {
            drop(write!(std::io::stderr(), "\r\x1b[Kchecked {files} of {of} files"));
        }
    }
}

fn text_end(report: &CheckReport, deep: bool) -> String {
    let CheckReport { records, files, rows, unnamed, faults_all, .. } = report;
    let looked = if deep { "every row read" } else { "every footer read" };
    let whole = if *faults_all == 0 { "whole\n" } else { "" };
    format!(
        "{records} records, {files} files with {rows} rows, {unnamed} objects that do not count; \
         {looked}\n{whole}"
    )
}

fn json_end(report: &CheckReport, deep: bool) -> String {
    let CheckReport { records, files, rows, unnamed, faults_all, .. } = report;
    format!(
        "\n],\"records\":{records},\"files\":{files},\"rows\":{rows},\"orphans\":{unnamed},\
         \"faults\":{faults_all},\"deep\":{deep}}}\n"
    )
}
