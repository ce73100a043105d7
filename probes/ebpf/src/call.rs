//! What a system call moves, and where in the caller's memory it lies.
//!
//! Invariant: nothing here is trusted: user memory may change while it is read, so every length
//! taken from it only ever shortens what is copied.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use icecore_probe_events::{INBOUND, OUTBOUND};

use crate::arch::{self, NARROW_REGISTERS, REGISTERS, number};
use crate::copy::opaque;
use crate::maps::{MESSAGES, MessageCursor};
use crate::narrow::{OTHER, SOCKET_CALL, native_number, socket_call};

/// A system call: its number and first five arguments.
#[derive(Clone, Copy)]
pub struct Call {
    pub number: u32,
    pub args: [u64; 5],
    /// Bytes of an address in the caller's memory: 8, or `NARROW`.
    pub width: u64,
}

/// Bytes of an address in a 32-bit program.
pub const NARROW: u64 = 4;

/// No call that is looked at.
pub const NO_CALL: Call = Call { number: OTHER, args: [0; 5], width: 8 };

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
    /// As in [`Call::width`].
    pub width: u64,
}

/// Bytes that never were in the caller's memory, or nobody says where.
pub const NOWHERE: Source = Source { at: 0, len: 0, vector: 0, vector_len: 0, width: 8 };

/// `struct iovec`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stretch {
    pub at: u64,
    pub len: u64,
}

impl Source {
    /// Nothing can be read there.
    #[inline(always)]
    pub fn is_nowhere(&self) -> bool {
        self.len == 0 && self.vector_len == 0
    }
}

/// `sizeof(struct mmsghdr)`, in addresses.
const MESSAGE_WORDS: u64 = 8;
/// `UIO_MAXIOV`: messages that `sendmmsg` takes, of however many. `recvmmsg` takes all.
const SENT_MAX: u64 = 1024;
/// Where `mmsghdr.msg_len` is, in addresses.
const MESSAGE_LEN_WORDS: u64 = 7;

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
    /// The call of which these are the registers, of which `read` reads a word; `NO_CALL` for one that moves
    /// no bytes on a socket, as most calls are.
    #[inline(always)]
    pub fn read(read: impl Fn(usize) -> u64) -> Self {
        let narrow = arch::narrow(&read);
        // Here, where the verifier does not know yet which it is: it would go through all that comes twice.
        let width = opaque(8 >> narrow);
        let mut number = read(REGISTERS[0]) as u32;
        if narrow != 0 {
            number = native_number(u64::from(number)) as u32;
        }
        if shape(number).is_none() && number != number::SPLICE && number != SOCKET_CALL {
            return NO_CALL;
        }
        let args = if narrow != 0 {
            let [_, a, b, c, d, e] = NARROW_REGISTERS;
            [read(a), read(b), read(c), read(d), read(e)]
        } else {
            let [_, a, b, c, d, e] = REGISTERS;
            [read(a), read(b), read(c), read(d), read(e)]
        };
        if number == SOCKET_CALL {
            return socket_call(args);
        }
        Self { number, args, width }
    }

    /// Which way the call moves bytes on the socket that is its first argument, and how it names
    /// them; none for calls that move nothing.
    #[inline(always)]
    pub fn shape(&self) -> Option<(u8, Shape)> {
        shape(self.number)
    }

    /// `MSG_…` that its caller has given; 0 for a call that takes none.
    #[inline(always)]
    pub fn flags(&self) -> u64 {
        let [_, _, third, fourth, _] = self.args;
        match self.number {
            number::SENDTO | number::RECVFROM | number::SENDMMSG | number::RECVMMSG => fourth,
            number::SENDMSG | number::RECVMSG => third,
            _ => 0,
        }
    }

    /// Where the bytes of this call lie, for a call of one message.
    #[inline(always)]
    pub fn source(&self, shape: Shape) -> Source {
        let [_, second, third, ..] = self.args;
        let width = self.width;
        match shape {
            Shape::Buffer => Source { at: second, len: third, vector: 0, vector_len: 0, width },
            Shape::Vector => Source { at: 0, len: 0, vector: second, vector_len: third, width },
            Shape::Message => message(second, width),
            Shape::Messages | Shape::Elsewhere => NOWHERE,
        }
    }

    /// Where the other end is named, for a call of one message; 0: nowhere. Who has sent what is received stands there
    /// when the call is over.
    #[inline(always)]
    pub fn name(&self, shape: Shape) -> u64 {
        match shape {
            Shape::Buffer if self.number == number::SENDTO || self.number == number::RECVFROM => {
                self.args[4]
            }
            Shape::Message => name(self.args[1], self.width),
            _ => 0,
        }
    }

    /// Where a message of a call of several lies.
    #[inline(always)]
    pub fn message_at(&self, index: u64) -> u64 {
        self.args[1] + index * MESSAGE_WORDS * self.width
    }

    /// How long that message became; none where it cannot be read.
    #[inline(always)]
    pub fn message_len(&self, index: u64) -> Option<u32> {
        let at = self.message_at(index) + MESSAGE_LEN_WORDS * self.width;
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_user(at as *const u32) }.ok()
    }

    /// Where the next message of a call of several lies, and where its receiver is named, when each is seen on its
    /// own.
    ///
    /// The hook does not see the call begin. Its last message takes the cursor away, and so does an error, by which a
    /// call ends before; one that is left all the same is told by the length: a message that is shorter than what was
    /// moved cannot be the one.
    #[inline(always)]
    pub fn next_message(&self, moved: u64) -> (Source, u64) {
        let thread = bpf_get_current_pid_tgid();
        let [_, vector, count, ..] = self.args;
        // As the kernel takes it: an `unsigned int`.
        let max = if self.number == number::SENDMMSG { SENT_MAX } else { u64::MAX };
        let count = u64::from(count as u32).min(max);
        // SAFETY: the value is copied out at once.
        let cursor = unsafe { MESSAGES.get(&thread) }.copied();
        let mut index = match cursor {
            Some(cursor) if cursor.vector == vector && cursor.next < count => cursor.next,
            _ => 0,
        };
        let mut source = message(self.message_at(index), self.width);
        if index > 0 && first_stretch(&source) < moved && source.vector_len == 1 {
            index = 0;
            source = message(vector, self.width);
        }
        if index + 1 < count {
            let cursor = MessageCursor { vector, next: index + 1 };
            // A cursor that finds no place costs one message its payload, not its size.
            let _ = MESSAGES.insert(&thread, &cursor, 0);
        } else if cursor.is_some() {
            let _ = MESSAGES.remove(&thread);
        }
        (source, name(self.message_at(index), self.width))
    }
}

/// Which way a call of this number moves bytes, and how it names them; none for other calls.
#[inline(always)]
fn shape(number: u32) -> Option<(u8, Shape)> {
    Some(match number {
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

/// Where the name of the other end lies, by a `user_msghdr`; 0: nowhere.
#[inline(always)]
pub fn name(at: u64, width: u64) -> u64 {
    // SAFETY: the helper checks the address; the name comes first.
    unsafe {
        if width == NARROW {
            bpf_probe_read_user(at as *const u32).map_or(0, u64::from)
        } else {
            bpf_probe_read_user(at as *const u64).unwrap_or(0)
        }
    }
}

/// Reads a `user_msghdr`: the name, its length, the stretches, how many they are.
#[inline(always)]
pub fn message(at: u64, width: u64) -> Source {
    // SAFETY: the helper checks the address.
    let read = unsafe {
        if width == NARROW {
            bpf_probe_read_user(at as *const [u32; 4]).map(|[_, _, vector, len]| (u64::from(vector), u64::from(len)))
        } else {
            bpf_probe_read_user(at as *const [u64; 4]).map(|[_, _, vector, len]| (vector, len))
        }
    };
    match read {
        Ok((vector, vector_len)) => Source { at: 0, len: 0, vector, vector_len, width },
        Err(_) => NOWHERE,
    }
}

/// Reads an `iovec`.
#[inline(always)]
pub fn stretch(at: u64, width: u64) -> Option<Stretch> {
    // SAFETY: the helper checks the address.
    unsafe {
        if width == NARROW {
            let [at, len] = bpf_probe_read_user(at as *const [u32; 2]).ok()?;
            return Some(Stretch { at: u64::from(at), len: u64::from(len) });
        }
        bpf_probe_read_user(at as *const Stretch).ok()
    }
}

#[inline(always)]
fn first_stretch(source: &Source) -> u64 {
    // Else the compiler compares a length that nobody has read, before it asks whether somebody has.
    stretch(source.vector, source.width).map_or(0, |it| opaque(it.len))
}
