"""An HTTP/1.1 server with keep-alive; prints its port. With `CERTIFICATE KEY` it speaks TLS.

/bytes/N          N bytes, with Content-Length
/chunked/N/C      N bytes in chunks of C, each chunk with its framing in one write
/status/S         no body
POST, PUT         answers with the length of what came
"""
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        self.send_response(status)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        what, *figures = self.path.split("?")[0].strip("/").split("/")
        if what == "status":
            return self.answer(int(figures[0]), b"")
        if what == "bytes":
            return self.answer(200, b"b" * int(figures[0]))
        size, chunk = map(int, figures)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while size:
            part = min(size, chunk)
            self.wfile.write(b"%x\r\n%s\r\n" % (part, b"c" * part))
            size -= part
        self.wfile.write(b"0\r\n\r\n")

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, str(len(body)).encode())

    do_PUT = do_POST


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
