//! The files that a process executes code of.
//!
//! Invariant: the file that is opened is the one that is mapped, in whatever container and deleted
//! or not; where that cannot be told, none is.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Which file: device and inode as the kernel shows them in maps. A path beside them tells apart
/// files that had the same inode one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: String,
    inode: u64,
    path: PathBuf,
}

#[cfg(test)]
impl FileId {
    /// As a line of maps shows it.
    pub(super) fn maps_line(&self, range: &str, path: &str) -> String {
        let Self { device, inode, .. } = self;
        format!("{range} r-xp 00000000 {device} {inode}      {path}\n")
    }
}

/// A file, and ways to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) id: FileId,
    /// As its process sees it.
    pub(super) path: PathBuf,
    /// The kernel's link to it.
    link: Option<PathBuf>,
    /// Its path through the root of its process.
    by_root: PathBuf,
}

impl Mapped {
    /// A file that perhaps nobody has mapped.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let id =
            FileId { device: device(metadata.dev()), inode: metadata.ino(), path: path.to_owned() };
        Some(Self { id, path: path.to_owned(), link: None, by_root: path.to_owned() })
    }

    /// Opens it for reading.
    pub(super) fn open(&self) -> io::Result<File> {
        if let Some(file) = self.link.as_ref().and_then(|link| File::open(link).ok()) {
            return Ok(file);
        }
        // The link takes a privilege that the agent may lack.
        let file = File::open(&self.by_root)?;
        let metadata = file.metadata()?;
        if metadata.ino() == self.id.inode && device(metadata.dev()) == self.id.device {
            return Ok(file);
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

fn device(number: u64) -> String {
    format!("{:02x}:{:02x}", libc::major(number), libc::minor(number))
}

/// The files that a process has mapped to execute them, each once; none where it is gone.
pub(super) fn files(proc_dir: &Path, pid: u32) -> Vec<Mapped> {
    let dir = proc_dir.join(pid.to_string());
    let Ok(maps) = fs::read(dir.join("maps")) else { return Vec::new() };
    let maps = String::from_utf8_lossy(&maps);
    let mut seen = HashSet::new();
    let mapped = maps.lines().filter_map(|line| file(&dir, line));
    mapped.filter(|mapped| seen.insert(mapped.id.clone())).collect()
}

/// `address perms offset dev inode path`; the path may hold spaces.
fn file(dir: &Path, line: &str) -> Option<Mapped> {
    let mut fields = line.splitn(6, ' ');
    let range = fields.next()?;
    if !fields.next()?.contains('x') {
        return None;
    }
    let device = fields.nth(1)?.to_owned();
    let inode = fields.next()?.parse().ok().filter(|&inode| inode != 0)?;
    let path = fields.next()?.trim_start();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    if !path.starts_with('/') {
        return None;
    }
    let link = dir.join("map_files").join(range_without_zeros(range)?);
    let by_root = dir.join("root").join(path.trim_start_matches('/'));
    let path = PathBuf::from(path);
    let id = FileId { device, inode, path: path.clone() };
    Some(Mapped { id, path, link: Some(link), by_root })
}

/// The folder of links names ranges without the zeros that maps pads them with.
fn range_without_zeros(range: &str) -> Option<String> {
    let (start, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(format!("{:x}-{:x}", number(start)?, number(end)?))
}
