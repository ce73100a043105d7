"""Sends requests inside TLS through OpenSSL 1.1: the one within an old Node.js, and a shared one, as a driver of
data bases brings it. Prints what it did, as JSON, in the records of `tls_client.py`.

`tls_old.py NGINX_PORT NODE_PORT COUNT`; two programs in Node.js run when "ready" is printed; the rest waits
for a line on standard input. Prints what is missing in place of "ready".
"""
import ctypes
import glob
import json
import os
import socket
import subprocess
import sys
import sysconfig
import time

nginx, node, count = map(int, sys.argv[1:4])
SIZES = [0, 1, 100, 4_096, 65_536, 100_000, 1_048_576]
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tls_node.js")
PACKAGES = sysconfig.get_path("purelib")
NODE = os.path.join(PACKAGES, "nodejs/bin/node")
# SSL_CTRL_SET_TLSEXT_HOSTNAME, and a name that is a host's.
SET_NAME, HOST_NAME = 55, 0
rows = []

libraries = glob.glob(os.path.join(PACKAGES, "psycopg2_binary.libs/libssl-*.so.1.1"))
if not os.path.exists(NODE) or not libraries:
    print("missing programs with OpenSSL 1.1", flush=True)
    sys.exit()
# It finds its other half where that is loaded already.
half = ctypes.CDLL(glob.glob(os.path.join(PACKAGES, "psycopg2_binary.libs/libcrypto-*.so.1.1"))[0])
library = ctypes.CDLL(libraries[0])
for made in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
    getattr(library, made).restype = ctypes.c_void_p


def call(function, *arguments):
    return getattr(library, function)(*(ctypes.c_void_p(one) if isinstance(one, int) else one for one in arguments))


def start(port):
    asker = subprocess.Popen([NODE, SCRIPT, "ask", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert asker.stdout.readline() == "ready\n"
    return asker


def by_node(asker, first, ways):
    asked = [[first + at, *ways[at % len(ways)]] for at in range(count // 3)]
    answered, _ = asker.communicate(json.dumps(asked) + "\n")
    rows.extend(json.loads(answered))
    return first + len(asked)


def by_library(port, times):
    """One connection that is kept."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        session = call("SSL_new", call("SSL_CTX_new", call("TLS_client_method")))
        call("SSL_ctrl", session, SET_NAME, HOST_NAME, b"localhost")
        call("SSL_set_fd", session, connection.fileno())
        assert call("SSL_connect", session) == 1
        room = ctypes.create_string_buffer(1 << 16)
        for at in range(times):
            number, path, start = len(rows), f"/bytes/{SIZES[at % len(SIZES)]}", time.time_ns()
            question = f"GET {path}?number={number} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            assert call("SSL_write", session, question, len(question)) == len(question)
            got, head = b"", b""
            while not head or len(got) < SIZES[at % len(SIZES)]:
                came = call("SSL_read", session, room, len(room))
                assert came > 0, came
                got += room.raw[:came]
                if not head and b"\r\n\r\n" in got:
                    head, _, got = got.partition(b"\r\n\r\n")
            rows.append([number, port, "GET", path, 200, 0, len(got), start, time.time_ns(), "1.3", "localhost"])
        call("SSL_free", session)


askers = [start(nginx), start(node)]
print("ready", flush=True)
sys.stdin.readline()

gets = [["GET", f"/bytes/{size}", 0] for size in SIZES]
number = by_node(askers[0], 0, gets + [["HEAD", "/bytes/100", 0], ["GET", "/missing", 0]])
number = by_node(askers[1], number, gets + [["POST", "/take", size] for size in SIZES])
while len(rows) < count:
    by_library((nginx, node)[len(rows) % 2], 21)
print(json.dumps(rows))
