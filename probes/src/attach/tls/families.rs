//! The libraries that are known, told by the functions that they have, whoever names those.
//!
//! Invariant: a library counts when it has every function by which bytes enter and leave it; what
//! it has beside those is hooked as well.

use std::path::{Path, PathBuf};

use icecore_probe_events::shape;

/// A family of libraries that are called in the same way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) name: &'static str,
    /// Without these it is none of them.
    pub(super) required: [&'static str; 2],
    /// All that are hooked, and how each is called.
    pub(super) functions: &'static [(&'static str, u64)],
}

/// Those that are told by their symbols.
pub(super) const FAMILIES: [Family; 3] = [
    // OpenSSL from 1.0 on, LibreSSL and BoringSSL.
    Family {
        name: "openssl",
        required: ["SSL_read", "SSL_write"],
        functions: &[
            ("SSL_read", shape::READ),
            ("SSL_write", shape::WRITE),
            ("SSL_read_ex", shape::READ | shape::COUNT_APART),
            ("SSL_write_ex", shape::WRITE | shape::COUNT_APART),
            ("SSL_do_handshake", shape::TOUCH),
            ("SSL_free", shape::FORGET),
        ],
    },
    Family {
        name: "gnutls",
        required: ["gnutls_record_recv", "gnutls_record_send"],
        functions: &[
            ("gnutls_record_recv", shape::READ),
            ("gnutls_record_send", shape::WRITE),
            ("gnutls_record_recv_seq", shape::READ),
            ("gnutls_record_send2", shape::WRITE),
            ("gnutls_handshake", shape::TOUCH),
            ("gnutls_deinit", shape::FORGET),
        ],
    },
    // NSS, by the functions with which its callers read and write, whatever is behind.
    Family {
        name: "nss",
        required: ["PR_Read", "PR_Write"],
        functions: &[
            ("PR_Read", shape::READ | shape::TLS_OR_NOT),
            ("PR_Recv", shape::READ | shape::TLS_OR_NOT | shape::MAY_PEEK),
            ("PR_Write", shape::WRITE | shape::TLS_OR_NOT),
            ("PR_Send", shape::WRITE | shape::TLS_OR_NOT),
            ("PR_Close", shape::FORGET),
        ],
    },
];

/// Go's own, which is a part of each program written in Go.
pub(super) static GO: Family = Family {
    name: "go",
    required: ["crypto/tls.(*Conn).Read", "crypto/tls.(*Conn).Write"],
    functions: &[
        ("crypto/tls.(*Conn).Read", shape::READ),
        ("crypto/tls.(*Conn).Write", shape::WRITE),
        ("crypto/tls.(*Conn).clientHandshake", shape::TOUCH),
        ("crypto/tls.(*Conn).serverHandshake", shape::TOUCH),
        ("net/http.(*persistConn).roundTrip", shape::TOUCH | shape::ASKS),
    ],
};

/// BoringSSL, compiled in and told by its code.
pub(super) static BORING: Family = Family {
    name: "boringssl",
    required: ["SSL_read", "SSL_write"],
    functions: &[
        ("SSL_read", shape::READ | shape::BY_RANDOM),
        ("SSL_write", shape::WRITE | shape::BY_RANDOM),
    ],
};

/// rustls, compiled in and told by symbols that are those of Rust.
pub(super) static RUSTLS: Family =
    Family { name: "rustls", required: ["take_received_plaintext", "encrypt"], functions: &[] };

/// How their files begin where a system has installed them.
const FILES: [&str; 3] = ["libssl.so", "libgnutls.so", "libnspr4.so"];
/// Where systems install libraries.
const FOLDERS: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib64",
    "/usr/local/lib",
];

/// The libraries that are installed in the system's own folders, each once.
pub(super) fn system_libraries() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        FOLDERS.iter().flat_map(|folder| libraries(Path::new(folder))).collect();
    found.sort();
    found.dedup();
    found
}

fn libraries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let named = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        FILES.iter().any(|file| name.starts_with(file))
    });
    named.filter_map(|entry| entry.path().canonicalize().ok()).collect()
}
