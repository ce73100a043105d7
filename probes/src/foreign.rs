//! Files whose path or kind others choose.
//!
//! Invariants: looking for such a file neither waits nor does anything to what is there, be it a pipe or a
//! device; only a regular file is ever opened to be read, the same one that was looked at; a path below a
//! root leads nowhere outside it, whatever links are on the way.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd as _, FromRawFd as _, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What is at a path, not opened yet.
#[derive(Debug)]
pub(crate) struct Found {
    handle: File,
    metadata: Metadata,
}

impl Found {
    /// What a path of ours leads to, by way of links.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        Self::new(options(libc::O_PATH).open(path)?)
    }

    /// What is at a path as those see it who have this root. A link at its end is not followed.
    pub(crate) fn below(root: &Path, path: &Path) -> Result<Self> {
        Self::resolved(root, path, libc::O_NOFOLLOW)
    }

    /// The same where what is looked for may well be behind a link.
    pub(crate) fn linked_below(root: &Path, path: &Path) -> Result<Self> {
        Self::resolved(root, path, 0)
    }

    fn resolved(root: &Path, path: &Path, flags: i32) -> Result<Self> {
        let root = options(libc::O_PATH | libc::O_DIRECTORY).open(root)?;
        let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: it is plain numbers, for which zeros are valid.
        let mut how: libc::open_how = unsafe { std::mem::zeroed() };
        how.flags = u64::from((libc::O_PATH | libc::O_CLOEXEC | flags).unsigned_abs());
        how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
        // SAFETY: the path ends with a zero and `how` is as long as is said; both outlive the call.
        let opened = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                root.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of_val(&how),
            )
        };
        let opened = RawFd::try_from(opened).ok().filter(|opened| *opened >= 0);
        let opened = opened.ok_or_else(Error::last_os_error)?;
        // SAFETY: the kernel has just opened it, and nobody else knows of it.
        Self::new(unsafe { File::from_raw_fd(opened) })
    }

    fn new(handle: File) -> Result<Self> {
        let metadata = handle.metadata()?;
        Ok(Self { handle, metadata })
    }

    /// What it was when it was found.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Opens it to be read, if it is a regular file.
    pub(crate) fn open(&self) -> Result<File> {
        if !self.metadata.is_file() {
            return Err(Error::new(ErrorKind::InvalidInput, "it is no regular file"));
        }
        let link = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        options(libc::O_NONBLOCK | libc::O_NOCTTY).open(link)
    }
}

/// They close when another program is run, as all files that are opened here.
fn options(flags: i32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    options
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Scenario: below a root are a file, a pipe that nobody writes to, and links: one to the file as those
    /// see it who have this root, one out of it, and one to the pipe.
    /// Guarantees: the file is read, by its link where links are followed; nothing outside is found; the pipe
    /// is refused at once.
    #[test]
    fn only_files_below_a_root_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("file"), "inside").unwrap();
        fs::write(dir.path().join("secret"), "outside").unwrap();
        symlink("/file", root.join("link")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink(dir.path().join("secret"), root.join("far")).unwrap();
        let pipe = root.join("pipe");
        let name = std::ffi::CString::new(pipe.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let read = |found: Result<Found>| {
            let mut text = String::new();
            found.ok()?.open().ok()?.read_to_string(&mut text).ok()?;
            Some(text)
        };
        let inside = Some("inside".to_owned());
        assert_eq!(read(Found::below(&root, Path::new("/file"))), inside);
        assert_eq!(read(Found::below(&root, Path::new("file"))), inside);
        assert_eq!(read(Found::linked_below(&root, Path::new("link"))), inside);
        assert_eq!(read(Found::below(&root, Path::new("link"))), None);
        for path in ["out", "far", "pipe", "../secret", "nothing"] {
            assert_eq!(read(Found::linked_below(&root, Path::new(path))), None, "{path}");
        }
        assert_eq!(read(Found::at(&root.join("out"))), Some("outside".to_owned()));
        let refused = Found::at(&pipe).unwrap().open().unwrap_err();
        assert_eq!(refused.to_string(), "it is no regular file");
    }
}
