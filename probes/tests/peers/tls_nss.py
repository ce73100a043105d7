"""Sends requests inside TLS through NSS, as the libcurl does that is built for it, and prints what it did,
as JSON, in the records of `tls_client.py`. The same library moves files and clear text as well.

`tls_nss.py NGINX_PORT PYTHON_PORT COUNT`; the rest waits for a line on standard input. Prints what is
missing in place of "ready".
"""
import ctypes
import json
import os
import socket
import sys
import tempfile
import threading
import time

nginx, python, count = map(int, sys.argv[1:4])
SIZES = [0, 1, 100, 4_096, 65_536, 100_000, 1_048_576]
rows = []
try:
    curl, nspr = ctypes.CDLL("libcurl-nss.so.4"), ctypes.CDLL("libnspr4.so")
except OSError as error:
    print("missing", error, flush=True)
    sys.exit()

for function, arguments in [("setopt", [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]), ("perform", [ctypes.c_void_p]),
                            ("getinfo", [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p])]:
    getattr(curl, f"curl_easy_{function}").argtypes = arguments
curl.curl_easy_init.restype = ctypes.c_void_p
WRITE = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
URL, WRITE_FUNCTION, POST_FIELDS, POST_FIELD_SIZE, NO_BODY, VERIFY_PEER, VERIFY_HOST, HTTP_GET, HTTP_HEADER = (
    10_002, 20_011, 10_015, 60, 44, 64, 81, 80, 10_023)
STATUS, HTTP_VERSION, HTTP_1_1 = 0x200_002, 84, 2
curl.curl_slist_append.restype = ctypes.c_void_p
curl.curl_slist_append.argtypes = [ctypes.c_void_p, ctypes.c_char_p]


class Client:
    """One connection that is kept."""

    def __init__(self, port):
        self.port, self.got = port, 0
        self.handle = curl.curl_easy_init()
        self.write = WRITE(self.came)
        headers = curl.curl_slist_append(None, b"Expect:")
        for option, value in [(VERIFY_PEER, 0), (VERIFY_HOST, 0), (HTTP_VERSION, HTTP_1_1), (HTTP_HEADER, headers),
                              (WRITE_FUNCTION, ctypes.cast(self.write, ctypes.c_void_p))]:
            curl.curl_easy_setopt(self.handle, option, value)

    def came(self, _, size, times, __):
        self.got += size * times
        return size * times

    def ask(self, method, path, body=b""):
        number, start = len(rows), time.time_ns()
        url, self.got = ctypes.c_char_p(f"https://localhost:{self.port}{path}?number={number}".encode()), 0
        curl.curl_easy_setopt(self.handle, URL, ctypes.cast(url, ctypes.c_void_p))
        curl.curl_easy_setopt(self.handle, HTTP_GET, 1)
        kept = ctypes.c_char_p(body)
        if method == "POST":
            curl.curl_easy_setopt(self.handle, POST_FIELDS, ctypes.cast(kept, ctypes.c_void_p))
            curl.curl_easy_setopt(self.handle, POST_FIELD_SIZE, len(body))
        failed = curl.curl_easy_perform(self.handle)
        assert failed == 0, (failed, path)
        status = ctypes.c_long()
        curl.curl_easy_getinfo(self.handle, STATUS, ctypes.byref(status))
        rows.append([number, self.port, method, path, status.value, len(body), self.got, start, time.time_ns(), "1.3", "localhost"])


def decoys(to_nginx):
    """A file that looks like a request is read, between two receives on a connection with TLS; and clear text
    passes through the same library. Neither is a part of that connection."""
    nspr.PR_Open.restype = nspr.PR_ImportTCPSocket.restype = ctypes.c_void_p
    for function in ("PR_Read", "PR_Write"):
        getattr(nspr, function).argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    nspr.PR_Close.argtypes = [ctypes.c_void_p]
    text = b"GET /decoy?number=1 HTTP/1.1\r\nHost: decoy\r\n\r\n"
    room = ctypes.create_string_buffer(text, 4_096)
    with tempfile.NamedTemporaryFile() as named:
        to_nginx.ask("GET", "/bytes/100")
        file = nspr.PR_Open(named.name.encode(), 4, 0)
        assert nspr.PR_Write(file, room, len(text)) == len(text)
        nspr.PR_Close(file)
        file = nspr.PR_Open(named.name.encode(), 1, 0)
        assert nspr.PR_Read(file, room, len(text)) == len(text)
        nspr.PR_Close(file)
        to_nginx.ask("GET", "/bytes/100")
    listener = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listener.getsockname())
    ours = nspr.PR_ImportTCPSocket(listener.accept()[0].detach())
    assert nspr.PR_Write(ours, b"\x01\x02clear text\n", 13) == 13 and theirs.recv(13)
    nspr.PR_Close(ours)


def in_turn(clients, first):
    at = first
    while len(rows) < count * (first + 1) // 2:
        size = SIZES[at % len(SIZES)]
        client = clients[at % 2]
        client.ask("GET", f"/bytes/{size}")
        if client.port == python:
            client.ask("POST", "/take", b"p" * size)
            client.ask("GET", f"/status/{[404, 500][at % 2]}")
        at += 1


print("ready", flush=True)
sys.stdin.readline()
clients = [Client(nginx), Client(python)]
in_turn(clients, 0)
decoys(clients[0])
# Another thread goes on with one of the connections.
thread = threading.Thread(target=in_turn, args=(clients, 1))
thread.start()
thread.join()
print(json.dumps(rows))
