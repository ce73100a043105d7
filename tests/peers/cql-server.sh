#!/usr/bin/env bash
# Builds a server of Cassandra's protocol around kassandra, a database in memory, into
# $ICECORE_CACHE/bin/cql-server.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
source="$here/cql-server/server.rs"
bin="$ICECORE_CACHE/bin/cql-server"
[ -x "$bin" ] && cmp -s "$source" "$bin.rs" && exit 0
echo "== cql-server (about three minutes)"
work="$ICECORE_CACHE/build/cql-server"
mkdir -p "$work"
cp "$source" "$here/cql-server/Cargo.toml" "$work"
(cd "$work" && cargo build --quiet --release --target-dir target)
install -m 755 "$work/target/release/cql-server" "$bin"
cp "$source" "$bin.rs"
rm -rf "$work"
