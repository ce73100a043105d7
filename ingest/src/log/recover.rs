//! What a log folder holds after whatever happened to the process or the machine.
//!
//! Invariants: every whole frame is found again; a torn tail is cut off at the last whole frame;
//! damage in the middle is skipped and reported, never taken for the end.

use std::io;

use icecore_store::LogPosition;
use tracing::warn;

use super::disk::Folder;
use super::frame::{self, Read};
use super::segment::Segment;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The segments, oldest first.
    pub(crate) segments: Vec<Segment>,
    /// Where the log goes on: after everything that was ever written, torn or not.
    pub(crate) next: LogPosition,
    /// Whole frames.
    pub(crate) frames: u64,
    /// What was not whole, in order.
    pub(crate) damage: Vec<Damage>,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Where they start.
    pub(crate) position: LogPosition,
    /// How many they are.
    pub(crate) bytes: u64,
    /// Whether they are the end of the log, where a write was under way; else frames are lost.
    pub(crate) torn: bool,
}

/// Reads all of the log and cuts a torn tail off. Costs one read of each segment, and memory for
/// one segment at a time.
pub(crate) fn recover(folder: &dyn Folder) -> io::Result<Recovered> {
    let mut files: Vec<_> = folder.files()?;
    files.retain(|(name, _)| Segment::parse_name(name).is_some());
    files.sort();
    let mut recovered = Recovered::default();
    let newest = files.len().saturating_sub(1);
    for (index, (name, bytes)) in files.into_iter().enumerate() {
        let Some(first) = Segment::parse_name(&name) else { continue };
        recovered.next = LogPosition(first.0 + bytes).max(recovered.next);
        let len = usize::try_from(bytes).map_err(io::Error::other)?;
        let content = folder.read(&name, 0, len)?;
        let scan = scan(first, &content, index == newest);
        recovered.frames += scan.frames;
        scan.damage.iter().for_each(report);
        recovered.damage.extend(scan.damage);
        if index == newest && scan.whole_bytes == 0 {
            folder.remove(&name)?;
            continue;
        }
        if index == newest && scan.whole_bytes < bytes {
            folder.cut(&name, scan.whole_bytes)?;
        }
        recovered.segments.push(Segment { first, bytes: scan.whole_bytes });
    }
    Ok(recovered)
}

/// What one segment holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) frames: u64,
    /// Bytes up to the end of the last whole frame.
    whole_bytes: u64,
    pub(super) damage: Vec<Damage>,
}

/// Goes through the bytes of a segment; what follows the last whole frame is torn in the `newest`.
pub(super) fn scan(first: LogPosition, bytes: &[u8], newest: bool) -> Scan {
    let mut scan = Scan::default();
    let mut rest = bytes;
    let mut bad_from: Option<LogPosition> = None;
    let here = |rest: &[u8]| LogPosition(first.0 + (bytes.len() - rest.len()) as u64);
    while !rest.is_empty() {
        let position = here(rest);
        match frame::read(position, rest) {
            Read::Whole(_, after) => {
                if let Some(start) = bad_from.take() {
                    let bytes = position.0 - start.0;
                    scan.damage.push(Damage { position: start, bytes, torn: false });
                }
                scan.frames += 1;
                scan.whole_bytes = here(after).0 - first.0;
                rest = after;
            }
            Read::Short(_) | Read::Bad => {
                bad_from.get_or_insert(position);
                rest = rest.get(frame::skip(position, rest)..).unwrap_or_default();
            }
        }
    }
    if let Some(position) = bad_from {
        let bytes = first.0 + bytes.len() as u64 - position.0;
        scan.damage.push(Damage { position, bytes, torn: newest });
    }
    scan
}

/// A torn tail is what a death during a write leaves; anything else is lost data.
fn report(damage: &Damage) {
    let Damage { position, bytes, torn } = *damage;
    if torn {
        warn!(position = position.0, bytes, "a torn tail was cut off the log");
    } else {
        tracing::error!(position = position.0, bytes, "damage in the log was skipped");
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
