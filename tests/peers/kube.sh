#!/usr/bin/env bash
# Builds the real Kubernetes API server from Debian's source package into $ICECORE_CACHE/bin, and
# installs etcd beside it. It is 1.20: old, and the newest that Debian packages whole.
set -euo pipefail
bin="$ICECORE_CACHE/bin"
[ -x "$bin/kube-apiserver" ] && [ -x "$bin/etcd" ] && exit 0
echo "== Kubernetes API server (about ten minutes)"

work="$ICECORE_CACHE/build/kube"
rm -rf "$work" && mkdir -p "$work"/apt/{lists/partial,cache/archives/partial} "$work/root" && cd "$work"

mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
mirror=${mirror:-$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /^http/) {print $i; exit}}' /etc/apt/sources.list)}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
for kind in deb deb-src; do echo "$kind [signed-by=$keyring] $mirror bookworm main"; done > apt/src.list
apt=(-o Dir::Etc::sourcelist="$work/apt/src.list" -o Dir::Etc::sourceparts=/dev/null
  -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=root)
apt-get "${apt[@]}" -qq update
# The Go toolchain and etcd are unpacked, not installed: the machine stays as it is.
apt-get "${apt[@]}" -qq download golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev etcd-server
for deb in *.deb; do dpkg -x "$deb" root; done
cp root/usr/bin/etcd "$bin/etcd"
# Debian splits Go over two trees joined by links that point at the real root.
go="$work/root/usr/lib/go-1.19"
for part in api doc lib misc src test; do
  [ -L "$go/$part" ] && rm "$go/$part" && ln -s "$work/root/usr/share/go-1.19/$part" "$go/$part"
done
command -v rsync > /dev/null && command -v jq > /dev/null && command -v make > /dev/null ||
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rsync jq make > /dev/null

apt-get "${apt[@]}" -qq source --download-only kubernetes
tar xzf kubernetes_*.orig.tar.gz && cd kubernetes-*/
# The vendored reflect2 crashes with Go from 1.18 on; Debian's own package is mended.
reflect=vendor/github.com/modern-go/reflect2
rm "$reflect"/*.go
cp "$work"/root/usr/share/gocode/src/github.com/modern-go/reflect2/*.go "$reflect"/ && rm -f "$reflect"/*_test.go
mkdir -p .go/src/k8s.io && ln -s ../../.. .go/src/k8s.io/kubernetes
GOROOT="$go" PATH="$go/bin:$PATH" GOPATH="$PWD/.go" GO111MODULE=auto GOPROXY=off CGO_ENABLED=0 \
  GOFLAGS=-p=2 GOCACHE="$work/gocache" make WHAT=cmd/kube-apiserver > "$work/make.log" 2>&1 ||
  { tail -n 20 "$work/make.log"; exit 1; }
cp _output/bin/kube-apiserver "$bin/"
rm -rf "$work"
