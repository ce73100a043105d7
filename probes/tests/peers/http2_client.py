"""Makes requests over HTTP/2 to nginx (first argument) and to a Node.js server (second: without
padding, third: with; fourth: one that is asked to go on as HTTP/2) by httpx, curl and a Node.js client, and prints a row for each as
web_client.py does.

One connection is made and used before "ready" is printed; the rest waits for a line on standard
input.
"""
import asyncio
import json
import os
import subprocess
import sys
import time

from record_keeper import importable

importable("httpx", "h2")
import httpx  # noqa: E402

nginx, node, padded, upgrading = map(int, sys.argv[1:5])
rows = []
SIZES = [0, 1, 100, 4_096, 65_536, 100_000, 1_048_576]
numbers = iter(range(1_000_000))


def client(port):
    limits = httpx.Limits(max_connections=1)
    return httpx.AsyncClient(http1=False, http2=True, base_url=f"http://127.0.0.1:{port}",
                             limits=limits, timeout=60)


async def ask(http, port, method, path, body=None):
    number, start = next(numbers), time.time_ns()
    response = await http.request(method, f"{path}?number={number}", content=body)
    assert response.http_version == "HTTP/2"
    rows.append([number, port, method, path, response.status_code, len(body or b""),
                 len(response.content), start, time.time_ns()])


async def together(port, count):
    """Several requests over one connection, twenty at a time."""
    async with client(port) as http:
        for turn in range(0, count, 20):
            await asyncio.gather(*(
                ask(http, port, "GET", f"/bytes/{SIZES[at % 6]}") for at in range(turn, turn + 20)))


async def one_by_one(http, port, takes):
    for size in SIZES:
        await ask(http, port, "GET", f"/bytes/{size}")
        await ask(http, port, "HEAD", f"/bytes/{size}")
        if takes:
            await ask(http, port, "POST", "/take", b"p" * size)
    await ask(http, port, "GET", "/bytes/missing" if port == nginx else "/status/503")


def curl(port, *paths, how="--http2-prior-knowledge"):
    """All over one connection; what it began with is the first."""
    first, start = next(numbers), time.time_ns()
    for _ in paths[1:]:
        next(numbers)
    urls = [f"http://127.0.0.1:{port}{path}?number={first + at}" for at, path in enumerate(paths)]
    asked = [part for url in urls for part in ("-o", "/dev/null", url)]
    written = "%{http_code} %{size_download} %{http_version}\\n"
    shown = subprocess.run(["curl", "-s", how, "-w", written, *asked], capture_output=True, check=True)
    for at, line in enumerate(shown.stdout.decode().splitlines()):
        status, size, version = line.split()
        assert version == "2", line
        rows.append([first + at, port, "GET", paths[at], int(status), 0, int(size), start, time.time_ns()])


def by_node(port, count, at_once):
    first = next(numbers)
    for _ in range(count - 1):
        next(numbers)
    script = os.path.join(os.path.dirname(__file__), "http2_client.mjs")
    arguments = [str(one) for one in (port, first, count, at_once)]
    shown = subprocess.run(["node", script, *arguments], capture_output=True, check=True, text=True)
    rows.extend(json.loads(shown.stdout))


async def main():
    older = client(nginx)
    assert (await older.get("/bytes/100?before")).status_code == 200
    print("ready", flush=True)
    sys.stdin.readline()
    await ask(older, nginx, "GET", "/bytes/4096")
    await one_by_one(older, nginx, takes=False)
    async with client(node) as http:
        await one_by_one(http, node, takes=True)
    async with client(padded) as http:
        await one_by_one(http, padded, takes=True)
    await together(nginx, 60)
    await together(node, 60)
    for size in SIZES:
        curl(nginx, f"/bytes/{size}")
        curl(node, f"/bytes/{size}")
    for size in (0, 5, 5_000):
        curl(upgrading, f"/bytes/{size}", "/bytes/7", how="--http2")
    by_node(node, 80, 40)
    by_node(padded, 24, 5)
    by_node(nginx, 1, 1)
    await older.aclose()


asyncio.run(main())
print(json.dumps(rows))
