//! What a system call moves, and where in the caller's memory it lies.
//!
//! Invariant: nothing here is trusted: user memory may change while it is read, so every length
//! taken from it only ever shortens what is copied.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use icecore_probe_events::{INBOUND, OUTBOUND};

use crate::arch::number;
use crate::maps::{MESSAGES, MessageCursor};

/// A system call: its number and first five arguments.
#[derive(Clone, Copy)]
pub struct Call {
    pub number: u32,
    pub args: [u64; 5],
}

/// Where the bytes lie.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Source {
    /// The current stretch.
    pub at: u64,
    pub len: u64,
    /// Further stretches, as an array of `iovec`.
    pub vector: u64,
    pub vector_len: u64,
}

/// Bytes that never were in the caller's memory.
pub const NOWHERE: Source = Source { at: 0, len: 0, vector: 0, vector_len: 0 };

/// `struct iovec`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stretch {
    pub at: u64,
    pub len: u64,
}

/// The part of `struct user_msghdr` that says where the bytes are.
#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    name: u64,
    name_len: u64,
    vector: u64,
    vector_len: u64,
}

/// `sizeof(struct mmsghdr)`
pub const MESSAGE_STRIDE: u64 = 64;
/// Where `mmsghdr.msg_len` is.
pub const MESSAGE_LEN_AT: u64 = 56;

/// How a call names its bytes.
#[derive(Clone, Copy, PartialEq)]
pub enum Shape {
    Buffer,
    Vector,
    Message,
    Messages,
    Elsewhere,
}

impl Call {
    /// Which way the call moves bytes on the socket that is its first argument, and how it names
    /// them; none for calls that move nothing.
    #[inline(always)]
    pub fn shape(&self) -> Option<(u8, Shape)> {
        Some(match self.number {
            number::READ | number::RECVFROM => (INBOUND, Shape::Buffer),
            number::WRITE | number::SENDTO => (OUTBOUND, Shape::Buffer),
            number::READV | number::PREADV2 => (INBOUND, Shape::Vector),
            number::WRITEV | number::PWRITEV2 => (OUTBOUND, Shape::Vector),
            number::RECVMSG => (INBOUND, Shape::Message),
            number::SENDMSG => (OUTBOUND, Shape::Message),
            number::RECVMMSG => (INBOUND, Shape::Messages),
            number::SENDMMSG => (OUTBOUND, Shape::Messages),
            number::SENDFILE => (OUTBOUND, Shape::Elsewhere),
            _ => return None,
        })
    }

    /// Where the bytes of this call lie, for a call of one message.
    #[inline(always)]
    pub fn source(&self, shape: Shape) -> Source {
        let [_, second, third, ..] = self.args;
        match shape {
            Shape::Buffer => Source { at: second, len: third, vector: 0, vector_len: 0 },
            Shape::Vector => Source { at: 0, len: 0, vector: second, vector_len: third },
            Shape::Message => message(second),
            Shape::Messages | Shape::Elsewhere => NOWHERE,
        }
    }

    /// Where the name of the receiver lies, for a call of one message; 0: nowhere.
    #[inline(always)]
    pub fn name(&self, shape: Shape) -> u64 {
        match shape {
            Shape::Buffer if self.number == number::SENDTO => self.args[4],
            Shape::Message => name(self.args[1]),
            _ => 0,
        }
    }

    /// Where the next message of a call of several lies, when each is seen on its own.
    ///
    /// The hook does not see the call begin, so a cursor left by an earlier call is told by the
    /// length: a message that is shorter than what was moved cannot be the one.
    #[inline(always)]
    pub fn next_message(&self, moved: u64) -> Source {
        let thread = bpf_get_current_pid_tgid();
        let [_, vector, count, ..] = self.args;
        // SAFETY: the value is copied out at once.
        let cursor = unsafe { MESSAGES.get(&thread) }.copied();
        let mut index = match cursor {
            Some(cursor) if cursor.vector == vector && cursor.next < count => cursor.next,
            _ => 0,
        };
        let mut source = message(vector + index * MESSAGE_STRIDE);
        if index > 0 && first_stretch(&source) < moved && source.vector_len == 1 {
            index = 0;
            source = message(vector);
        }
        let cursor = MessageCursor { vector, next: index + 1 };
        // A cursor that finds no place costs one message its payload, not its size.
        let _ = MESSAGES.insert(&thread, &cursor, 0);
        source
    }
}

/// Where the name of the other end lies, by a `user_msghdr`; 0: nowhere.
#[inline(always)]
pub fn name(at: u64) -> u64 {
    // SAFETY: the helper checks the address; the name comes first.
    unsafe { bpf_probe_read_user(at as *const u64) }.unwrap_or(0)
}

/// Reads a `user_msghdr`.
#[inline(always)]
pub fn message(at: u64) -> Source {
    // SAFETY: the helper checks the address.
    match unsafe { bpf_probe_read_user(at as *const Message) } {
        Ok(message) => {
            Source { at: 0, len: 0, vector: message.vector, vector_len: message.vector_len }
        }
        Err(_) => NOWHERE,
    }
}

#[inline(always)]
fn first_stretch(source: &Source) -> u64 {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(source.vector as *const Stretch) }.map_or(0, |it| it.len)
}
