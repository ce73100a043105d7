//! What an answer says of itself.

use std::time::Duration;

use serde::Serialize;

use crate::snapshot::QuerySnapshot;
use crate::table::ScanFigures;

/// The `stats` of an answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stats {
    /// The snapshot that the answer is of.
    snapshot: String,
    /// Rows in the answer.
    rows: u64,
    /// Time from the query's start to the end of its rows.
    elapsed_ms: f64,
    /// What was read for it.
    #[serde(flatten)]
    scanned: ScanFigures,
    /// What is missing, and why; empty where the answer is whole.
    incomplete: Vec<String>,
    /// What makes one doubt that the query asked what was meant; left out where nothing does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Stats {
    /// The stats of an answer of `rows` rows.
    pub(crate) fn new(
        snapshot: &QuerySnapshot,
        scanned: ScanFigures,
        rows: u64,
        elapsed: Duration,
        notes: Vec<String>,
    ) -> Self {
        let elapsed_ms = (elapsed.as_secs_f64() * 1e6).round() / 1e3;
        let incomplete = snapshot.incomplete.clone();
        Self { snapshot: snapshot.files.id(), rows, elapsed_ms, scanned, incomplete, notes }
    }
}
