"""Talks to the WebSocket server at the port that is given, several connections at a time, and prints
for each what it did as a JSON list. What it does not know for certain is null.
"""
import asyncio
import itertools
import json
import sys
import time

from record_keeper import importable

importable("websockets")
from websockets.asyncio.client import connect  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

port = int(sys.argv[1])
records, numbers = [], itertools.count()
SIZES = [0, 1, 125, 126, 4_000, 65_535, 65_536, 300_000]


async def talk(path, messages, code=1000, cut_off=False):
    target = f"{path}?number={next(numbers)}"
    start, upgraded, got, status = time.time_ns(), None, [], 101
    sent, pushed = [], int(path.split("/")[2]) if path.startswith("/push") else 0
    try:
        async with connect(f"ws://127.0.0.1:{port}{target}", compression=None, max_size=None,
                           ping_interval=None) as connection:
            upgraded = time.time_ns()
            for _ in range(pushed):
                got.append(await connection.recv())
            for message in messages:
                sent.append(message)
                await connection.send(message)
                got.append(await connection.recv())
            await (await connection.ping())
            if cut_off:
                connection.transport.abort()
                code = None
            else:
                await connection.close(code)
    except InvalidStatus as refused:
        status = refused.response.status_code
    except ConnectionClosed as closed:
        code = closed.rcvd.code
    sizes = [[len(way), sum(map(len, way))] for way in (sent, got)]
    records.append(dict(target=target, status=status, code=code, sent=sizes[0], received=sizes[1],
                        start=start, upgraded=upgraded, end=time.time_ns(), cut_off=cut_off))


async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    for size in SIZES:
        await talk("/echo", ["t" * size, b"b" * size] * 5)
    await asyncio.gather(*(talk("/echo", [f"{at}" * 10 for at in range(25)]) for _ in range(10)))
    await talk("/push/20", ["x"])
    await talk("/echo", [], code=1001)
    await talk("/echo", ["y"], code=4000)
    await talk("/fail", ["z"])
    await talk("/echo", ["cut"], cut_off=True)
    await talk("/no", [])


asyncio.run(main())
print(json.dumps(records))
