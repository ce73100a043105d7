"""Talks to redis-server (the port is the first argument) in every way that redis-py has, and by hand.

One connection is older than "ready"; the rest waits for a line on standard input.
"""
import socket
import sys
import time

import record_keeper as keeper

keeper.importable("redis")
import redis
from redis.connection import Connection

port = int(sys.argv[1])
socket.socket = keeper.CountingSocket


def code(error):
    """redis-py takes some codes off, and has classes for others."""
    known = {"NoScriptError": "NOSCRIPT", "ExecAbortError": "EXECABORT"}
    word = known.get(type(error).__name__, str(error).split()[0])
    return word if word.isupper() else "ERR"


def shown(words):
    return " ".join(str(word) for word in words)


class Client:
    """One connection, of which every command is written down."""

    def __init__(self, protocol=2):
        self.connection = Connection(host="127.0.0.1", port=port, protocol=protocol)
        self.connection.connect()
        self.name = self.connection._sock.getsockname()[1]
        keeper.taken()

    def ask(self, *words):
        start, status = time.time_ns(), None
        self.connection.send_command(*words)
        try:
            reply = self.connection.read_response()
        except redis.ResponseError as error:
            reply, status = error, code(error)
        sent, received = keeper.taken()
        keeper.note(self.name, words[0].upper(), shown(words), status, sent, received, start)
        return reply

    def pipeline(self, *commands):
        start = time.time_ns()
        packed = [b"".join(self.connection.pack_command(*words)) for words in commands]
        self.connection.send_packed_command(packed)
        replies = []
        for _ in commands:
            try:
                replies.append(self.connection.read_response())
            except redis.ResponseError as error:
                replies.append(error)
        keeper.taken()
        end = time.time_ns()
        for words, bytes_sent, reply in zip(commands, packed, replies):
            status = code(reply) if isinstance(reply, redis.ResponseError) else None
            keeper.note(self.name, words[0].upper(), shown(words), status, len(bytes_sent), None,
                        start, end)
        return replies


def one_by_one(client, rounds):
    for i in range(rounds):
        client.ask("SET", f"k{i}", "v" * (i * 37 % 500))
        client.ask("get", f"k{i}")
        client.ask("INCR", f"n{i % 7}")
        client.ask("LPUSH", f"k{i}", "x")
        client.ask("HSET", f"h{i}", "a", i, "b", i + 1)
        client.ask("HGETALL", f"h{i}")
        client.ask("RPUSH", f"l{i}", *range(i % 20 + 1))
        client.ask("LRANGE", f"l{i}", 0, -1)
        client.ask("GET", f"none{i}")
        client.ask("PING", f"round{i}")
        client.ask("EVALSHA", "0" * 40, 0)


def in_pipelines(client, rounds):
    for i in range(rounds):
        client.pipeline(*[("SET", f"p{i}.{j}", j) for j in range(i % 17 + 1)], ("INCR", f"p{i}.0"))
        client.pipeline(("MULTI",), ("SET", f"t{i}", i), ("INCR", f"t{i}"), ("EXEC",))
        client.pipeline(("MULTI",), ("LPUSH",), ("INCR", f"t{i}"), ("GET", f"p{i}.0"))
        client.pipeline(("EXEC",), ("SELECT", 3), ("GET", f"t{i}"), ("SELECT", 0))


def subscriber(rounds):
    client, speaker = Client(), Client()
    for i in range(rounds):
        start = time.time_ns()
        client.connection.send_command("SUBSCRIBE", f"c{i}", f"d{i}")
        [client.connection.read_response() for _ in range(2)]
        keeper.taken()
        keeper.note(client.name, "SUBSCRIBE", f"SUBSCRIBE c{i} d{i}", None, None, None, start)
        speaker.ask("PUBLISH", f"c{i}", "hello")
        speaker.ask("PUBLISH", f"d{i}", "there")
        [client.connection.read_response() for _ in range(2)]
        keeper.taken()
        client.ask("PING", f"sub{i}")
        client.ask("UNSUBSCRIBE", f"c{i}")
        client.ask("UNSUBSCRIBE", f"d{i}")
    client.ask("GET", "k0")


def large(client):
    for size in (5_000, 70_000, 1_100_000):
        start = time.time_ns()
        value = "L" * size
        client.connection.send_command("SET", "large", value)
        client.connection.read_response()
        sent, received = keeper.taken()
        keeper.note(client.name, "SET", None, None, sent, received, start)
        client.ask("GET", "large")
        client.ask("STRLEN", "large")


def by_hand():
    plain = socket.create_connection(("127.0.0.1", port))
    name = plain.getsockname()[1]
    for i in range(10):
        for line in (f"PING inline{i}", f"set inline{i} {i}", f"get inline{i}"):
            start = time.time_ns()
            plain.sendall(line.encode() + b"\r\n")
            received = len(plain.recv(4_096))
            keeper.note(name, line.split()[0].upper(), line, None, len(line) + 2, received, start)
    keeper.taken()
    # A command in three writes, between which the server reads.
    for part in (b"*2\r\n$4\r\nEC", b"HO\r\n$5\r", b"\nsplit\r\n"):
        start = time.time_ns() if part.startswith(b"*") else start
        plain.sendall(part)
        time.sleep(0.02)
    received = len(plain.recv(4_096))
    keeper.note(name, "ECHO", "ECHO split", None, 25, received, start)


older = Client()
older.ask("SET", "before", "1")
keeper.ready()
older.ask("GET", "before")
one_by_one(older, 3)
one_by_one(Client(protocol=3), 3)
large(Client())
by_hand()
subscriber(5)
keeper.together(lambda: one_by_one(Client(), 10), lambda: one_by_one(Client(3), 10),
                lambda: in_pipelines(Client(), 10), lambda: in_pipelines(Client(3), 10))
keeper.finish()
