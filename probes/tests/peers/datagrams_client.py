"""Datagrams between sockets of each kind, by each call, one that answers and one that asks, and between `dig` and a DNS
server.

`datagrams_client.py [SHARE [PORT]]`: one in so many of the rounds is made (1); the DNS server's port.

It waits for a line on standard input. Prints what the sockets themselves have counted, as one JSON list: how, its own
process, the server's port, the client's address as the server sees it (null where it does not ask), bytes and datagrams that the client
has sent and received, and how many of those were empty.
"""
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading

PR_SET_NAME = 15
# Messages of one call that are seen at the end of system calls.
WALKED_MAX = 8
LIBC = ctypes.CDLL(None, use_errno=True)


class Vector(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Message(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p), ("name_len", ctypes.c_uint32), ("vector", ctypes.POINTER(Vector)), ("vector_len", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("control_len", ctypes.c_size_t), ("flags", ctypes.c_int),
    ]


class Several(ctypes.Structure):
    _fields_ = [("head", Message), ("len", ctypes.c_uint32)]


class Name(ctypes.Structure):
    _fields_ = [("family", ctypes.c_uint16), ("port", ctypes.c_uint16), ("address", ctypes.c_ubyte * 4), ("zero", ctypes.c_ubyte * 8)]


def several(buffers, names):
    """`mmsghdr`s that name these buffers and receivers, and what they point to."""
    vectors = [Vector(ctypes.addressof(buffer), len(buffer)) for buffer in buffers]
    messages = (Several * len(buffers))()
    for message, vector, name in zip(messages, vectors, names):
        message.head.name, message.head.name_len = ctypes.addressof(name), ctypes.sizeof(name)
        message.head.vector, message.head.vector_len = ctypes.pointer(vector), 1
    return messages, (buffers, vectors, names)


def name(address, port):
    return Name(socket.AF_INET, socket.htons(port), (ctypes.c_ubyte * 4)(*socket.inet_aton(address)))


def bound(family, address, low=True):
    """Below all ports that are drawn by chance, so that it is known for the server's."""
    made = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.settimeout(20)
    for port in range(bound.next, 30_000) if low else [0]:
        try:
            made.bind((address, port))
            bound.next = port + 1 if low else bound.next
            return made, made.getsockname()[1]
        except OSError:
            continue
    raise RuntimeError("no port is free")


bound.next = 20_000
KEPT = []
SHARE = int(sys.argv[1]) if len(sys.argv) > 1 else 1


class Row:
    def __init__(self, kind, port, seen):
        self.told = {"kind": kind, "pid": os.getpid(), "port": port, "seen": seen, "sent": 0, "received": 0, "asked": 0, "answered": 0,
                     "empty_asked": 0, "empty_answered": 0}

    def asked(self, size):
        self.told["sent"] += size
        self.told["asked"] += 1
        self.told["empty_asked"] += size == 0

    def answered(self, size):
        self.told["received"] += size
        self.told["answered"] += 1
        self.told["empty_answered"] += size == 0


def talk(kind, family, address, connected, rounds, target=None, by="to", own=None):
    """`target`: by which address the server is asked. `by`: to and from, message, or unnamed, of who receives."""
    server, port = bound(family, address)
    client, _ = bound(family, own or target and "::" or address, low=False)
    to = (target or address, port)
    if connected:
        client.connect(to)
    seen = None if by == "unnamed" else (own or (target or address).removeprefix("::ffff:"))
    row = Row(kind, port, seen)
    for number in range(rounds // SHARE):
        question = b"q" * (number % 300 * 3)
        if by == "message":
            row.asked(client.sendmsg([question[:7], question[7:]], [], 0, *([] if connected else [to])))
        else:
            row.asked(client.send(question) if connected else client.sendto(question, to))
        # Looked at before it is taken.
        (server.recv if by == "unnamed" else server.recvfrom)(2_048, socket.MSG_PEEK)
        back = client.getsockname()
        if by == "unnamed":
            data = server.recv(2_048)
            back = (address, back[1])
        elif by == "message":
            data, _, _, back = server.recvmsg(2_048)
        else:
            data, back = server.recvfrom(2_048)
        server.sendto(data * 2, back)
        row.answered(len(client.recv(4_096) if connected or by == "unnamed" else client.recvfrom(4_096)[0]))
    KEPT.append((server, client))
    return row.told


def talk_several(kind, rounds):
    """By `sendmmsg` and `recvmmsg`: each time one to each of two servers, and both answers at once."""
    servers = [bound(socket.AF_INET, "127.0.0.1") for _ in range(2)]
    client, own = bound(socket.AF_INET, "127.0.0.1", low=False)
    client.settimeout(None)
    rows = [Row(kind, port, "127.0.0.1") for _, port in servers]
    for number in range(1, rounds // SHARE + 1):
        sizes = [number % 500 + 1, number % 300 + 501]
        buffers = [ctypes.create_string_buffer(size) for size in sizes]
        messages, _held = several(buffers, [name("127.0.0.1", port) for _, port in servers])
        if LIBC.sendmmsg(client.fileno(), messages, 2, 0) != 2:
            raise OSError(ctypes.get_errno(), "sendmmsg")
        for row, (server, _), message in zip(rows, servers, messages):
            row.asked(message.len)
            data, back = server.recvfrom(2_048)
            server.sendto(data + b"!", back)
        buffers = [ctypes.create_string_buffer(2_048) for _ in servers]
        names = [Name() for _ in servers]
        messages, _held = several(buffers, names)
        if LIBC.recvmmsg(client.fileno(), messages, 2, 0, None) != 2:
            raise OSError(ctypes.get_errno(), "recvmmsg")
        for from_whom, message in zip(names, messages):
            ports = [port for _, port in servers]
            rows[ports.index(socket.ntohs(from_whom.port))].answered(message.len)
    KEPT.append((servers, client))
    return [row.told for row in rows]


def send_several(kind, calls):
    """By `sendmmsg`, of one array: each message to a server of its own, of so many bytes; each call sends so many of them."""
    sizes, counts = calls
    servers = [bound(socket.AF_INET, "127.0.0.1") for _ in sizes]
    client, _ = bound(socket.AF_INET, "127.0.0.1", low=False)
    rows = [Row(kind if at < WALKED_MAX else "beyond", port, "127.0.0.1") for at, (_, port) in enumerate(servers)]
    buffers = [(ctypes.c_char * size)() for size in sizes]
    messages, _held = several(buffers, [name("127.0.0.1", port) for _, port in servers])
    for count in counts:
        if LIBC.sendmmsg(client.fileno(), messages, count, 0) != count:
            raise OSError(ctypes.get_errno(), "sendmmsg")
        for row, size, (server, _) in list(zip(rows, sizes, servers))[:count]:
            row.asked(size)
            data, back = server.recvfrom(2_048)
            server.sendto(data, back)
            row.answered(len(client.recvfrom(2_048)[0]))
    KEPT.append((servers, client))
    return [row.told for row in rows]


def talk_threads(kind, rounds):
    """Two threads with names of their own answer on one socket, to clients at two addresses."""
    server, port = bound(socket.AF_INET, "0.0.0.0")

    def serve():
        LIBC.prctl(PR_SET_NAME, b"answers", 0, 0, 0)
        while True:
            data, back = server.recvfrom(2_048)
            if data == b"end":
                return
            server.sendto(data, back)

    threads = [threading.Thread(target=serve) for _ in range(2)]
    rows = [Row(kind, port, f"127.0.0.{2 + at}") for at in range(2)]

    def ask(row):
        client, _ = bound(socket.AF_INET, row.told["seen"], low=False)
        client.connect(("127.0.0.1", port))
        for number in range(rounds // SHARE):
            row.asked(client.send(b"x" * (number % 700 + 4)))
            row.answered(len(client.recv(2_048)))
        KEPT.append(client)

    threads += [threading.Thread(target=ask, args=[row]) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads[2:]:
        thread.join()
    for _ in range(2):
        server.sendto(b"end", ("127.0.0.1", port))
    for thread in threads[:2]:
        thread.join()
    KEPT.append(server)
    return [row.told for row in rows]


def ask_names(port):
    """Programs that end at once; what they have sent only they know."""
    for number in range(10):
        command = ["dig", "@127.0.0.1", "-p", str(port), f"name-{number}.some.test", "A", "+tries=1", "+nocookie"]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
            raise RuntimeError("dig was not answered")


print("ready", flush=True)
sys.stdin.readline()
V4, V6 = socket.AF_INET, socket.AF_INET6
told = [
    talk("connected", V4, "127.0.0.1", True, 1_000),
    talk("named", V4, "127.0.0.1", False, 1_000),
    talk("connected, v6", V6, "::1", True, 500),
    talk("named, v6", V6, "::1", False, 500),
    talk("mapped", V6, "::", False, 300, "::ffff:127.0.0.1"),
    talk("mapped, connected", V6, "::", True, 300, "::ffff:127.0.0.1"),
    talk("messages", V4, "127.0.0.1", False, 400, by="message"),
    talk("messages, connected", V4, "127.0.0.1", True, 400, by="message"),
    talk("unnamed", V4, "127.0.0.1", True, 300, by="unnamed"),
    talk("another address", V4, "127.0.0.1", False, 300, own="127.0.0.9"),
    *talk_several("several", 400),
    *send_several("an empty one first", ([0, 3], [2, 2, 2])),
    *send_several("one array again", (list(range(10, 20)), [3, 10, 3, 10])),
    *talk_threads("threads", 2_000),
]
if len(sys.argv) > 2:
    ask_names(sys.argv[2])
print(json.dumps(told))
