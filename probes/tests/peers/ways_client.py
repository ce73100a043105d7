"""Makes requests by every system call that moves bytes, and in further ways that tracers stumble over.

`ways_client.py PYTHON_PORT SPLICE_PORT SHARED_PORT FAST_PORT`: a server in Python; where a proxy that
splices, two servers that share a port, and a server of TCP Fast Open will listen. Prints the records of
`web_client.py`; what is missing here goes to standard error. The rest waits for a line on standard input.
"""
import ctypes
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time

python, splicing, shared, fast = map(int, sys.argv[1:5])
rows = []
numbers = iter(range(1, 1_000))
HERE = os.path.dirname(os.path.abspath(__file__))
CLONE_NEWNET = 0x4000_0000
SO_ZEROCOPY, MSG_ZEROCOPY, MSG_FASTOPEN, TCP_FASTOPEN = 60, 0x400_0000, 0x2000_0000, 23
# Both sides, without a cookie, wherever anybody listens.
FASTOPEN_ALL = 0x607


def head_of(receive):
    """A head and what came behind it."""
    got = b""
    while b"\r\n\r\n" not in got:
        data = receive()
        if not data:
            return b"", b""
        got += data
    head, _, behind = got.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", behind


def length(head):
    lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    return int(lines[0].split(b":")[1]) if lines else 0


def serve(connection):
    """Answers as web_server.py does, without a library."""
    rest = b""
    while True:
        head, rest = head_of(lambda: rest or connection.recv(65_536)) if b"\r\n\r\n" not in rest else (rest, b"")
        if not head:
            return connection.close()
        left = length(head) - len(rest)
        while left > 0:
            left -= len(connection.recv(left))
        rest = b""
        path = head.split(b" ")[1].split(b"?")[0]
        body = b"b" * int(path.rsplit(b"/")[-1]) if path.startswith(b"/bytes") else str(length(head)).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def serve_all(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def in_a_fork(work):
    """Until this process ends."""
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(1, 9)
        try:
            work()
        finally:
            os._exit(1)
    return pid


def peek(connection):
    """Takes a head out of a connection, and not a byte more."""
    while True:
        seen = connection.recv(65_536, socket.MSG_PEEK)
        head = seen.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        if not seen or b"\r\n\r\n" in seen:
            return connection.recv(len(head), socket.MSG_WAITALL) if seen else b""


def pass_on(source, to, left, pipe):
    """A body goes through a pipe, and never through the memory of this process."""
    while left:
        came = os.splice(source.fileno(), pipe[1], min(left, 60_000))
        left -= came
        while came:
            came -= os.splice(pipe[0], to.fileno(), came)


def proxy(connection):
    behind, pipe = socket.create_connection(("127.0.0.1", python)), os.pipe()
    while head := peek(connection):
        behind.sendall(head.replace(b"number=", b"number=2000"))
        pass_on(connection, behind, length(head), pipe)
        head = peek(behind)
        connection.sendall(head)
        pass_on(behind, connection, length(head), pipe)


def splice_all(listener):
    while True:
        threading.Thread(target=proxy, args=(listener.accept()[0],), daemon=True).start()


def listen(port, **more):
    return socket.create_server(("127.0.0.1", port), **more)


def connect(port):
    return socket.create_connection(("127.0.0.1", port))


def note(number, port, method, path, sent, got, start):
    rows.append([number, port, method, path, 200, sent, got, start, time.time_ns()])


def question(number, path, size):
    method = "POST" if size else "GET"
    head = f"{method} {path}?number={number} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    return method, head.encode(), b"w" * size


def ask(connection, port=python, path="/bytes/77", size=0, send=None, receive=None):
    """`send(head, body)`; `receive(n)` takes some bytes of a body."""
    number, start = next(numbers), time.time_ns()
    method, head, body = question(number, path, size)
    (send or (lambda head, body: connection.sendall(head + body)))(head, body)
    got = left = length(peek(connection))
    while left:
        left -= len(receive(left) if receive else connection.recv(left))
    note(number, port, method, path, size, got, start)
    return number


def by_every_call(bits):
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "ways")
        flags = ["-O1", "-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-no-pie", "-fno-stack-protector"]
        made = subprocess.run(["cc", f"-m{bits}", *flags, "-o", program, os.path.join(HERE, "ways.c")], capture_output=True)
        if made.returncode != 0:
            return print(f"skipped: no {bits}-bit program can be made here: {made.stderr}", file=sys.stderr)
        try:
            lines = subprocess.run([program, str(python), str(bits * 1_000)], capture_output=True, text=True)
        except OSError as error:
            return print(f"skipped: no {bits}-bit program can run here: {error}", file=sys.stderr)
        assert lines.returncode == 0, lines
        rows.extend(json.loads(line) for line in lines.stdout.splitlines())


def spliced():
    connection = connect(splicing)
    for path, size in [("/bytes/77", 0), ("/bytes/100000", 0), ("/take", 90_000), ("/bytes/500000", 0), ("/take", 1), ("/bytes/1", 0)]:
        number = ask(connection, splicing, path, size)
        _, _, method, _, _, sent, got, start, _ = rows[-1]
        note(int(f"2000{number}"), python, method, path, sent, got, start)


def without_copies():
    connection = connect(python)
    connection.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)

    def send(head, body):
        connection.sendall(head)
        while body:
            body = body[connection.send(body, MSG_ZEROCOPY):]
        # Errors are always waited for, and this one says that the memory is ours again.
        told = select.poll()
        told.register(connection, 0)
        assert told.poll(5_000)
        connection.recvmsg(0, 512, socket.MSG_ERRQUEUE)
    ask(connection, path="/take", size=150_000, send=send)
    ask(connection)


def thrown_away():
    connection = connect(python)
    for flag in (socket.MSG_TRUNC, socket.MSG_WAITALL, 0):
        ask(connection, path="/bytes/200000", receive=lambda left: connection.recv(left, flag))


def urgent():
    connection = connect(python)
    ask(connection)
    connection.send(b"!", socket.MSG_OOB)
    ask(connection)
    connection.send(b"!", socket.MSG_OOB)
    ask(connection, path="/take", size=3_000)


def in_parts():
    """A socket that does not wait, with little room: calls fail, and take a part of what they are given."""
    connection = connect(python)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)

    refused = 0

    def send(head, body):
        nonlocal refused
        connection.setblocking(False)
        left = head + body
        while left:
            try:
                left = left[connection.send(left):]
            except BlockingIOError:
                refused += 1
                select.select([], [connection], [])
        connection.setblocking(True)
    # A server that happens to take everything at once leaves room all the time: it is given more.
    for number in range(20):
        if number < 2 or not refused:
            ask(connection, path="/take", size=800_000, send=send)
    assert refused


def half_closed():
    connection = connect(python)

    def send(head, body):
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
    ask(connection, path="/bytes/300000", send=send)
    assert connection.recv(1) == b""


def shared_port():
    for _ in range(12):
        connection = connect(shared)
        ask(connection, shared)
        ask(connection, shared, "/take", 10)


def beside_tcp():
    """The same words on sockets that are none of TCP. Nobody is to tell of these."""
    name = f"\0icecore-{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    listener.listen()
    threading.Thread(target=serve_all, args=(listener,), daemon=True).start()
    ours, theirs = socket.socketpair()
    threading.Thread(target=serve, args=(theirs,), daemon=True).start()
    named = socket.socket(socket.AF_UNIX)
    named.connect(name)
    for connection in (named, ours):
        connection.sendall(question(0, "/bytes/9?beside", 0)[1])
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")


def netns(*command):
    return subprocess.run(command, check=True, capture_output=True)


def opened_fast(answers):
    """In a network of its own. The second time the server answers what came with the request for the
    connection before that is established."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return os.write(answers, b"no network namespace\n")
    netns("ip", "link", "set", "lo", "up")
    with open("/proc/sys/net/ipv4/tcp_fastopen", "w") as setting:
        setting.write(str(FASTOPEN_ALL))
    listener = listen(fast)
    listener.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 5)
    threading.Thread(target=serve_all, args=(listener,), daemon=True).start()
    rows.clear()
    for first, early in ((500, False), (600, True)):
        if early:
            try:
                netns("nft", "add table ip t; add chain ip t c { type filter hook output priority 0; };"
                      f"add rule ip t c tcp dport {fast} tcp flags & (fin | syn | rst | psh | ack) == ack drop")
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"skipped: no answer before a connection is established: {error}", file=sys.stderr)
        number, start, connection = first, time.time_ns(), socket.socket()
        connection.sendto(question(number, "/bytes/300", 0)[1], MSG_FASTOPEN, ("127.0.0.1", fast))
        head, body = head_of(lambda: connection.recv(65_536))
        note(number, fast, "GET", "/bytes/300", 0, len(body), start)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 200)[5] & 0x20, "data went with the SYN"
        for more in range(2):
            number, start = first + 1 + more, time.time_ns()
            connection.sendall(b"".join(question(number, "/take", 20)[1:]))
            head, body = head_of(lambda: connection.recv(65_536))
            note(number, fast, "POST", "/take", 20, len(body), start)
        connection.close()
    os.write(answers, json.dumps(rows).encode() + b"\n")


def fast_open():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            opened_fast(writer)
            # What was sent last is confirmed while this process is there.
            time.sleep(0.3)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    said = os.fdopen(reader).readline()
    assert os.waitpid(pid, 0)[1] == 0, "TCP Fast Open"
    if said.startswith("["):
        return rows.extend(json.loads(said))
    print("skipped:", said, file=sys.stderr)


listener = listen(splicing)
in_a_fork(lambda: splice_all(listener))
listener.close()
for listener in [listen(shared, reuse_port=True) for _ in range(2)]:
    in_a_fork(lambda: serve_all(listener))
    listener.close()
print("ready", flush=True)
sys.stdin.readline()
by_every_call(64)
by_every_call(32)
spliced()
without_copies()
thrown_away()
urgent()
in_parts()
half_closed()
shared_port()
beside_tcp()
fast_open()
print(json.dumps(rows))
