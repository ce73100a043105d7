//! The programs that are put on functions of TLS libraries: none does anything once the agent is about to stop.

use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use crate::{go, rustls, tls};

#[uprobe]
pub fn tls_enter(ctx: ProbeContext) -> u32 {
    if !tls::off() {
        tls::enter(&ctx);
    }
    0
}

#[uretprobe]
pub fn tls_leave(ctx: RetProbeContext) -> u32 {
    if !tls::off() {
        tls::leave(&ctx);
    }
    0
}

#[uprobe]
pub fn go_enter(ctx: ProbeContext) -> u32 {
    if !tls::off() {
        go::enter(&ctx);
    }
    0
}

/// On each instruction of a function that returns: where the caller's stack was moved, a return that is
/// caught by its address on the stack is lost, and the program with it.
#[uprobe]
pub fn go_leave(ctx: ProbeContext) -> u32 {
    if !tls::off() {
        go::leave(&ctx);
    }
    0
}

#[uprobe]
pub fn rustls_seal(ctx: ProbeContext) -> u32 {
    if !tls::off() {
        rustls::seal(&ctx);
    }
    0
}

/// On each instruction of a function that returns, here and below: a panic that passes through a function whose
/// return is caught by its address on the stack would end the program.
#[uprobe]
pub fn rustls_sealed(_ctx: ProbeContext) -> u32 {
    if !tls::off() {
        rustls::sealed();
    }
    0
}

#[uprobe]
pub fn rustls_sent(_ctx: ProbeContext) -> u32 {
    if !tls::off() {
        rustls::sent();
    }
    0
}

#[uprobe]
pub fn rustls_opened(ctx: ProbeContext) -> u32 {
    if !tls::off() {
        rustls::opened(&ctx);
    }
    0
}
