"""Sends requests inside TLS to the given ports of 127.0.0.1 and prints what it did, as JSON.

The record of a request is [number, port, method, path, status, request bytes, response bytes, start,
end, TLS version or null, server name or null], times as wall clock nanoseconds around it. The number
stands in the query.

`tls_client.py NGINX_PORT PYTHON_PORT COUNT`; one connection to each is opened and used before "ready"
is printed; the rest waits for a line on standard input. On those connections each side may be inside a
call when the agent comes: a request without a number goes first.
"""
import asyncio
import http.client
import json
import socket
import ssl
import subprocess
import sys
import time

nginx, python, count = map(int, sys.argv[1:4])
rows = []
SIZES = [0, 1, 100, 4_096, 65_536, 100_000, 1_048_576]
CHUNKS = [(0, 1), (10, 3), (100_000, 7_000), (300_000, 300_000)]


def context(version=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def connect(port, version=None):
    return http.client.HTTPSConnection("localhost", port, context=context(version))


def note(number, port, method, path, status, sent, got, start, version=None, name="localhost"):
    rows.append([number, port, method, path, status, sent, got, start, time.time_ns(), version, name])


def ask(connection, port, method, path, body=None, known=True):
    number, start = len(rows), time.time_ns()
    connection.request(method, f"{path}?number={number}", body)
    version = connection.sock.version()[4:].replace("v", "") if known else None
    response = connection.getresponse()
    got = len(response.read())
    name = "localhost" if known else None
    note(number, port, method, path, response.status, len(body or b""), got, start, version, name)


def curl(port, path, *options):
    number, start = len(rows), time.time_ns()
    shown = subprocess.run(
        ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", *options,
         f"https://localhost:{port}{path}?number={number}"], capture_output=True, check=True)
    status, size = map(int, shown.stdout.split())
    note(number, port, "GET", path, status, 0, size, start)


def pipelined(port, path, size, times):
    """Several requests in one record; answers are read to the last byte of the last."""
    plain = socket.create_connection(("127.0.0.1", port))
    connection = context().wrap_socket(plain, server_hostname="Shop.example")
    numbers, start = range(len(rows), len(rows) + times), time.time_ns()
    line = "GET %s?number=%d HTTP/1.1\r\nHost: x\r\n\r\n"
    connection.sendall("".join(line % (path, n) for n in numbers).encode())
    got = b""
    while got.count(b"HTTP/1.1 200") < times or got.count(b"n" * size) < times:
        got += connection.recv(65_536)
    connection.close()
    for number in numbers:
        note(number, port, "GET", path, 200, 0, size, start, "1.3", "shop.example")


async def by_loop(port, path, size, times):
    """A program that moves the encrypted bytes by itself: several connections in one thread."""
    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context(), server_hostname="localhost")
        for _ in range(times):
            number, start = len(rows), time.time_ns()
            rows.append(None)
            writer.write(b"GET %s?number=%d HTTP/1.1\r\nHost: x\r\n\r\n" % (path.encode(), number))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readexactly(size)
            rows[number] = [number, port, "GET", path, 200, 0, size, start, time.time_ns(), "1.3", "localhost"]
        writer.close()
    await asyncio.gather(*(one() for _ in range(5)))


def turn(index, ports):
    size = SIZES[index % len(SIZES)]
    to_nginx, to_python = ports
    ask(to_nginx, nginx, "GET", f"/bytes/{size}")
    ask(to_python, python, "GET", f"/bytes/{size}")
    ask(to_python, python, "POST", "/take", b"p" * size)
    total, chunk = CHUNKS[index % len(CHUNKS)]
    ask(to_python, python, "GET", f"/chunked/{total}/{chunk}")
    ask(to_python, python, "GET", f"/status/{[204, 304, 404, 500][index % 4]}")
    ask(to_nginx, nginx, "HEAD", f"/bytes/{size}")
    ask(to_nginx, nginx, "GET", "/missing")
    curl(nginx, f"/bytes/{size}", "--http1.1", "--tls-max", "1.2")
    curl(nginx, f"/bytes/{size}", "--http2")


older = [connect(nginx), connect(python)]
for connection in older:
    connection.request("GET", "/bytes/100?before")
    connection.getresponse().read()
print("ready", flush=True)
sys.stdin.readline()

for connection, port in zip(older, (nginx, python)):
    connection.request("GET", "/bytes/100?first")
    connection.getresponse().read()
    for size in SIZES[:-1]:
        ask(connection, port, "GET", f"/bytes/{size}", known=False)
pipelined(nginx, "/bytes/100", 100, 5)
asyncio.run(by_loop(nginx, "/bytes/4096", 4_096, 4))
asyncio.run(by_loop(nginx, "/bytes/65536", 65_536, 4))
newest = connect(nginx), connect(python)
old = connect(nginx, ssl.TLSVersion.TLSv1_2), connect(python, ssl.TLSVersion.TLSv1_2)
index = 0
while len(rows) < count:
    turn(index, (newest, old)[index % 2])
    index += 1
print(json.dumps(rows))
