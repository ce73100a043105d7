"""Sends requests inside TLS from Node.js and through GnuTLS, and prints what it did, as JSON, in the
records of `tls_client.py`.

`tls_others.py NGINX_PORT NODE_PORT COUNT`; two programs in Node.js run when "ready" is printed; the
rest waits for a line on standard input. Prints what is missing in place of "ready".
"""
import json
import os
import shutil
import subprocess
import sys
import time

nginx, node, count = map(int, sys.argv[1:4])
SIZES = [0, 1, 100, 4_096, 65_536, 100_000, 1_048_576]
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tls_node.js")
rows = []

missing = [program for program in ("node", "wget", "curl") if not shutil.which(program)]
if missing:
    print("missing", *missing, flush=True)
    sys.exit()


def start(port):
    asker = subprocess.Popen(["node", SCRIPT, "ask", str(port)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    assert asker.stdout.readline() == "ready\n"
    return asker


def by_node(asker, first, ways):
    asked = [[first + at, *ways[at % len(ways)]] for at in range(count // 3)]
    answered, _ = asker.communicate(json.dumps(asked) + "\n")
    rows.extend(json.loads(answered))
    return first + len(asked)


def note(number, port, path, size, start):
    rows.append([number, port, "GET", path, 200, 0, size, start, time.time_ns(), "1.3", "localhost"])


def url(port, path, number):
    return f"https://localhost:{port}{path}?number={number}"


def wget(number, port, path):
    start = time.time_ns()
    command = ["wget", "-q", "-4", "--no-check-certificate", "--no-hsts", "--secure-protocol=TLSv1_3", "-O", "-"]
    got = subprocess.run([*command, url(port, path, number)], capture_output=True, check=True).stdout
    note(number, port, path, len(got), start)


def curl(number, port, path):
    start = time.time_ns()
    got = subprocess.run(["curl", "-sk", "--http1.1", url(port, path, number)], capture_output=True, check=True).stdout
    note(number, port, path, len(got), start)


askers = [start(nginx), start(node)]
print("ready", flush=True)
sys.stdin.readline()

gets = [["GET", f"/bytes/{size}", 0] for size in SIZES]
number = by_node(askers[0], 0, gets + [["HEAD", "/bytes/100", 0], ["GET", "/missing", 0]])
posts = [["POST", "/take", size] for size in SIZES]
number = by_node(askers[1], number, gets + posts + [["GET", "/status/404", 0], ["GET", "/status/500", 0]])
while len(rows) < count:
    path = f"/bytes/{SIZES[number % len(SIZES)]}"
    (wget, curl)[number % 2](number, (nginx, node)[number // 2 % 2], path)
    number += 1
print(json.dumps(rows))
