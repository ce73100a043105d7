//! Hooks programs to the kernel, rung by rung.

mod datagrams;
mod drops;
mod off;
mod profile;
pub(crate) mod tls;
mod tracepoints;
mod walk;

use aya::{Btf, Ebpf};

use crate::error::Error;
use crate::kernel::Rung;
pub(crate) use datagrams::{Chat, Datagrams, NOTHING, Talks, attach_senders, cgroups_seen};
pub(crate) use drops::{Counts, Drops, Fallen, attach_drops};
pub use off::HooksOff;
pub(crate) use off::{Attached, Switch};
pub(crate) use profile::attach_profile;
use tracepoints::{
    attach_function, attach_raw, attach_typed, load_function, load_probes, load_raw, load_typed,
};
pub(crate) use walk::{Walk, Walked, load_walk};

/// The state of TCP sockets, on every rung.
const LIFE: [&str; 2] = ["inet_sock_set_state", "tcp_destroy_sock"];
/// What is sent and received, and what is taken out of a socket without being received.
const SOCKET_CALLS: [&str; 3] = ["sock_send_length", "sock_recv_length", TAKEN];
const TAKEN: &str = "tcp_rcv_space_adjust";
/// Functions of TCP and UDP that every kernel has. Of what they take our programs read the socket, which comes
/// first, and of those that receive the flags, which come fourth.
pub(crate) const SENDERS: [&str; 2] = ["tcp_sendmsg", "udp_sendmsg"];
pub(crate) const RECEIVERS: [&str; 2] = ["tcp_recvmsg", "udp_recvmsg"];
/// What sends pages before Linux 6.5, and what a kernel without IPv6, or with it as a module, lacks.
const MORE_FUNCTIONS: [&str; 3] = ["tcp_sendpage", "udpv6_sendmsg", "udpv6_recvmsg"];
/// Programs that begin, and processes that end.
const PROCESSES: [&str; 2] = ["sched_process_exec", "sched_process_exit"];
/// Requests of `io_uring` that begin, and that end.
const RINGS: [&str; 2] = ["io_uring_submit_req", "io_uring_complete"];
const SYSTEM_CALLS: &str = "sys_exit";

/// Loads the programs of a rung, then attaches them: connections first, so that none is seen to
/// pass bytes before it was seen to begin.
pub(crate) fn attach(programs: &mut Ebpf, rung: Rung, types: &Btf) -> Result<(), Error> {
    let mut typed = LIFE.to_vec();
    let mut functions = Vec::new();
    match rung {
        Rung::BtfTracepoints => typed.extend(SOCKET_CALLS),
        Rung::Functions => {
            typed.push(TAKEN);
            functions = load_functions(programs, types)?;
        }
        Rung::SyscallTracepoints => load_raw(programs, SYSTEM_CALLS)?,
    }
    for name in &typed {
        load_typed(programs, name, types)?;
    }
    for name in &typed {
        attach_typed(programs, name)?;
    }
    match rung {
        Rung::BtfTracepoints => Ok(()),
        Rung::Functions => functions.iter().try_for_each(|name| attach_function(programs, name)),
        Rung::SyscallTracepoints => attach_raw(programs, SYSTEM_CALLS),
    }
}

/// The functions for which programs are loaded.
fn load_functions(programs: &mut Ebpf, types: &Btf) -> Result<Vec<&'static str>, Error> {
    let mut loaded = Vec::new();
    for name in SENDERS.into_iter().chain(RECEIVERS).chain(MORE_FUNCTIONS) {
        if load_function(programs, name, types)? {
            loaded.push(name);
        }
    }
    Ok(loaded)
}

/// Has requests of `io_uring` told, as they are taken up and as they are done.
pub(crate) fn attach_rings(programs: &mut Ebpf, types: &Btf) -> Result<(), Error> {
    for name in RINGS {
        load_typed(programs, name, types)?;
    }
    // Ends first, so that none is missed of what was seen to begin.
    RINGS.into_iter().rev().try_for_each(|name| attach_typed(programs, name))
}

/// Has starts and ends of processes told from here on.
pub(crate) fn attach_processes(programs: &mut Ebpf, types: &Btf) -> Result<(), Error> {
    for name in PROCESSES {
        load_typed(programs, name, types)?;
    }
    PROCESSES.into_iter().try_for_each(|name| attach_typed(programs, name))
}

/// Loads the programs that are put on TLS libraries, one by one, later on. The kernel looks through them for 0.4 s in all, and
/// through several at a time: so each has a thread.
pub(crate) fn load_tls(programs: &mut Ebpf) -> Result<(), Error> {
    load_probes(programs, &tls::programs().collect::<Vec<_>>())
}
