"""Makes requests in ways that tracers stumble over, to a Python server (first argument), to an nginx that
hands on to it (second), to edges_server.py (third), and in two network namespaces at one port (fourth).

Prints one of {"rows": as web_client.py does, "torn": [number, bytes that came]…, "tunnels": how many,
"inside": number…, "mapped": number…} in a JSON list. One connection is made before "ready" is printed; the rest waits for a line on standard input.
"""
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import ThreadingHTTPServer

python, nginx, torn_port, twin = map(int, sys.argv[1:5])
rows, torn, tunnels, inside, mapped = [], [], 0, [], []
numbers = iter(range(1_000_000))
CLONE_NEWNET = 0x4000_0000


def connect(port, address="127.0.0.1"):
    return socket.create_connection((address, port))


def question(path, number, more=""):
    return f"GET {path}?number={number} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


def answer(receive):
    """Reads a whole answer; its status, and the length of its body."""
    got = b""

    def more():
        data = receive()
        assert data, f"nothing behind {got!r}"
        return data
    while b"\r\n\r\n" not in got:
        got += more()
    head, _, body = got.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < length:
        body += more()
    return int(head.split(b" ")[1]), len(body)


def note(number, port, path, answered, start, method="GET", sent=0):
    status, got = answered
    rows.append([number, port, method, path, status, sent, got, start, time.time_ns()])


def ask(send, receive, port=python, path="/bytes/77"):
    number, start = next(numbers), time.time_ns()
    send(question(path, number))
    note(number, port, path, answer(receive), start)
    return number


def through(connection):
    return connection.sendall, lambda: connection.recv(65_536)


def in_a_fork(work):
    """What a process does that was forked here; it has ended when this returns."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def forked():
    """A child sends, its parent receives; then the other way."""
    connection = connect(python)
    send, receive = through(connection)
    ask(lambda data: in_a_fork(lambda: send(data)), receive)
    reader, writer = os.pipe()

    def received():
        in_a_fork(lambda: os.write(writer, receive()))
        return os.read(reader, 65_536)
    ask(send, received)
    ask(send, receive)


def passed_on():
    """A descriptor goes to another process, which talks through its own number of it."""
    here, there = socket.socketpair()
    connection = connect(python)
    send, receive = through(connection)
    ask(send, receive)

    def talk():
        _, descriptors, _, _ = socket.recv_fds(there, 1, 1)
        theirs = socket.socket(fileno=descriptors[0])
        theirs.sendall(there.recv(65_536))
        parts = []

        def receive():
            parts.append(theirs.recv(65_536))
            return parts[-1]
        answer(receive)
        there.sendall(b"".join(parts))
    socket.send_fds(here, [b"x"], [connection.fileno()])

    def send_there(data):
        here.sendall(data)
        in_a_fork(talk)
    ask(send_there, lambda: here.recv(65_536))
    ask(send, receive)


def duplicated():
    connection = connect(python)
    other = os.dup(connection.fileno())
    ask(connection.sendall, lambda: os.read(other, 65_536))
    connection.close()
    ask(lambda data: os.write(other, data), lambda: os.read(other, 65_536))
    os.close(other)


def another_program():
    """A program that was started with the descriptor sends, and ends."""
    connection = connect(python)
    descriptor = connection.fileno()

    def send(data):
        subprocess.run(["sh", "-c", f"cat >&{descriptor}"], input=data, pass_fds=[descriptor], check=True)
    ask(send, lambda: connection.recv(65_536))


def by_turns():
    """Every call by another thread."""
    connection = connect(python)

    def elsewhere(work):
        result = []
        thread = threading.Thread(target=lambda: result.append(work()))
        thread.start()
        thread.join()
        return result[0]
    for _ in range(5):
        ask(lambda data: elsewhere(lambda: connection.sendall(data)), lambda: elsewhere(lambda: connection.recv(65_536)))


def empty_parts():
    """Calls that move nothing, and stretches of no length, between those that do."""
    connection = connect(python)

    def send(data):
        os.write(connection.fileno(), b"")
        connection.sendmsg([b"", b"", data[:3], b"", data[3:20]])
        connection.send(b"")
        connection.sendmsg([b""])
        connection.sendmsg([data[20:], b""])

    def receive():
        os.read(connection.fileno(), 0)
        parts = [bytearray(0), bytearray(5), bytearray(0), bytearray(65_536)]
        got = connection.recvmsg_into(parts)[0]
        return b"".join(parts)[:got]
    for _ in range(3):
        ask(send, receive)


def looked_ahead():
    """The answer is looked at before it is taken, and taken in two."""
    connection = connect(python)

    def receive():
        seen = connection.recv(65_536, socket.MSG_PEEK)
        first = connection.recv(len(seen) // 2)
        return first + connection.recv(len(seen) - len(first), socket.MSG_WAITALL)
    for _ in range(3):
        ask(connection.sendall, receive)


def permitted():
    """The body waits until the server has said that it wants it."""
    connection = connect(python)
    number, start, body = next(numbers), time.time_ns(), b"w" * 30_000
    head = f"POST /take?number={number} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode())
    assert connection.recv(65_536).startswith(b"HTTP/1.1 100")
    connection.sendall(body)
    note(number, python, "/take", answer(through(connection)[1]), start, "POST", len(body))


def proxied():
    """Each is there twice over, as nginx hands it on with a number of its own."""
    connection = connect(nginx)
    send, receive = through(connection)
    for _ in range(5):
        number = ask(send, receive, nginx, "/proxy")
        _, _, _, _, status, _, got, start, _ = rows[-1]
        note(int(f"1000{number}"), python, "/bytes/4321", (status, got), start)


def tunnelled():
    global tunnels
    connection = connect(torn_port)
    send, receive = through(connection)
    send(f"CONNECT 127.0.0.1:{python} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert receive().startswith(b"HTTP/1.1 200")
    tunnels += 1
    for _ in range(3):
        inside.append(ask(send, receive))


def cut_off(said, sent):
    connection = connect(torn_port)
    number = next(numbers)
    connection.sendall(question(f"/torn/{said}/{sent}", number))
    got = b""
    while len(got.partition(b"\r\n\r\n")[2]) < sent:
        got += connection.recv(65_536)
    connection.sendall(b"x")
    try:
        assert not connection.recv(65_536)
    except ConnectionResetError:
        pass
    torn.append([number, sent])


def mapped_address():
    """To an address of IPv4 through a socket of IPv6."""
    connection = socket.socket(socket.AF_INET6)
    connection.connect(("::ffff:127.0.0.1", python))
    mapped.append(ask(*through(connection)))


def namespace(orders, answers, first):
    """A server and a client at ports that others have as well, where nobody sees them."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return os.write(answers, b"[]\n")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    class Server(ThreadingHTTPServer):
        def server_bind(self):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_name, self.server_port = self.server_address
    from http.server import BaseHTTPRequestHandler

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            body = b"s" * int(self.path.split("?")[0].rsplit("/")[-1])
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
    server = Server(("127.0.0.1", twin), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection = socket.create_connection(("127.0.0.1", twin), source_address=("127.0.0.1", 40_404))
    rows.clear()
    for order in iter(lambda: os.read(orders, 1), b"."):
        number, start, path = first + len(rows), time.time_ns(), f"/bytes/{first + len(rows)}"
        connection.sendall(question(path, number))
        note(number, twin, path, answer(lambda: connection.recv(65_536)), start)
        os.write(answers, b"done\n")
    os.write(answers, json.dumps(rows).encode() + b"\n")


def twins():
    """Two connections with the same addresses and ports, in turn and at once."""
    ends = []
    for first in (700, 800):
        (orders, order), (reader, answers) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            namespace(orders, answers, first)
            os._exit(0)
        ends.append((order, os.fdopen(reader, "r"), pid))
    for _ in range(4):
        for order, lines, _ in ends:
            os.write(order, b"x")
            if lines.readline() == "[]\n":
                print("no network namespaces here", file=sys.stderr)
                return
    for order, lines, pid in ends:
        os.write(order, b".")
        rows.extend(json.loads(lines.readline()))
        os.waitpid(pid, 0)


older = connect(python)
print("ready", flush=True)
sys.stdin.readline()
ask(*through(older))
forked()
passed_on()
duplicated()
another_program()
by_turns()
empty_parts()
looked_ahead()
permitted()
proxied()
tunnelled()
cut_off(5_000, 1_000)
cut_off(300_000, 200_000)
mapped_address()
twins()
print(json.dumps([{"rows": rows, "torn": torn, "tunnels": tunnels, "inside": inside, "mapped": mapped}]))
