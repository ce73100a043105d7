"""What the clients of the database tests have in common: writing down what they did.

An operation is [connection, operation, text, collection, status, sent, received, start, end], where
the connection is the local port. Bytes are counted at the socket, so that nobody's word but the
wire's is taken for them.
"""
import faulthandler
import json
import socket
import sys
import threading
import time

# Whoever waits for ever says where, and the test fails.
faulthandler.dump_traceback_later(240, exit=True)
records = []
lock = threading.Lock()
counted = threading.local()


def _count(way, size):
    setattr(counted, way, getattr(counted, way, 0) + size)


class CountingSocket(socket.socket):
    """A socket that tells how much its thread has sent and received."""

    def send(self, data, *rest):
        sent = super().send(data, *rest)
        _count("sent", sent)
        return sent

    def sendall(self, data, *rest):
        super().sendall(data, *rest)
        _count("sent", len(data))

    def recv(self, *rest):
        data = super().recv(*rest)
        _count("received", len(data))
        return data

    def recv_into(self, *rest, **named):
        size = super().recv_into(*rest, **named)
        _count("received", size)
        return size


def taken():
    """Bytes sent and received by this thread since the last call."""
    sizes = getattr(counted, "sent", 0), getattr(counted, "received", 0)
    counted.sent = counted.received = 0
    return sizes


def note(connection, operation, text, status, sent, received, start, end=None, collection=None):
    with lock:
        records.append(dict(connection=connection, operation=operation, text=text, status=status,
                            collection=collection, sent=sent, received=received, start=start,
                            end=end or time.time_ns()))


def begin(connection, operation, sent=None):
    """Takes a place for an operation among those of its connection; returns its number."""
    with lock:
        records.append(dict(connection=connection, operation=operation, sent=sent))
        return len(records) - 1


def end(number, start, status, collection=None, text=None, received=None):
    """The operation that has this place is over."""
    done = time.time_ns()
    with lock:
        # It began before the agent came, or is over already.
        if number < len(records) and "start" not in records[number]:
            records[number].update(text=text, collection=collection, status=status,
                                   received=received, start=start, end=done)


def ready():
    """What was done so far happened before the agent came."""
    records.clear()
    taken()
    print("ready", flush=True)
    sys.stdin.readline()


def together(*works):
    """Runs all of them at once; any failure is everybody's."""
    failed = []

    def guarded(work):
        try:
            work()
        except BaseException as error:
            failed.append(error)
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    if failed:
        raise failed[0]


def finish():
    print(json.dumps(records))


def importable(*names):
    """Says so where a library is not installed."""
    for name in names:
        try:
            __import__(name)
        except ImportError:
            print(f"missing the Python package {name}", flush=True)
            sys.exit(0)
