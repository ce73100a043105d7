"""A service that calls others while it serves, with no header that says for whom.

The path of a request says what is to be called: `/ID/TREE`, where TREE is a list of `PLACE:PORT(TREE)`.
Each call that is made is written to standard output as `own path<tab>called path`: what a span's parent
has to be. Every request has a thread of its own that waits for it.
"""
import http.client
import http.server
import sys
import threading

written = threading.Lock()
kept = threading.local()


def branches(tree):
    """The outermost `PLACE:PORT(TREE)` of a list."""
    depth, start = 0, 0
    for at, letter in enumerate(tree):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and depth == 0:
            place, rest = tree[start:at].split("(", 1)
            yield place, rest
            start = at + 1


def connection(place):
    """The connection of this thread to a place; one in ten calls makes a new one."""
    places = kept.__dict__.setdefault("places", {})
    kept.calls = getattr(kept, "calls", 0) + 1
    if kept.calls % 10 == 0 and place in places:
        places.pop(place).close()
    if place not in places:
        places[place] = http.client.HTTPConnection(place, timeout=None)
    return places[place]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, number, tree = self.path.split("/", 2)
        for at, (place, rest) in enumerate(branches(tree)):
            path = f"/{number}.{at}/{rest}"
            with written:
                print(f"{self.path}\t{path}", flush=True)
            calling = connection(place)
            calling.request("GET", path)
            assert calling.getresponse().read() == b"done"
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
