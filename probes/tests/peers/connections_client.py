"""Opens, uses and ends TCP connections in many ways, and writes down what it and `ss` know of each.

Both ends are processes of their own. What passes is random: no protocol is there to be told.
"""

import ctypes
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

LINGER_NONE = struct.pack("ii", 1, 0)
PR_SET_PDEATHSIG = 1
PRIVATE = ["ip", "netns", "exec"]


def serve(listener):
    """Obeys the lines of each connection: how much to read, how much to send, how to end."""
    while True:
        connection, _ = listener.accept()
        if os.fork() > 0:
            connection.close()
            continue
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        listener.close()
        try:
            obey(connection)
        except ConnectionResetError:
            pass
        connection.close()
        os._exit(0)


def obey(connection):
    stream = connection.makefile("rb")
    while line := stream.readline():
        expected, answer, ending = line.split()
        stream.read(int(expected))
        connection.sendall(os.urandom(int(answer)))
        if ending == b"reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        if ending != b"stay":
            break
    stream.close()


def witness(port, space=None):
    """What `ss` says of the socket with this local port."""
    command = [*(PRIVATE + [space] if space else []), "ss", "-tinH", f"sport = :{port}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    number = lambda name: int((re.findall(rf"\b{name}:(\d+)", said) or ["0"])[0])
    return {
        "sent": number("bytes_sent") - number("bytes_retrans"),
        "received": number("bytes_received"),
        "retransmits": int((re.findall(r"retrans:\d+/(\d+)", said) or ["0"])[0]),
        "rtt_ms": float((re.findall(r"\brtt:([\d.]+)", said) or ["0"])[0]),
    }


def ask(client, send, answer, ending):
    head = f"{send} {answer} {ending}\n".encode()
    client.sendall(head + os.urandom(send))
    left = answer
    while left > 0:
        left -= len(client.recv(min(left, 65536)))
    return len(head) + send


def row(kind, client, peer, seen, endings, error=None):
    return {
        "kind": kind,
        "local_port": client.getsockname()[1],
        "peer_port": peer[1],
        "address": peer[0],
        "endings": endings,
        "error": error,
        **seen,
    }


def one(kind, peer, send, answer):
    """A connection from its begin to its end."""
    started = time.time_ns()
    client = socket.create_connection(peer[:2])
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sent = ask(client, send, answer, "stay")
    seen = witness(client.getsockname()[1])
    assert (seen["sent"], seen["received"]) == (sent, answer), (kind, seen, sent, answer)
    if kind.startswith("server"):
        sent += ask(client, 0, 0, "reset" if kind == "server_reset" else "close")
    seen.update(sent=sent, start=started)
    endings = ["closed_local", "closed_remote"]
    if kind == "client_reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        endings = ["reset_local", "reset_remote"]
    elif kind == "server":
        assert client.recv(1) == b""
        endings = ["closed_remote", "closed_local"]
    elif kind == "server_reset":
        endings = ["reset_remote", "reset_local"]
        try:
            client.recv(1)
            raise AssertionError("no reset")
        except ConnectionResetError:
            pass
    told = row(kind, client, peer, seen, endings)
    client.close()
    return {**told, "end": time.time_ns()}


def not_made(kind, peer, error, patience=None):
    client = socket.socket()
    client.settimeout(patience)
    client.bind(("127.0.0.1", 0))
    nothing = {"sent": 0, "received": 0, "retransmits": 0, "rtt_ms": 0, "start": time.time_ns()}
    port = client.getsockname()[1]
    try:
        client.connect(peer)
        raise AssertionError("connected")
    except OSError:
        pass
    if patience:
        nothing["retransmits"] = witness(port)["retransmits"]
    told = {**row(kind, client, peer, nothing, ["not_connected", None], error), "local_port": port}
    client.close()
    return {**told, "end": time.time_ns()}


def listen(address="127.0.0.1", backlog=64):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, 0))
    listener.listen(backlog)
    return listener


def server(address="127.0.0.1"):
    """Starts a process that serves, and ends with this one. Where it does."""
    listener = listen(address)
    where = listener.getsockname()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        sys.stdin.close()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        serve(listener)
    listener.close()
    return where


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def lossy():
    """A connection between two network namespaces whose segments go astray for a while."""
    mine, theirs = f"ice{os.getpid()}a", f"ice{os.getpid()}b"
    try:
        ip("netns", "add", mine)
        ip("netns", "add", theirs)
        ip("link", "add", "va", "netns", mine, "type", "veth", "peer", "name", "vb", "netns", theirs)
        for space, device, address in ((mine, "va", "10.99.0.1"), (theirs, "vb", "10.99.0.2")):
            ip("-n", space, "addr", "add", f"{address}/24", "dev", device)
            ip("-n", space, "link", "set", device, "up")
        return in_namespaces(mine, theirs)
    finally:
        for space in (mine, theirs):
            subprocess.run(["ip", "netns", "del", space], capture_output=True)


def in_namespaces(mine, theirs):
    there, here = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        enter(theirs)
        os.write(there[1], json.dumps(server("10.99.0.2")).encode())
        os.read(here[0], 1)
        os._exit(0)
    where = json.loads(os.read(there[0], 4096))
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    enter(mine)
    started = time.time_ns()
    client = socket.create_connection(where)
    sent = ask(client, 1000, 10, "stay")
    neighbour = ("-n", mine, "neigh", "replace", "10.99.0.2", "dev", "va", "nud", "permanent", "lladdr")
    with open("/proc/self/net/arp") as table:
        right = next(line.split()[3] for line in table if line.startswith("10.99.0.2 "))
    ip(*neighbour, "02:00:00:00:00:99")
    client.sendall(b"2000 20 stay\n" + os.urandom(2000))
    sent += len(b"2000 20 stay\n") + 2000
    port = client.getsockname()[1]
    while witness(port)["retransmits"] < 3:
        time.sleep(0.05)
    ip(*neighbour, right)
    left = 20
    while left > 0:
        left -= len(client.recv(left))
    seen = witness(port)
    assert seen["sent"] == sent and seen["received"] == 30, seen
    told = row("lossy", client, where, {**seen, "start": started}, ["closed_local", "closed_remote"])
    client.close()
    told["end"] = time.time_ns()
    # The other end closes when it has read all.
    time.sleep(0.2)
    enter_descriptor(home)
    os.write(here[1], b"x")
    os.waitpid(child, 0)
    return told


def enter(space):
    enter_descriptor(os.open(f"/run/netns/{space}", os.O_RDONLY))


def enter_descriptor(descriptor):
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def main():
    peers = server(), server("::1")
    older = socket.create_connection(peers[0])
    ask(older, 70_000, 70_000, "stay")
    print("ready", flush=True)
    sys.stdin.readline()
    rows = []
    kinds = ["client", "server", "client_reset", "server_reset"]
    for at in range(48):
        rows.append(one(kinds[at % 4], peers[at // 4 % 2], at * 997, at * 1499))
    nobody = listen()
    closed = nobody.getsockname()
    nobody.close()
    rows.append(not_made("refused", closed, "ECONNREFUSED"))
    full = listen(backlog=0)
    waiting = socket.create_connection(full.getsockname())
    rows.append(not_made("full", full.getsockname(), "abandoned", patience=1.5))
    if os.geteuid() == 0:
        rows.append(lossy())
    sent = ask(older, 5_000, 6_000, "stay")
    seen = {**witness(older.getsockname()[1]), "sent": sent, "received": 6_000}
    seen.update(start=0, end=time.time_ns())
    rows.append(row("older", older, peers[0], seen, [None, None]))
    backlog = row("listens", full, full.getsockname(), {"sent": 0, "received": 0}, [None, None])
    rows.append({**backlog, "retransmits": 0, "rtt_ms": 0, "start": 0, "end": 0})
    # What is open is found by the agent's last walk.
    print(json.dumps(rows), flush=True)
    os.close(1)
    signal.pause()


main()
