"""An ordinary keep-alive HTTP/1.1 server from Python's standard library: http_server.py PORT

GET /bytes/N answers N bytes, /chunked/N the same in chunks, /status/N that status with a short body;
POST and PUT /echo answer the body that they got, DELETE answers 204; HEAD /bytes/N only the length.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, send=True):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if send and status != 204:
            self.wfile.write(body)

    def do_GET(self):
        kind, _, number = urlsplit(self.path).path.strip("/").partition("/")
        if kind == "bytes":
            self.answer(200, b"x" * int(number), self.command != "HEAD")
        elif kind == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            left = int(number)
            while left:
                part = min(left, 30_000)
                self.wfile.write(b"%x\r\n%s\r\n" % (part, b"y" * part))
                left -= part
            self.wfile.write(b"0\r\n\r\n")
        elif kind == "status":
            self.answer(int(number), b"status\n")
        else:
            self.answer(404, b"no such page\n")

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(201 if self.command == "POST" else 200, body)

    do_PUT = do_POST

    def do_DELETE(self):
        self.answer(204, b"")

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
