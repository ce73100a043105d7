#!/bin/sh
# mariadb.sh FOLDER PORT: a MariaDB of its own in FOLDER, at PORT of loopback, with a database `shop`
# and a user `tester` (password `pa55word`). Becomes the server.
set -eu
folder=$1 port=$2
mkdir -p "$folder/data"
mariadb-install-db --no-defaults --datadir="$folder/data" --auth-root-authentication-method=normal \
  --skip-test-db --user="$(id -un)" > "$folder/install.log" 2>&1
cat > "$folder/init.sql" <<SQL
CREATE DATABASE shop;
CREATE USER tester@'%' IDENTIFIED BY 'pa55word';
GRANT ALL ON *.* TO tester@'%';
SQL
exec mariadbd --no-defaults --datadir="$folder/data" --port="$port" --bind-address=127.0.0.1 \
  --socket="$folder/socket" --pid-file="$folder/pid" --init-file="$folder/init.sql" --user="$(id -un)" \
  --local-infile=1 --max-allowed-packet=64M --skip-name-resolve --innodb-flush-log-at-trx-commit=0 \
  > "$folder/server.log" 2>&1
