//! Requests that a destination refused for good, kept for a person to look at.
//!
//! Invariant: the file never grows beyond its bound; a request that does not fit is counted by
//! the caller and not kept.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use icecore_store::{LogPosition, Signal};
use serde::Serialize;

/// Whether a refused request was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    NoRoom,
}

/// A refused request, apart from its payload.
#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    /// RFC 3339.
    pub(crate) time: String,
    pub(crate) position: LogPosition,
    pub(crate) signal: Signal,
    pub(crate) reason: &'static str,
    /// The destination's own words.
    pub(crate) message: String,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    refusal: &'a Refusal,
    payload_base64: String,
}

/// The file of one destination: a JSON object a line.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetters {
    path: PathBuf,
    bytes_max: u64,
}

impl DeadLetters {
    pub(crate) fn new(folder: &Path, destination: &str, bytes_max: u64) -> Self {
        Self { path: folder.join(format!("{destination}.refused.ndjson")), bytes_max }
    }

    /// Adds a request. Blocks on the disk; not durable before the system says so, since what is
    /// lost here was refused anyway.
    pub(crate) fn keep(&self, refusal: &Refusal, payload: &[u8]) -> io::Result<Fate> {
        let line = Line { refusal, payload_base64: BASE64_STANDARD.encode(payload) };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let bytes =
            file.metadata()?.len().saturating_add(text.len().try_into().unwrap_or(u64::MAX));
        if bytes > self.bytes_max {
            return Ok(Fate::NoRoom);
        }
        file.write_all(&text)?;
        Ok(Fate::Kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: more refused requests than the file may hold.
    /// Guarantees: whole lines up to the bound, then none.
    #[test]
    fn the_file_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path(), "x", 1_000);
        let refusal = Refusal {
            time: String::new(),
            position: LogPosition(7),
            signal: Signal::Logs,
            reason: "bad_request",
            message: "no \"quotes\"".to_owned(),
        };
        let fates: Vec<Fate> = (0..5).map(|_| letters.keep(&refusal, &[7; 300]).unwrap()).collect();
        assert_eq!(fates, [Fate::Kept, Fate::NoRoom, Fate::NoRoom, Fate::NoRoom, Fate::NoRoom]);
        let text = std::fs::read_to_string(folder.path().join("x.refused.ndjson")).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["position"], 7);
        assert_eq!(line["payload_base64"], BASE64_STANDARD.encode([7; 300]));
    }
}
