"""Makes requests to nginx (first argument) and to the Python server (second), and prints for each
[number, port, method, path, status, request bytes, response bytes, start, end] as a JSON list.

One connection is made and used before "ready" is printed; the rest waits for a line on standard
input, and the first request then goes over that connection.
"""
import http.client
import json
import socket
import subprocess
import sys
import time

nginx, python, count = map(int, sys.argv[1:4])
rows = []
SIZES = [0, 1, 100, 4_096, 65_536, 100_000, 1_048_576]
CHUNKS = [(0, 1), (10, 3), (100_000, 7_000), (300_000, 300_000), (1_048_576, 65_536)]


def ask(connection, port, method, path, body=None):
    number = len(rows)
    start = time.time_ns()
    connection.request(method, f"{path}?number={number}", body)
    response = connection.getresponse()
    got = len(response.read())
    note(number, port, method, path, response.status, len(body or b""), got, start)


def note(number, port, method, path, status, sent, got, start):
    rows.append([number, port, method, path, status, sent, got, start, time.time_ns()])


def curl(port, path):
    number, start = len(rows), time.time_ns()
    shown = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{size_download}",
         f"http://127.0.0.1:{port}{path}?number={number}"], capture_output=True, check=True)
    status, size = map(int, shown.stdout.split())
    note(number, port, "GET", path, status, 0, size, start)


def pipelined(port, path, size, times):
    """Several requests in one write; answers are read to the last byte of the last."""
    connection = socket.create_connection(("127.0.0.1", port))
    numbers, start = range(len(rows), len(rows) + times), time.time_ns()
    line = "GET %s?number=%d HTTP/1.1\r\nHost: x\r\n\r\n"
    connection.sendall("".join(line % (path, n) for n in numbers).encode())
    got = b""
    while got.count(b"HTTP/1.1 200") < times or got.count(b"n" * size) < times:
        got += connection.recv(65_536)
    connection.close()
    for number in numbers:
        note(number, port, "GET", path, 200, 0, size, start)


def half_closed(port, path, size, wait):
    """Says that nothing more will be sent, before or (after a wait) behind the end of the answer, and
    reads when all of that has come."""
    connection = socket.create_connection(("127.0.0.1", port))
    number, start = len(rows), time.time_ns()
    line = "GET %s?number=%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    connection.sendall((line % (path, number)).encode())
    time.sleep(wait)
    connection.shutdown(socket.SHUT_WR)
    time.sleep(0.05)
    while connection.recv(65_536):
        pass
    connection.close()
    note(number, port, "GET", path, 200, 0, size, start)


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
    curl(nginx, f"/bytes/{size}")


older = http.client.HTTPConnection("127.0.0.1", python)
older.request("GET", "/bytes/5?before")
older.getresponse().read()
print("ready", flush=True)
sys.stdin.readline()

ask(older, python, "GET", "/bytes/7")
kept = http.client.HTTPConnection("127.0.0.1", nginx), http.client.HTTPConnection("127.0.0.1", python)
pipelined(nginx, "/bytes/100", 100, 5)
half_closed(nginx, "/bytes/100", 100, 0)
half_closed(nginx, "/bytes/100", 100, 0.05)
ask(http.client.HTTPConnection("::1", nginx), nginx, "GET", "/bytes/100")
index = 0
while len(rows) < count:
    turn(index, kept)
    index += 1
print(json.dumps(rows))
