//! A ring in this process's memory, its pages mapped once.
//!
//! The kernel offers the pages of a ring twice, one run behind the other, so that a record that goes over the end
//! lies in one piece. Each mapping counts as resident, used or not. Of the second, only as much is mapped here as the
//! longest record needs.
//!
//! Invariants: nothing outside of the mapping is read, whatever a header says; the kernel is given a record's place
//! back only when nobody holds the record any more.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

use aya::maps::{Map, MapData};
use icecore_probe_events::{KERNEL_FRAMES_MAX, PIECE_BYTES_MAX, STACK_BYTES_MAX};

/// What is mapped of the second run of pages.
const TAIL_BYTES: usize = 128 << 10;
const HEADER_BYTES: usize = 8;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

const _: () = assert!(
    TAIL_BYTES >= STACK_BYTES_MAX + KERNEL_FRAMES_MAX * 8 + PIECE_BYTES_MAX,
    "the longest record fits"
);

/// The reader of a ring; there is one of each.
pub(crate) struct Ring {
    /// Programs that are loaded later know the map by this descriptor: it stays open, and the same.
    _map: Option<MapData>,
    /// Another one, of whatever is mapped.
    fd: OwnedFd,
    /// How far was read: a page that the kernel looks at.
    consumer: Mapping,
    /// How far was written: one page, and behind it what was.
    producer: Mapping,
    page_bytes: usize,
    /// Of the ring, a power of two.
    ring_bytes: usize,
    read: usize,
    /// How far was written when it was last looked at.
    written: usize,
    /// Something was given back since the kernel's state was last looked at behind a fence.
    moved: bool,
}

/// A record; its place is the kernel's again when this is dropped.
pub(crate) struct Item<'a> {
    ring: &'a mut Ring,
    /// Where it begins in the producer's mapping.
    start: usize,
    /// What of it is mapped: all, unless its header is not as the kernel writes it.
    mapped_bytes: usize,
    bytes: usize,
}

impl Ring {
    /// Maps the ring of `map`.
    pub(crate) fn open(map: Map) -> io::Result<Self> {
        let Map::RingBuf(map) = map else {
            return Err(io::Error::other("it is not a ring"));
        };
        let ring_bytes = map.info().map_err(io::Error::other)?.max_entries() as usize;
        let ring = Self::mapped(map.fd().as_fd().try_clone_to_owned()?, ring_bytes)?;
        Ok(Self { _map: Some(map), ..ring })
    }

    fn mapped(fd: OwnedFd, ring_bytes: usize) -> io::Result<Self> {
        let page_bytes = page_bytes()?;
        if !ring_bytes.is_power_of_two() {
            return Err(io::Error::other("its size is not a power of two"));
        }
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        let consumer = Mapping::new(fd.as_fd(), page_bytes, writable, 0)?;
        let length = page_bytes + ring_bytes + ring_bytes.min(TAIL_BYTES);
        let producer = Mapping::new(fd.as_fd(), length, libc::PROT_READ, page_bytes)?;
        let read = consumer.position().load(Ordering::Acquire);
        let written = producer.position().load(Ordering::Acquire);
        Ok(Self {
            _map: None,
            fd,
            consumer,
            producer,
            page_bytes,
            ring_bytes,
            read,
            written,
            moved: false,
        })
    }

    /// The record that was written first of those that nobody has read; none where none is whole.
    pub(crate) fn next(&mut self) -> Option<Item<'_>> {
        while self.waits() {
            let start = self.page_bytes + (self.read & (self.ring_bytes - 1));
            let header = self.producer.header(start)?.load(Ordering::Acquire);
            if header & BUSY != 0 {
                if !self.moved {
                    return None;
                }
                self.look_behind_a_fence();
                continue;
            }
            let bytes = (header & !(BUSY | DISCARDED)) as usize;
            if header & DISCARDED != 0 {
                self.give_back(bytes);
                continue;
            }
            let start = start + HEADER_BYTES;
            let mapped_bytes = bytes.min(self.producer.length - start);
            return Some(Item { ring: self, start, mapped_bytes, bytes });
        }
        None
    }

    /// Something was written that was not read.
    fn waits(&mut self) -> bool {
        if self.read == self.written {
            if self.moved {
                self.look_behind_a_fence();
            }
            // What was written before its position was is seen with it.
            self.written = self.producer.position().load(Ordering::Acquire);
        }
        self.read != self.written
    }

    /// Either what the kernel has written is seen next, or the kernel sees how far was read, and rings.
    fn look_behind_a_fence(&mut self) {
        fence(Ordering::SeqCst);
        self.moved = false;
    }

    fn give_back(&mut self, bytes: usize) {
        self.read = self.read.wrapping_add((HEADER_BYTES + bytes).next_multiple_of(8));
        // The kernel writes there only when it has seen this, which comes behind all that was read.
        self.consumer.position().store(self.read, Ordering::Release);
        self.moved = true;
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Deref for Item<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Self { ring, start, mapped_bytes, bytes: _ } = self;
        // SAFETY: `mapped_bytes` from `start` on are within the mapping, as `next` has seen to, and it lives as long as
        // the ring that is borrowed. The kernel does not write to a record that was committed and not given back.
        unsafe {
            std::slice::from_raw_parts(ring.producer.start.as_ptr().add(*start), *mapped_bytes)
        }
    }
}

impl Drop for Item<'_> {
    fn drop(&mut self) {
        self.ring.give_back(self.bytes);
    }
}

/// Memory that is shared with the kernel, until it is dropped.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to the process and not to a thread, and nothing else points to it.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, length: usize, how: i32, offset: usize) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: the kernel chooses a place where nothing is mapped yet.
        let start = unsafe {
            libc::mmap(null_mut(), length, how, libc::MAP_SHARED, fd.as_raw_fd(), offset)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { start, length })
    }

    /// How far the one whose page this begins with has come.
    fn position(&self) -> &AtomicUsize {
        // SAFETY: a mapping begins with a page, which is aligned, and in which the kernel keeps an `unsigned long`.
        unsafe { self.start.cast().as_ref() }
    }

    /// What the kernel says of the record at `at`; none outside of what is mapped, or where none can begin.
    fn header(&self, at: usize) -> Option<&AtomicU32> {
        if !at.is_multiple_of(8) || at.checked_add(HEADER_BYTES)? > self.length {
            return None;
        }
        // SAFETY: eight bytes from there on are mapped, and aligned, as was just seen.
        Some(unsafe { self.start.add(at).cast().as_ref() })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing borrows of it any more.
        let refused = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert_eq!(refused, 0, "what was mapped can be unmapped");
    }
}

fn page_bytes() -> io::Result<usize> {
    // SAFETY: it only asks.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
