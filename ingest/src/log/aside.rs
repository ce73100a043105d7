//! Logged requests that cannot be made into rows: kept beside the log when their part of it goes.
//!
//! Invariant: a request that was acknowledged is in the store, in the log, or in a file here, as
//! long as the files here have room. Each is the export request as it was received, so that it can
//! be sent again to a build that reads it.

use std::io;

use super::disk::Folder;
use super::tail::Logged;

/// What such files take together. They are for a person to look at: nothing removes them but a person.
pub(crate) const ASIDE_BYTES_MAX: u64 = 256 << 20;

const NAME: &str = "undecodable-";

/// Whether a request was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Aside {
    /// In the file of this name in the log's folder.
    Kept(String),
    /// Others take the room already.
    Full,
}

/// Keeps a request durably, and anew where that is done already. `plain` is what it unpacks to, where
/// it does.
///
/// # Errors
/// Where the disk refuses it: to be tried again.
pub(super) fn set_aside(
    folder: &dyn Folder,
    logged: &Logged,
    plain: Option<&[u8]>,
) -> io::Result<Aside> {
    let (bytes, kind) = plain.map_or((logged.packed.bytes.as_ref(), "packed"), |it| (it, "otlp"));
    let name = format!("{NAME}{}-{:020}.{kind}", logged.signal.name(), logged.position.0);
    let files = folder.files()?;
    let ours = files.iter().filter(|(other, _)| other.starts_with(NAME));
    let (same, others): (Vec<_>, Vec<_>) = ours.partition(|(other, _)| *other == name);
    // Of a try that failed a part may be there.
    same.iter().try_for_each(|(name, _)| folder.remove(name))?;
    let used: u64 = others.iter().map(|(_, held)| held).sum();
    if used + bytes.len() as u64 > ASIDE_BYTES_MAX {
        return Ok(Aside::Full);
    }
    let mut file = folder.create(&name)?;
    file.append(bytes)?;
    file.sync()?;
    folder.sync()?;
    Ok(Aside::Kept(name))
}
