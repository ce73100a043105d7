"""Records a conversation for the parsers' tests: `record.py SERVER_PORT[:PORT] OUT SCRIPT [ARGUMENT...]`.

Listens on a port of its own (or on PORT), runs SCRIPT with that port (and the arguments) as if it
were the server's, and writes what passes as lines of hexadecimal digits, those of the client behind
`>`. Where the script makes several connections, the one on which most was said is kept.
"""
import select
import socket
import subprocess
import sys
import threading

(server_port, _, own_port), out, *command = sys.argv[1].partition(":"), *sys.argv[2:]
listener = socket.create_server(("127.0.0.1", int(own_port or 0)))
script = subprocess.Popen([sys.executable, command[0], str(listener.getsockname()[1]), *command[1:]])
listener.settimeout(0.2)
conversations = []


def pump(client, lines):
    server = socket.create_connection(("127.0.0.1", int(server_port)))
    while True:
        ready, _, _ = select.select([client, server], [], [])
        for source, sink, sign in ((client, server, ">"), (server, client, "<")):
            if source in ready:
                data = source.recv(65_536)
                if not data:
                    sink.close()
                    return
                lines.append(f"{sign} {data.hex()}\n")
                sink.sendall(data)


while script.poll() is None:
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        continue
    conversations.append([])
    threading.Thread(target=pump, args=(connection, conversations[-1]), daemon=True).start()
with open(out, "w") as lines:
    lines.writelines(max(conversations, key=lambda lines: sum(map(len, lines))))
