"""A WebSocket server; prints its port. Echoes what comes; /push/N sends N messages first; /fail ends
with an error of the server at the first message; /no is refused.
"""
import asyncio
import http

from record_keeper import importable

importable("websockets")
from websockets.asyncio.server import serve  # noqa: E402


async def handle(connection):
    _, what, *figures = connection.request.path.split("?")[0].split("/")
    for size in range(int(figures[0]) if what == "push" else 0):
        await connection.send("p" * size)
    async for message in connection:
        if what == "fail":
            raise RuntimeError("as was asked")
        await connection.send(message)


def refuse(connection, request):
    if request.path.startswith("/no"):
        return connection.respond(http.HTTPStatus.FORBIDDEN, "no\n")


async def main():
    import logging
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    async with serve(handle, "127.0.0.1", 0, compression=None, max_size=None, process_request=refuse) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
