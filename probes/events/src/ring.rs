//! Where requests of `io_uring` say what they ask for.
//!
//! Invariant: as all that crosses: no padding, and any bit pattern is valid.

/// Where the kernel programs find what they read, in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingSettings {
    /// `io_kiocb.opcode`
    pub req_opcode: u32,
    /// `io_kiocb.flags`
    pub req_flags: u32,
    /// `io_kiocb.cqe.fd`
    pub req_fd: u32,
    /// `io_kiocb.cmd`, in which the following are
    pub req_cmd: u32,
    /// `io_sr_msg.buf`
    pub sr_buf: u32,
    /// `io_sr_msg.len`
    pub sr_len: u32,
    /// `io_sr_msg.flags`
    pub sr_flags: u32,
    /// `io_rw.addr`
    pub rw_addr: u32,
    /// `io_rw.len`
    pub rw_len: u32,
}

impl RingSettings {
    /// As the kernel programs will read them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: `RingSettings` is made of numbers without padding between them.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

const _: () = assert!(size_of::<RingSettings>() == 9 * 4, "no padding");
