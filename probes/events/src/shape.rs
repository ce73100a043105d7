//! How a function of a TLS library is called: what its probe is told as its cookie.
//!
//! Invariant: the upper half is the index of the library in the map `TLS_READY`, and nothing else.

/// It receives: the session, where to put the bytes, and how many there may be.
pub const READ: u64 = 0;
/// It sends: the session, the bytes, and how many they are.
pub const WRITE: u64 = 1;
/// It moves no bytes of the caller, but uses the session's socket.
pub const TOUCH: u64 = 2;
/// The session is gone.
pub const FORGET: u64 = 3;
/// The bits of the above.
pub const KIND: u64 = 3;
/// How many bytes were moved is written to where the fourth argument points, and the result is 1.
pub const COUNT_APART: u64 = 4;
/// It moves files and clear text as well: it counts only where its socket was seen to carry TLS.
pub const TLS_OR_NOT: u64 = 8;
/// Its fourth argument has flags, of which 2 says that the bytes are only looked at.
pub const MAY_PEEK: u64 = 16;
/// Its sessions are known by the client's random number, which they hold: see [`with_random`].
pub const BY_RANDOM: u64 = 32;
/// Of Go: its caller has a connection of the package `net/http` send a request, which another goroutine does.
pub const ASKS: u64 = 64;
/// Where it says how far into a session the pointer lies to what holds the number, and how far in there it is.
pub const STATE_SHIFT: u32 = 8;
/// The bits of the former, of which that many follow.
pub const STATE: u64 = 0xff;
/// Where the latter begins.
pub const RANDOM_SHIFT: u32 = 16;
/// The bits of the latter.
pub const RANDOM: u64 = 0xffff;
/// Where the index of the library begins.
pub const LIBRARY_SHIFT: u32 = 32;

/// Both of them in their places; none where one has no room there.
#[must_use]
pub const fn with_random(state: u32, random: u32) -> Option<u64> {
    let (state, random) = (state as u64, random as u64);
    if state > STATE || random > RANDOM {
        return None;
    }
    Some(state << STATE_SHIFT | random << RANDOM_SHIFT)
}
