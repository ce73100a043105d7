//! Second rung: the functions of TCP and UDP that send and receive, seen as they return.
//!
//! Invariant: what passes counts once, though one of these functions may call another.

use aya_ebpf::helpers::bpf_get_socket_cookie;
use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;
use icecore_probe_events::{Counter, INBOUND, OUTBOUND};

use crate::connect::{AF_INET6, field, protocol_of};
use crate::maps::{count, give_scratch, setting, take_scratch};
use crate::{failed, socket_call};

#[fexit(function = "tcp_sendmsg")]
pub fn tcp_sendmsg(ctx: FExitContext) -> i32 {
    sent(&ctx);
    0
}

/// What `sendfile` and `splice` use before Linux 6.5; later ones send messages of pages.
#[fexit(function = "tcp_sendpage")]
pub fn tcp_sendpage(ctx: FExitContext) -> i32 {
    sent(&ctx);
    0
}

#[fexit(function = "tcp_recvmsg")]
pub fn tcp_recvmsg(ctx: FExitContext) -> i32 {
    received(&ctx);
    0
}

#[fexit(function = "udp_sendmsg")]
pub fn udp_sendmsg(ctx: FExitContext) -> i32 {
    // A socket of IPv6 that sends to an address of IPv4 comes by the other function first.
    if field::<u16>(ctx.arg(0), setting!(sk_family)) != Some(AF_INET6) {
        sent(&ctx);
    }
    0
}

#[fexit(function = "udp_recvmsg")]
pub fn udp_recvmsg(ctx: FExitContext) -> i32 {
    received(&ctx);
    0
}

#[fexit(function = "udpv6_sendmsg")]
pub fn udpv6_sendmsg(ctx: FExitContext) -> i32 {
    sent(&ctx);
    0
}

#[fexit(function = "udpv6_recvmsg")]
pub fn udpv6_recvmsg(ctx: FExitContext) -> i32 {
    received(&ctx);
    0
}

/// The first argument is the socket.
#[inline(always)]
fn sent(ctx: &FExitContext) {
    returned(ctx, 0, OUTBOUND);
}

/// The first argument is the socket, and the fourth one the flags (user space has looked).
#[inline(always)]
fn received(ctx: &FExitContext) {
    returned(ctx, ctx.arg(3), INBOUND);
}

/// Unlike tracepoints, functions may be left to another thread amid a program: on kernels that do that
/// anywhere, which most do not, a call of the same function meanwhile goes by unseen.
#[inline(always)]
fn returned(ctx: &FExitContext, flags: i32, direction: u8) {
    let result: i32 = ctx.ret().unwrap_or(0);
    // A datagram may be empty.
    if result < 0 {
        return failed();
    }
    let Some(scratch) = take_scratch() else {
        if result > 0 {
            count(Counter::Seen);
            count(Counter::Untracked);
        }
        return;
    };
    // SAFETY: the first argument is a socket.
    let id = || unsafe { bpf_get_socket_cookie(ctx.arg(0)) };
    let protocol = || protocol_of(ctx.arg(0));
    socket_call(ctx.arg(0), result, flags, direction, scratch, (id, protocol));
    give_scratch(scratch);
}
