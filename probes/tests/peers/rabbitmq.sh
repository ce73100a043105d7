#!/bin/sh
# A RabbitMQ of its own in the folder $1, listening on the port $2; its port mapper and its distribution
# on the ports $3 and $4. All of it ends when this script is ended.
set -eu
folder=$1
mkdir -p "$folder/home" "$folder/log" "$folder/mnesia"
export HOME="$folder/home" ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$3"
export RABBITMQ_NODENAME="icecore@localhost" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$2" RABBITMQ_DIST_PORT="$4"
export RABBITMQ_MNESIA_BASE="$folder/mnesia" RABBITMQ_LOG_BASE="$folder/log" RABBITMQ_CONFIG_FILE="$folder/rabbit"
export RABBITMQ_ENABLED_PLUGINS_FILE="$folder/plugins" RABBITMQ_PID_FILE="$folder/pid"
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
echo '[].' > "$folder/plugins"
: > "$folder/rabbit.conf"
# The mapper would be started by itself, and stay; who waits for it finds it listening.
setpriv --pdeathsig KILL epmd -address 127.0.0.1 -port "$3" > /dev/null 2>&1 &
# As under systemd: the server takes this script's place, and ends when it is ended.
export NOTIFY_SOCKET="$folder/nobody"
exec /usr/lib/rabbitmq/bin/rabbitmq-server
