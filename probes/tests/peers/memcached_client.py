"""Talks to memcached (the port is the first argument) through pymemcache, and by hand.

One connection is older than "ready"; the rest waits for a line on standard input.
"""
import socket
import sys
import time

import record_keeper as keeper

keeper.importable("pymemcache")
from pymemcache.client.base import Client as Library
from pymemcache import exceptions

port = int(sys.argv[1])


class Module:
    """What pymemcache uses of `socket`, counted."""
    def __getattr__(self, name):
        return keeper.CountingSocket if name == "socket" else getattr(socket, name)


class Client:
    """One connection, of which every command is written down."""

    def __init__(self):
        self.library = Library(("127.0.0.1", port), socket_module=Module(), no_delay=True)
        self.again()

    def run(self, text, function, *arguments, errors=None, sizes=True, **options):
        start, status = time.time_ns(), None
        try:
            function(*arguments, **options)
        except exceptions.MemcacheServerError:
            status = "SERVER_ERROR"
        except exceptions.MemcacheClientError:
            status = "CLIENT_ERROR"
        sent, received = keeper.taken()
        if status:
            # The library closes a connection on which there was an error, after it was read.
            received = None
        keeper.note(self.name, text.split()[0], text, status, sent, received, start)

    def again(self):
        """The library connects with the first command."""
        start = time.time_ns()
        self.library.version()
        self.name = self.library.sock.getsockname()[1]
        sent, received = keeper.taken()
        keeper.note(self.name, "version", "version", None, sent, received, start)


def one_by_one(client, rounds, tag):
    it = client.library
    for i in range(rounds):
        key, size = f"k{tag}{i}", i * 97 % 3_000
        client.run(f"set {key} 0 0 {size}", it.set, key, "v" * size, noreply=False)
        client.run(f"get {key}", it.get, key)
        client.run(f"get none{i}", it.get, f"none{i}")
        client.run(f"get {key} none x", it.get_many, [key, "none", "x"])
        client.run(f"add {key} 0 0 1", it.add, key, "x", noreply=False)
        client.run(f"set n{tag} 0 0 {len(str(i))} noreply", it.set, f"n{tag}", str(i), noreply=True)
        client.run(f"incr n{tag} 3", it.incr, f"n{tag}", 3)
        client.run(f"gets {key}", it.gets, key)
        client.run(f"cas {key} 0 0 1 1", it.cas, key, "x", "1", noreply=False)
        client.run(f"touch {key} 60", it.touch, key, 60, noreply=False)
        client.run(f"delete {key}", it.delete, key, noreply=False)
        client.run(f"delete {key} noreply", it.delete, key, noreply=True)
        client.run("stats", it.stats)
        client.run("version", it.version)


def failing(rounds):
    for i in range(rounds):
        client = Client()
        client.run(f"set word{i} 0 0 3", client.library.set, f"word{i}", "abc", noreply=False)
        client.run(f"incr word{i} 1", client.library.incr, f"word{i}", 1)
        client.again()
        # Larger than the server takes.
        client.run(f"set large 0 0 {3 << 20}", client.library.set, "large", "L" * (3 << 20), noreply=False)


def by_hand(rounds):
    plain = socket.create_connection(("127.0.0.1", port))
    name, received = plain.getsockname()[1], b""
    for i in range(rounds):
        batch = [(f"ms m{i} 2 T60", "\r\nhi\r\n", "HD\r\n"), (f"mg m{i} v", "\r\n", "VA 2\r\nhi\r\n"),
                 (f"mg x{i} v q O{i}", "\r\n", ""), (f"mg m{i} v q O{i}b", "\r\n", f"VA 2 O{i}b\r\nhi\r\n"),
                 ("mn", "\r\n", "MN\r\n"), (f"get m{i}", "\r\n", f"VALUE m{i} 0 2\r\nhi\r\nEND\r\n"),
                 (f"frob{i}", "\r\n", "ERROR\r\n")]
        start = time.time_ns()
        plain.sendall("".join(text + end for text, end, _ in batch).encode())
        wanted = sum(len(answer) for _, _, answer in batch)
        got = 0
        while got < wanted:
            got += len(plain.recv(65_536))
        end = time.time_ns()
        for text, rest, answer in batch:
            status = "ERROR" if text.startswith("frob") else None
            keeper.note(name, text.split()[0], text, status, len(text + rest), len(answer), start, end)
    keeper.taken()


older = Client()
keeper.ready()
older.run("get first", older.library.get, "first")
one_by_one(older, 2, "o")
by_hand(8)
failing(3)
keeper.together(lambda: one_by_one(Client(), 8, "a"), lambda: one_by_one(Client(), 8, "b"),
                lambda: one_by_one(Client(), 8, "c"), lambda: by_hand(10))
keeper.finish()
