"""Asks a server for work, on several connections at a time: `PORT CONNECTIONS REQUESTS MILLIS`.

Each connection sends so many requests `/NAME/NUMBER/MILLIS`, one behind the other; one in ten on a new connection, and
the last of the first connection takes five seconds.
"""
import http.client
import sys
import threading

port, connections, requests, millis = map(int, sys.argv[1:])
NAMES = ["alpha", "beta", "gamma_", "delta"]


def ask(own):
    calling = http.client.HTTPConnection("127.0.0.1", port, timeout=None)
    for at in range(requests):
        if at % 10 == 9:
            calling.close()
        number = own * requests + at
        long = own == 0 and at == requests - 1
        calling.request("GET", f"/{NAMES[(own + at) % len(NAMES)]}/{number}/{5000 if long else millis}")
        assert calling.getresponse().read() == b"done"


threads = [threading.Thread(target=ask, args=(own,)) for own in range(connections)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
