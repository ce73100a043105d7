"""Asks the DNS server at the first port by dig (UDP and TCP), by Node.js, and by sockets of its own, and
at the second port, where nobody answers; prints what it did as a JSON list. Every name is asked for
once. The server knows all names below some.test (192.0.2.7 and 2001:db8::7), and none below none.test.
"""
import itertools
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time

port, silent = map(int, sys.argv[1:3])
records, numbers = [], itertools.count()
KINDS = {"A": 1, "TXT": 16, "AAAA": 28}
ADDRESSES = {"A": ["192.0.2.7"], "AAAA": ["2001:db8::7"], "TXT": []}
# The server knows addresses only, and nobody whom it could ask. Some say of another kind of record that there is none.
CODES = {"A": "NOERROR", "AAAA": "NOERROR", "TXT": sys.argv[3]}


def note(name, kind, code, answers, transport, received, start, retries=0):
    records.append(dict(name=name, kind=kind, code=code, answers=answers, transport=transport, retries=retries,
                        received=received, start=start, end=time.time_ns()))


def dig(kind, zone, *how):
    """A process, and a socket, for each question."""
    name, start = f"d{next(numbers)}.{zone}", time.time_ns()
    shown = subprocess.run(["dig", "@127.0.0.1", "-p", str(port), "+tries=1", *how, name, kind],
                           capture_output=True, check=True, text=True).stdout
    code = re.search(r"status: (\w+)", shown)[1]
    size = int(re.search(r"MSG SIZE +rcvd: (\d+)", shown)[1])
    answers = re.findall(r"IN[ \t]+(?:A|AAAA)[ \t]+([0-9a-f.:]+)$", shown, re.MULTILINE)
    note(name, kind, code, answers, "tcp" if "+tcp" in how else "udp", size, start)


def by_node(count):
    first = next(numbers)
    script = os.path.join(os.path.dirname(__file__), "dns_client.mjs")
    shown = subprocess.run(["node", script, str(port), str(first), str(count)], capture_output=True,
                           check=True, text=True)
    for row in json.loads(shown.stdout):
        records.append(dict(row, retries=0))


def question(name, kind, number):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, KINDS[kind], 1)


def own(sock, send, count):
    """Several questions on one socket before the answers are read, in any order."""
    asked = {}
    for at in range(count):
        kind, number = ["A", "AAAA", "TXT"][at % 3], next(numbers)
        name = f"p{number}.some.test"
        asked[number] = name, kind, time.time_ns()
        send(sock, question(name, kind, number))
    for _ in range(count):
        answer = sock.recv(4_096)
        name, kind, start = asked.pop(struct.unpack("!H", answer[:2])[0])
        note(name, kind, CODES[kind], ADDRESSES[kind], "udp", len(answer), start)


def by_tcp(count):
    """All in one write, over one connection."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        asked, out = {}, b""
        start = time.time_ns()
        for at in range(count):
            kind, number = ["A", "AAAA", "TXT"][at % 3], next(numbers)
            name = f"t{number}.some.test"
            asked[number] = name, kind
            message = question(name, kind, number)
            out += struct.pack("!H", len(message)) + message
        sock.sendall(out)
        reader = sock.makefile("rb")
        for _ in range(count):
            answer = reader.read(struct.unpack("!H", reader.read(2))[0])
            name, kind = asked.pop(struct.unpack("!H", answer[:2])[0])
            note(name, kind, CODES[kind], ADDRESSES[kind], "tcp", len(answer), start)


def unanswered():
    number = next(numbers)
    name, start = f"u{number}.some.test", time.time_ns()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", silent))
        for _ in range(3):
            sock.send(question(name, "A", number))
    note(name, "A", None, [], "udp", None, start, retries=2)


def at_a_known_address():
    """Many sockets ask somebody else the same under the same number, and are closed unanswered: the kernel soon has the
    next socket where one of them was."""
    number = next(numbers)
    name = f"a{number}.some.test"
    elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    elsewhere.bind(("127.0.0.1", 0))
    many = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(48)]
    for sock in many:
        sock.connect(elsewhere.getsockname())
        sock.send(question(name, "A", number))
    for sock in many:
        sock.close()
    # Its memory is given back a little later.
    time.sleep(0.2)
    start = time.time_ns()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", silent))
        sock.send(question(name, "A", number))
    note(name, "A", None, [], "udp", None, start)


print("ready", flush=True)
sys.stdin.readline()
for kind, zone in itertools.product(KINDS, ("some.test", "none.test", "elsewhere.example")):
    dig(kind, zone)
    dig(kind, zone, "+tcp")
by_node(120)
next(itertools.islice(numbers, 120, 120), None)
connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connected.connect(("127.0.0.1", port))
anyone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for _ in range(3):
    own(connected, lambda sock, data: sock.send(data), 12)
    own(anyone, lambda sock, data: sock.sendto(data, ("127.0.0.1", port)), 12)
    own(six, lambda sock, data: sock.sendto(data, ("::1", port)), 12)
    own(six, lambda sock, data: sock.sendto(data, ("::ffff:127.0.0.1", port)), 12)
    own(anyone, lambda sock, data: sock.sendmsg([data[:5], data[5:]], [], 0, ("127.0.0.1", port)), 12)
by_tcp(20)
unanswered()
for _ in range(3):
    at_a_known_address()
print(json.dumps(records))
