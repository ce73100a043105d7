//! The texts of a stack, read.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::attributes::unreadable;
use crate::error::Error;

/// The columns `stack` and `frames` of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct StackRow {
    pub(super) names: String,
    /// Empty where nothing is known but names.
    pub(super) frames: String,
}

/// What is known of a frame beside its name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Frame<'a> {
    pub(super) function: Option<String>,
    pub(super) system_name: String,
    pub(super) file: String,
    pub(super) line: i64,
    pub(super) column: i64,
    pub(super) start_line: i64,
    pub(super) unsymbolized: bool,
    pub(super) inlined: bool,
    address: String,
    #[serde(borrow)]
    pub(super) attributes: Option<&'a RawValue>,
    pub(super) mapping: String,
    mapping_start: String,
    mapping_limit: String,
    mapping_offset: String,
    #[serde(borrow)]
    pub(super) mapping_attributes: Option<&'a RawValue>,
}

impl StackRow {
    /// The name of each frame, and the rest.
    pub(super) fn read(&self) -> Result<Vec<(String, Frame<'_>)>, Error> {
        let names: Vec<String> =
            serde_json::from_str(&self.names).map_err(|source| unreadable(&self.names, &source))?;
        let frames: Vec<Frame<'_>> = if self.frames.is_empty() {
            names.iter().map(|_| Frame::default()).collect()
        } else {
            serde_json::from_str(&self.frames)
                .map_err(|source| unreadable(&self.frames, &source))?
        };
        Ok(names.into_iter().zip(frames).collect())
    }
}

impl Frame<'_> {
    pub(super) fn address(&self) -> u64 {
        number(&self.address)
    }

    /// Where the mapping starts and ends, and what of the file it starts with.
    pub(super) fn bounds(&self) -> (u64, u64, u64) {
        (number(&self.mapping_start), number(&self.mapping_limit), number(&self.mapping_offset))
    }
}

fn number(hex: &str) -> u64 {
    hex.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default()
}
