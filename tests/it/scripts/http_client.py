"""Makes requests with curl and with Python's own client and prints its record of each.

    http_client.py NGINX_PORT PYTHON_PORT COUNT

Eight of ten go over kept-alive connections of http.client, two of ten are a curl of their own. Each
request has its number in the query. The record: number, port, method, path, status, bytes of
request and response body, and when it began and ended by this process's clock, in nanoseconds.
"""

import http.client
import json
import random
import subprocess
import sys
import threading
import time

nginx, python, count = (int(text) for text in sys.argv[1:4])
SIZES = [0, 1, 100, 4_095, 4_096, 16_384, 65_536, 100_000, 1_048_576]
plan = random.Random(7)


def request(number):
    size = plan.choice(SIZES)
    if number % 2:  # nginx serves files, refuses to be written to, and has fixed answers
        method, path, body, status, answer = plan.choice([
            ("GET", f"/bytes/{size}", 0, 200, size), ("HEAD", f"/bytes/{size}", 0, 200, 0),
            ("GET", "/absent", 0, 404, None), ("GET", "/broken", 0, 500, None), ("POST", "/take", min(size, 65_536), 204, 0),
            ("GET", "/moved", 0, 302, None),
        ])
        return nginx, method, path, body, status, answer
    method, path, body, status, answer = plan.choice([
        ("GET", f"/bytes/{size}", 0, 200, size), ("GET", f"/chunked/{size}", 0, 200, size), ("HEAD", f"/bytes/{size}", 0, 200, 0),
        ("POST", "/echo", size, 201, size), ("PUT", "/echo", size, 200, size), ("DELETE", "/thing", 0, 204, 0),
        ("GET", "/status/404", 0, 404, 7), ("GET", "/status/503", 0, 503, 7),
    ])
    return python, method, path, body, status, answer


def by_curl(port, method, path, body):
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", f"http://127.0.0.1:{port}{path}"]
    if method == "HEAD":
        command.insert(1, "-I")
    elif method != "GET":
        command[1:1] = ["-X", method]
    if method in ("POST", "PUT"):
        command[1:1] = ["--data-binary", "@-", "-H", "Content-Type: application/octet-stream"]
    start = time.time_ns()
    output = subprocess.run(command, input=b"z" * body, capture_output=True, check=True).stdout
    end = time.time_ns()
    status, size = output.split()
    return int(status), 0 if method == "HEAD" else int(size), start, end


def by_connection(connections, port, method, path, body):
    connection = connections.setdefault(port, http.client.HTTPConnection("127.0.0.1", port))
    start = time.time_ns()
    connection.request(method, path, body=b"z" * body if method in ("POST", "PUT") else None)
    response = connection.getresponse()
    size = len(response.read())
    return response.status, size, start, time.time_ns()


def work(numbers, records):
    connections = {}
    for number, (port, method, path, body, wanted, size) in numbers:
        target = f"{path}?number={number}"
        if number % 10 in (3, 6):
            status, got, start, end = by_curl(port, method, target, body)
        else:
            status, got, start, end = by_connection(connections, port, method, target, body)
        if status != wanted or size is not None and got != size:
            sys.exit(f"{method} {target}: got {status} with {got} bytes, wanted {wanted} with {size}")
        records.append([number, port, method, path, status, body, got, start, end])


planned = [(number, request(number)) for number in range(count)]
records = []
threads = [threading.Thread(target=work, args=(planned[at::4], records)) for at in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(sorted(records)))
