//! How a connection ended.
//!
//! Invariant: pure; each end is of exactly one kind.

use icecore_probe_events::{ACCOUNT_CLOSED_HERE, Account};

/// States of a socket as the kernel numbers them.
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;
const FIN_WAIT1: u32 = 4;
const CLOSE_WAIT: u32 = 8;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Ending {
    /// Both ends have closed it, the owner first.
    ClosedHere,
    /// Both ends have closed it, the other one first.
    ClosedThere,
    /// The owner cut it off.
    ResetHere,
    /// The other end cut it off.
    ResetThere,
    /// An error ended it; which one, as the kernel numbers them.
    Failed(u32),
    /// It was never made; why, or 0 where the owner gave up.
    NotConnected(u32),
}

impl Ending {
    /// Reads it from the last account.
    pub(super) fn of(account: &Account) -> Self {
        let error = i32::try_from(account.error).unwrap_or(0);
        match (account.state, error) {
            (SYN_SENT, _) => Self::NotConnected(account.error),
            (_, libc::ECONNRESET | libc::EPIPE) => Self::ResetThere,
            (ESTABLISHED | CLOSE_WAIT | FIN_WAIT1, 0) => Self::ResetHere,
            (_, 0) if account.flags & ACCOUNT_CLOSED_HERE != 0 => Self::ClosedHere,
            (_, 0) => Self::ClosedThere,
            _ => Self::Failed(account.error),
        }
    }

    /// In a word, of a small set.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ClosedHere => "closed_local",
            Self::ClosedThere => "closed_remote",
            Self::ResetHere => "reset_local",
            Self::ResetThere => "reset_remote",
            Self::Failed(_) => "failed",
            Self::NotConnected(_) => "not_connected",
        }
    }

    /// `error.type`; none where nothing is wrong.
    pub(super) fn error(self) -> Option<&'static str> {
        match self {
            Self::ClosedHere | Self::ClosedThere => None,
            Self::ResetHere | Self::ResetThere => Some("ECONNRESET"),
            Self::NotConnected(0) => Some("abandoned"),
            Self::Failed(error) | Self::NotConnected(error) => Some(error_name(error)),
        }
    }
}

/// The name of an `errno` that a TCP socket may have.
fn error_name(error: u32) -> &'static str {
    match i32::try_from(error).unwrap_or(0) {
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::EHOSTDOWN => "EHOSTDOWN",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENOPROTOOPT => "ENOPROTOOPT",
        libc::EPROTO => "EPROTO",
        libc::EACCES => "EACCES",
        libc::EPERM => "EPERM",
        libc::EPIPE => "EPIPE",
        libc::EMSGSIZE => "EMSGSIZE",
        libc::ENOBUFS => "ENOBUFS",
        libc::ENOMEM => "ENOMEM",
        _ => "_OTHER",
    }
}
