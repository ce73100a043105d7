"""A server of HTTP/1.1 for what well-behaved servers do not do; prints its port.

GET /torn/N/M      says N bytes, sends M of them, and resets the connection
CONNECT HOST:PORT  goes on as a tunnel
"""
import socket
import struct
import threading

NOW = struct.pack("ii", 1, 0)


def pump(source, to):
    while data := source.recv(65_536):
        to.sendall(data)
    to.shutdown(socket.SHUT_WR)


def serve(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(65_536)
    method, target, _ = head.decode().split(" ", 2)
    if method == "CONNECT":
        host, port = target.split(":")
        behind = socket.create_connection((host, int(port)))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=pump, args=(behind, connection)).start()
        return pump(connection, behind)
    _, _, said, sent = target.split("?")[0].split("/")
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n" % said.encode() + b"t" * int(sent))
    # The client says that it has read them.
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
    connection.close()


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],)).start()
