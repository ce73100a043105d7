"""Sends requests inside TLS from a mount namespace of its own, where alone its copy of OpenSSL lies, which
it loads long after it was started; prints what it did, as JSON, in the records of `tls_client.py`.

`tls_container.py PORT PORT COUNT`; the rest waits for a line on standard input. Prints what is missing in
place of "ready".
"""
import glob
import http.client
import json
import os
import shutil
import sys
import time

import record_keeper  # noqa: F401  whoever waits for ever says where

PLACE = "/mnt"
libraries = glob.glob("/usr/lib/*/libssl.so.3") + glob.glob("/usr/lib/*/libcrypto.so.3")
# Whoever started this may have put folders of its own there.
if os.environ.get("LD_LIBRARY_PATH") != PLACE:
    if len(libraries) != 2 or not shutil.which("unshare") or os.geteuid() != 0:
        print("missing unshare, root, or OpenSSL 3 where Debian has it", flush=True)
        sys.exit()
    inside = 'mount -t tmpfs none "$0" && cp $1 "$0" && shift && LD_LIBRARY_PATH="$0" exec "$@"'
    own = ["sh", "-c", inside, PLACE, " ".join(libraries), sys.executable, *sys.argv]
    os.execvp("unshare", ["unshare", "--mount", *own])

ports, count = [int(port) for port in sys.argv[1:3]], int(sys.argv[3])
rows = []
print("ready", flush=True)
sys.stdin.readline()

# By now the agent has looked at this process as often as it does of its own accord.
time.sleep(3)
import ssl  # noqa: E402

with open("/proc/self/maps") as maps:
    assert f"{PLACE}/libssl.so.3" in maps.read()


def ask(connection, port, query, size):
    start = time.time_ns()
    connection.request("GET", f"/bytes/{size}?{query}")
    got = len(connection.getresponse().read())
    return start, got


def connect(port):
    return http.client.HTTPSConnection("localhost", port, context=ssl._create_unverified_context())


# TLS on its socket tells the agent, which looks again.
ask(connect(ports[0]), ports[0], "before", 1)
time.sleep(2)
while len(rows) < count:
    port = ports[len(rows) // 10 % 2]
    connection = connect(port)
    for _ in range(10):
        number, size = len(rows), (0, 100, 65_536)[len(rows) % 3]
        start, got = ask(connection, port, f"number={number}", size)
        rows.append([number, port, "GET", f"/bytes/{size}", 200, 0, got, start, time.time_ns(), "1.3", "localhost"])
    connection.close()
print(json.dumps(rows))
