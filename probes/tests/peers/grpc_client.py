"""Makes gRPC calls of all kinds to the server at the port that is given, several at a time, and
prints what it did as a JSON list. Every call has a method of its own, so that it can be told.

`grpc_client.py PORT [CERTIFICATE]`: with the latter inside TLS, where a connection that is older than the agent
makes some calls before, which may be missed.

Bytes are those of messages with their five bytes of prefix; what a call does not know for certain
is null.
"""
import itertools
import json
import sys
import threading
import time

from record_keeper import importable, together

importable("grpc")
import grpc  # noqa: E402

target = f"127.0.0.1:{sys.argv[1]}"
records, lock, numbers = [], threading.Lock(), itertools.count()
SIZES = [0, 1, 100, 4_000, 70_000, 300_000]


def framed(messages):
    return sum(len(message) + 5 for message in messages)


def note(method, status, sent, received, start):
    sizes = [None if part is None else [len(part), framed(part)] for part in (sent, received)]
    with lock:
        records.append(dict(method=method, status=status, sent=sizes[0], received=sizes[1],
                            start=start, end=time.time_ns()))


def call(channel, kind, requests, timeout=None, cancel_after=None):
    """One call, which sends all requests and reads all answers."""
    number = next(numbers)
    method = f"{kind}_{number}" if kind[-1].isdigit() else f"{kind}{number}"
    path = f"shop.Service{number % 3}/{method}"
    streams = kind in ("Up", "Both"), kind.startswith(("Down", "Both", "Late"))
    start, received, status = time.time_ns(), [], "OK"
    try:
        if streams[0]:
            answers = getattr(channel, "stream_stream" if streams[1] else "stream_unary")(f"/{path}")(
                iter(requests), timeout=timeout)
        else:
            answers = getattr(channel, "unary_stream" if streams[1] else "unary_unary")(f"/{path}")(
                requests[0], timeout=timeout)
        if not streams[1]:
            received.append(answers)
        for answer in answers if streams[1] else ():
            received.append(answer)
    except grpc.RpcError as error:
        status = error.code().name
    whole = status not in ("DEADLINE_EXCEEDED", "CANCELLED") or kind.startswith("Fail")
    if not whole:
        behind(channel)
    note(path, status, requests, received if whole else None, start)


def behind(channel):
    """A call that is answered after the server has read what ended the one before it: a client is
    done with a call that it gives up before the server knows."""
    call(channel, "Unary", [b"behind"])


def turn(channel, index):
    size = SIZES[index % len(SIZES)]
    message = b"m" * size
    call(channel, "Unary", [message])
    call(channel, f"Fail_{index % 16 + 1}", [message[:1_000]])
    call(channel, "Up", [message[:at] for at in range(index % 5)])
    call(channel, "Down", [b"x" * (index % 7)])
    call(channel, "Both", [message[:200]] * (index % 4))
    call(channel, f"Late_{index % 16 + 1}", [b"xyz"])
    call(channel, "Nothing", [b"n"])


def cancelled(channel):
    number = next(numbers)
    path, start = f"shop.Service{number % 3}/Slow{number}", time.time_ns()
    pending = channel.unary_unary(f"/{path}").future(b"slow")
    time.sleep(0.05)
    pending.cancel()
    behind(channel)
    note(path, "CANCELLED", [b"slow"], None, start)


def abandoned(channel):
    call(channel, "Slow", [b"slow"], timeout=0.15)


def own(index):
    # Without options channels to one target share their connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        return grpc.insecure_channel(target, options=options)
    options.append(("grpc.ssl_target_name_override", "localhost"))
    return grpc.secure_channel(target, credentials, options=options)


credentials = None
if len(sys.argv) > 2:
    with open(sys.argv[2], "rb") as certificate:
        credentials = grpc.ssl_channel_credentials(certificate.read())
older = own(0)
older.unary_unary("/shop.Before/Unary")(b"before")
print("ready", flush=True)
sys.stdin.readline()
if credentials is not None:
    for index in range(8):
        older.unary_unary(f"/shop.Early/Unary{index}")(b"early" * index)
call(older, "Unary", [b"older"])
records[0]["older"] = True
shared, single = own(1), [own(2), own(3)]
for index in range(6):
    turn(single[index % 2], index)
together(*(lambda index=index: [turn(shared, index + 8 * again) for again in range(3)]
           for index in range(8)))
together(*(lambda: cancelled(shared) for _ in range(4)), *(lambda: abandoned(shared) for _ in range(4)))
for channel in (older, shared, *single):
    channel.close()
print(json.dumps(records))
