//! Where the bytes of a file are.
//!
//! Invariant: a read gives what is there at that time, and no more: a file may be cut at any time.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// A file that is open, or one that is in memory.
#[derive(Debug, Clone)]
pub(super) enum Source {
    File(Arc<File>),
    Bytes(Arc<[u8]>),
}

impl Source {
    /// As much as there is, from an offset on.
    pub(super) fn read<'a>(&self, at: u64, buffer: &'a mut [u8]) -> &'a [u8] {
        let read = match self {
            Self::File(file) => file.read_at(buffer, at).unwrap_or(0),
            Self::Bytes(bytes) => {
                let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
                let rest = rest.unwrap_or_default();
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                length
            }
        };
        &buffer[..read]
    }

    /// So many bytes, or none.
    pub(super) fn exact<const BYTES: usize>(&self, at: u64) -> Option<[u8; BYTES]> {
        let mut buffer = [0; BYTES];
        (self.read(at, &mut buffer).len() == BYTES).then_some(buffer)
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::File(_) => 0,
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}
