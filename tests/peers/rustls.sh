#!/usr/bin/env bash
# Builds the program with rustls that the probes are tried on into $ICECORE_CACHE/bin, as a program is released: optimised, and
# with the symbols that cargo leaves there. The tests have it without optimisation by themselves.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
source="$here/../../probes/tests/peers/tls_rustls.rs"
bin="$ICECORE_CACHE/bin/tls-rustls"
work="$ICECORE_CACHE/build/rustls"

[ "$bin" -nt "$source" ] && exit
echo "== tls-rustls (some two minutes)"
rm -rf "$work" && mkdir -p "$work/src" "$ICECORE_CACHE/bin"
# The releases that the workspace has.
cp "$here/../../Cargo.lock" "$work/Cargo.lock"
cat > "$work/Cargo.toml" << EOF
[package]
name = "tls-rustls"
version = "0.0.0"
edition = "2024"

[workspace]

[dependencies]
http-body-util = "0.1"
hyper = { version = "1", features = ["client", "server", "http1", "http2"] }
hyper-util = { version = "0.1", features = ["server-auto", "tokio"] }
rustls = { version = "0.23", default-features = false, features = ["ring", "std", "tls12"] }
serde_json = "1"
tokio = { version = "1", features = ["rt-multi-thread", "net", "sync", "macros"] }
tokio-rustls = { version = "0.26", default-features = false, features = ["ring", "tls12"] }
EOF
cat > "$work/src/main.rs" << EOF
#[path = "$(realpath "$source")"]
mod program;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    program::run(&arguments, &mut std::io::stdout());
}
EOF
(cd "$work" && CARGO_TARGET_DIR="$work/target" cargo build --quiet --release)
mv "$work/target/release/tls-rustls" "$bin"
rm -rf "$work"
