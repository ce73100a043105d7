#!/usr/bin/env bash
# Installs ClickHouse (chdb) and Spark (pyspark, with a Java runtime) into the Python of the tests.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
venv="$ICECORE_CACHE/venv"
want="$here/readers.txt" have="$venv/installed-readers.txt"
cmp -s "$want" "$have" && exit 0
echo "== ClickHouse and Spark as readers (a gigabyte)"
if ! command -v java > /dev/null; then
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless > /dev/null
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$want"
cp "$want" "$have"
