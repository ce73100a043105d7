//! Where the kernel programs find the fields that they read, on the kernel that is running.
//!
//! Invariant: a field that is not found is an error with its name, never an offset of zero; the
//! one exception is IPv6, which a kernel may lack.

use icecore_probe_events::{DropSettings, ProfileSettings, RingSettings, Settings};

use super::BTF_PATH;
use super::btf::Types;
use crate::config::CaptureConfig;
use crate::error::Error;
use crate::profile::ProfileConfig;

/// All settings of the kernel programs.
pub(crate) fn settings(btf: &[u8], config: &CaptureConfig) -> Result<Settings, Error> {
    let types = Types::parse(btf)
        .ok_or_else(|| Error::Unsupported { reason: format!("cannot read {BTF_PATH}") })?;
    let offsets = offsets(&types).map_err(|reason| Error::Unsupported { reason })?;
    Ok(Settings {
        own_pid: std::process::id(),
        call_bytes_max: config.call_bytes_max,
        look_bytes_max: config.look_bytes_max,
        handshake_bytes_max: config.tls.handshake_bytes_max,
        tls: u32::from(config.tls.enabled),
        wake_bytes: config.wake_bytes,
        crowded_bytes: config.data_ring_bytes / 2,
        accounts: u32::from(config.accounts),
        datagrams: if config.accounts { config.datagrams_max } else { 0 },
        ..offsets
    })
}

/// The settings of the profiler's program.
pub(crate) fn profile_settings(
    btf: &[u8],
    config: &ProfileConfig,
) -> Result<ProfileSettings, Error> {
    let offset = Types::parse(btf).and_then(|it| it.offset("task_struct", &["self_exec_id"]));
    let reason = || "this kernel has no field task_struct.self_exec_id".to_owned();
    Ok(ProfileSettings {
        stack_bytes_max: config.stack_bytes_max,
        wake_bytes: config.ring_bytes / 4,
        task_self_exec_id: offset.ok_or_else(|| Error::Unsupported { reason: reason() })?,
        reserved: 0,
    })
}

/// The settings of the program that counts what is thrown away; none where this kernel lacks a field.
pub(crate) fn drop_settings(btf: &[u8]) -> Option<DropSettings> {
    let types = Types::parse(btf)?;
    Some(DropSettings {
        skb_head: types.offset("sk_buff", &["head"])?,
        skb_network_header: types.offset("sk_buff", &["network_header"])?,
        skb_protocol: types.offset("sk_buff", &["protocol"])?,
        skb_dev: types.offset("sk_buff", &["dev"])?,
        dev_net: types.offset("net_device", &["nd_net", "net"])?,
        net_inum: types.offset("net", &["ns", "inum"])?,
    })
}

/// The settings of the programs that read requests of `io_uring`; none where this kernel lacks a field, or has no
/// tracepoint that tells of them.
pub(crate) fn ring_settings(btf: &[u8]) -> Option<RingSettings> {
    let types = Types::parse(btf)?;
    let tells = |name| types.has_tracepoint(name);
    if !tells("io_uring_submit_req") || !tells("io_uring_complete") {
        return None;
    }
    Some(RingSettings {
        req_opcode: types.offset("io_kiocb", &["opcode"])?,
        req_flags: types.offset("io_kiocb", &["flags"])?,
        req_fd: types.offset("io_kiocb", &["cqe", "fd"])?,
        req_cmd: types.offset("io_kiocb", &["cmd"])?,
        sr_buf: types.offset("io_sr_msg", &["buf"])?,
        sr_len: types.offset("io_sr_msg", &["len"])?,
        sr_flags: types.offset("io_sr_msg", &["flags"])?,
        rw_addr: types.offset("io_rw", &["addr"])?,
        rw_len: types.offset("io_rw", &["len"])?,
    })
}

/// The offsets alone, or what is missing in words.
pub(super) fn offsets(types: &Types<'_>) -> Result<Settings, String> {
    let at = |structure: &str, path: &[&str]| {
        types
            .offset(structure, path)
            .ok_or_else(|| format!("this kernel has no field {structure}.{}", path.join(".")))
    };
    let common = |field| at("sock", &["__sk_common", field]);
    Ok(Settings {
        sk_family: common("skc_family")?,
        sk_daddr: common("skc_daddr")?,
        sk_rcv_saddr: common("skc_rcv_saddr")?,
        sk_dport: common("skc_dport")?,
        sk_num: common("skc_num")?,
        sk_net: at("sock", &["__sk_common", "skc_net", "net"])?,
        sk_v6_daddr: common("skc_v6_daddr").unwrap_or(0),
        sk_v6_rcv_saddr: common("skc_v6_rcv_saddr").unwrap_or(0),
        sk_cookie: common("skc_cookie")?,
        sk_protocol: at("sock", &["sk_protocol"])?,
        sk_shutdown: at("sock", &["sk_shutdown"])?,
        sk_userlocks_bits: types
            .bits("sock", &["sk_userlocks"])
            .ok_or_else(|| "this kernel has no field sock.sk_userlocks".to_owned())?,
        sk_err: at("sock", &["sk_err"])?,
        net_inum: at("net", &["ns", "inum"])?,
        task_group_leader: at("task_struct", &["group_leader"])?,
        task_start_boottime: at("task_struct", &["start_boottime"])?,
        task_files: at("task_struct", &["files"])?,
        files_fdt: at("files_struct", &["fdt"])?,
        fdt_max_fds: at("fdtable", &["max_fds"])?,
        fdt_fd: at("fdtable", &["fd"])?,
        file_inode: at("file", &["f_inode"])?,
        file_private_data: at("file", &["private_data"])?,
        inode_mode: at("inode", &["i_mode"])?,
        socket_sk: at("socket", &["sk"])?,
        sk_state: common("skc_state")?,
        sk_flags: common("skc_flags")?,
        sk_ack_backlog: at("sock", &["sk_ack_backlog"])?,
        sk_max_ack_backlog: at("sock", &["sk_max_ack_backlog"])?,
        inet_sport: at("inet_sock", &["inet_sport"])?,
        tcp_bytes_sent: at("tcp_sock", &["bytes_sent"])?,
        tcp_bytes_retrans: at("tcp_sock", &["bytes_retrans"])?,
        tcp_bytes_received: at("tcp_sock", &["bytes_received"])?,
        tcp_segs_out: at("tcp_sock", &["segs_out"])?,
        tcp_segs_in: at("tcp_sock", &["segs_in"])?,
        tcp_total_retrans: at("tcp_sock", &["total_retrans"])?,
        tcp_srtt_us: at("tcp_sock", &["srtt_us"])?,
        task_tgid: at("task_struct", &["tgid"])?,
        task_comm: at("task_struct", &["comm"])?,
        task_signal: at("task_struct", &["signal"])?,
        task_flags: at("task_struct", &["flags"])?,
        task_exit_code: at("task_struct", &["exit_code"])?,
        task_real_parent: at("task_struct", &["real_parent"])?,
        signal_live: at("signal_struct", &["live"])?,
        signal_flags: at("signal_struct", &["flags"])?,
        signal_group_exit_code: at("signal_struct", &["group_exit_code"])?,
        signal_oom_mm: at("signal_struct", &["oom_mm"])?,
        binprm_filename: at("linux_binprm", &["filename"])?,
        tcp_snd_una: at("tcp_sock", &["snd_una"])?,
        tcp_bytes_acked: at("tcp_sock", &["bytes_acked"])?,
        tcp_write_seq: at("tcp_sock", &["write_seq"])?,
        tcp_copied_seq: at("tcp_sock", &["copied_seq"])?,
        file_flags: at("file", &["f_flags"])?,
        task_status: if cfg!(target_arch = "x86_64") {
            at("task_struct", &["thread_info", "status"])?
        } else {
            0
        },
        ..Settings::default()
    })
}
