"""Records a conversation for the parsers' tests: `record.py SERVER_PORT OUT SCRIPT [ARGUMENT...]`.

Listens on a port of its own, runs SCRIPT with that port (and the arguments) as if it were the
server's, and writes what passes as lines of hexadecimal digits, those of the client behind `>`.
Every connection that the script makes is written behind the one before it.
"""
import select
import socket
import subprocess
import sys

server_port, out, *command = int(sys.argv[1]), *sys.argv[2:]
listener = socket.create_server(("127.0.0.1", 0))
script = subprocess.Popen([sys.executable, command[0], str(listener.getsockname()[1]), *command[1:]])
listener.settimeout(0.2)


def pump(client, lines):
    server = socket.create_connection(("127.0.0.1", server_port))
    while True:
        ready, _, _ = select.select([client, server], [], [])
        for source, sink, sign in ((client, server, ">"), (server, client, "<")):
            if source in ready:
                data = source.recv(65_536)
                if not data:
                    return
                lines.write(f"{sign} {data.hex()}\n")
                sink.sendall(data)


with open(out, "w") as lines:
    while script.poll() is None:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            pump(connection, lines)
