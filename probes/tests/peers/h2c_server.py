"""A server of HTTP/1.1 that goes on as HTTP/2 when it is asked to; prints its port. Answers /bytes/N.
"""
import socketserver

try:
    import h2.connection
    import h2.events
except ImportError:
    print("missing the Python package h2", flush=True)
    raise SystemExit

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
FRAME_BYTES = 16_384


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.request.recv(65_536)
        line, *headers = head.decode().split("\r\n")
        settings = [one.split(": ")[1] for one in headers if one.lower().startswith("http2-settings")]
        self.request.sendall(SWITCH)
        self.connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.connection.initiate_upgrade_connection(settings[0])
        self.answer(1, line.split(" ")[1])
        while data := self.request.recv(65_536):
            for event in self.connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.answer(event.stream_id, dict(event.headers)[":path"])
            self.flush()

    def answer(self, stream, path):
        size = int(path.split("?")[0].rsplit("/")[-1])
        self.connection.send_headers(stream, [(":status", "200"), ("content-length", str(size))])
        while size > FRAME_BYTES:
            self.connection.send_data(stream, b"u" * FRAME_BYTES)
            size -= FRAME_BYTES
        self.connection.send_data(stream, b"u" * size, end_stream=True)
        self.flush()

    def flush(self):
        self.request.sendall(self.connection.data_to_send())


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
