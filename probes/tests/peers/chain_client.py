"""Services in network namespaces of their own, and a client that calls the first of them.

`chain_client.py KIND PORT RATE SECONDS`: KIND is `threads`, `loop` or `goroutines`, by how the first service works; of
the last kind, all do. Writes down
what the services say of themselves: [path, path of the request that caused it or nothing, port].
"""
import atexit
import ctypes
import faulthandler
import http.client
import json
import os
import subprocess
import sys
import threading
import time

faulthandler.dump_traceback_later(240, exit=True)
HERE = os.path.dirname(os.path.abspath(__file__))
CLONE_NEWNET = 0x40000000
NAMES = ["a", "b", "c", "client"]
THREADS = 24
VIRTUAL = "10.96.0.1"
kind, port, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
PREFIX = f"icl{os.getpid() % 100000}"


def ip(*arguments, check=True):
    return subprocess.run(["ip", *arguments], check=check, capture_output=True)


def space(name):
    return f"{PREFIX}-{name}"


def clean():
    for name in [*NAMES, "hub"]:
        ip("netns", "del", space(name), check=False)


def connect():
    """A bridge that all namespaces hang on; nothing of the machine's own network is touched."""
    ip("netns", "add", space("hub"))
    ip("-n", space("hub"), "link", "add", "name", "bridge", "type", "bridge")
    ip("-n", space("hub"), "link", "set", "dev", "bridge", "up")
    for number, name in enumerate(NAMES, 1):
        ip("netns", "add", space(name))
        plug = f"to-{name}"
        ip("-n", space("hub"), "link", "add", "name", plug, "type", "veth", "peer", "name", "eth0", "netns", space(name))
        ip("-n", space("hub"), "link", "set", "dev", plug, "master", "bridge", "up")
        ip("-n", space(name), "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
        ip("-n", space(name), "link", "set", "dev", "eth0", "up")
        ip("-n", space(name), "link", "set", "dev", "lo", "up")


def translate():
    """What a ClusterIP is: the first service knows the second by an address that nobody has."""
    ip("-n", space("a"), "route", "add", "10.96.0.0/16", "dev", "eth0")
    rule = f"""
        table ip service {{
            chain out {{
                type nat hook output priority -100
                ip daddr {VIRTUAL} tcp dport {port} dnat to {address('b')}
            }}
        }}"""
    command = ["ip", "netns", "exec", space("a"), "nft", "-f", "-"]
    subprocess.run(command, check=True, capture_output=True, input=rule, text=True)


def address(name):
    return f"10.77.0.{NAMES.index(name) + 1}"


def built(name):
    cache = os.environ.get("ICECORE_CACHE") or os.path.expanduser("~/.cache/icecore")
    path = os.path.join(cache, "bin", name)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{name} (`./dev peers` makes it)")
    return path


def serve(name, program, *more):
    command = ["ip", "netns", "exec", space(name), *program, address(name), str(port), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def gather(service, calls):
    calls.extend(line.rstrip("\n").split("\t") for line in service.stdout)


def warm(tree):
    """A connection to the first service that has carried a request."""
    connection = http.client.HTTPConnection(address("a"), port)
    connection.request("GET", f"/0/{tree}")
    assert connection.getresponse().read() == b"done"
    return connection


class Load:
    """So many requests a second, by threads that each keep a connection."""

    def __init__(self, older, tree, threads):
        self.older, self.tree, self.next, self.lock, self.paths = older, tree, 0, threading.Lock(), []
        self.begin = time.monotonic()
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join()
        self.took = time.monotonic() - self.begin

    def take(self):
        with self.lock:
            self.next += 1
            return self.next

    def run(self):
        with self.lock:
            to_first = self.older.pop() if self.older else http.client.HTTPConnection(address("a"), port)
        while (number := self.take()) <= rate * seconds:
            time.sleep(max(0, self.begin + number / rate - time.monotonic()))
            path = f"/{number}/{self.tree}"
            to_first.request("GET", path)
            assert to_first.getresponse().read() == b"done"
            with self.lock:
                self.paths.append(path)


def enter(name):
    """This process joins a namespace: sockets that it makes from now on are in there."""
    with open(f"/run/netns/{space(name)}") as there:
        # `os.setns` came with Python 3.12.
        if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def main():
    atexit.register(clean)
    try:
        connect()
        translate()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"missing: network namespaces ({error})")
        return
    python = [sys.executable, os.path.join(HERE, "chain_service.py")]
    node = ["node", os.path.join(HERE, "chain_service.mjs")]
    try:
        first = node if kind == "loop" else python
        more = [f"{address('c')}:{port}"] if kind == "loop" else []
        others = [python, python]
        if kind == "goroutines":
            first, *others = [[built(f"chain-go-{version}")] for version in ["1.27", "1.21", "1.27"]]
        services = [serve("a", first, *more), serve("b", others[0]), serve("c", others[1])]
    except OSError as error:
        print(f"missing: {error}")
        return
    calls = []
    gatherers = [threading.Thread(target=gather, args=(one, calls)) for one in services]
    for one in gatherers:
        one.start()
    enter("client")
    wait_for_all()
    place = {name: f"{address(name)}:{port}" for name in NAMES}
    tree = f"{VIRTUAL}:{port}({place['c']}())"
    # These connections, and those that their requests have made, are older than the agent.
    older = [warm(tree) for _ in range(THREADS // 2)]
    print("ready", flush=True)
    sys.stdin.readline()
    load = Load(older, tree + f"{place['c']}({place['b']}())" if kind == "loop" else tree, THREADS)
    time.sleep(0.5)
    for service in services:
        service.terminate()
    for one in gatherers:
        one.join()
    roots = [[path, None, port] for path in load.paths]
    print(f"{len(roots)} requests in {load.took:.1f} s: {len(roots) / load.took:.0f} a second", file=sys.stderr)
    calls = [[called, by, port] for by, called in calls if not called.startswith("/0")]
    print(json.dumps(roots + calls))


def wait_for_all():
    for name in NAMES[:3]:
        for _ in range(400):
            try:
                probe = http.client.HTTPConnection(address(name), port, timeout=5)
                probe.request("GET", "/0/")
                assert probe.getresponse().read() == b"done"
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise AssertionError(f"{name} does not answer")


main()
