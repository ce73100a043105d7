"""Moves known bytes over TCP with every system call that can, both ends in this process.

First a connection is opened and "ready" printed; the rest waits for a line on standard input.
Then one JSON line is printed for each connection: its name, both ports, and how many bytes went
each way. The bytes are a head and then a pattern of their position, so that they need no telling.
"""
import ctypes
import json
import os
import socket
import sys
import tempfile
import threading

libc = ctypes.CDLL(None, use_errno=True)
SO_COOKIE = 57
REQUEST, RESPONSE = b"POST /x HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n"


def pattern(head, size):
    return (head + bytes((i * 31 + 7) & 0xFF for i in range(len(head), size)))[:size]


class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class MsgHdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(IoVec)),
        ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class MMsgHdr(ctypes.Structure):
    _fields_ = [("hdr", MsgHdr), ("len", ctypes.c_uint)]


def messages(buffers):
    array = (MMsgHdr * len(buffers))()
    for entry, buffer in zip(array, buffers):
        entry.hdr.iov = ctypes.pointer(IoVec(ctypes.addressof(buffer), len(buffer)))
        entry.hdr.iovlen = 1
    return array


def parts(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)]


def sendmmsg(sock, data):
    pieces = parts(data, -(-len(data) // 3))
    buffers = [(ctypes.c_char * len(p)).from_buffer_copy(p) for p in pieces]
    sent = libc.sendmmsg(sock.fileno(), messages(buffers), len(buffers), 0)
    assert sent == len(buffers), ctypes.get_errno()


def recvmmsg(sock, size):
    buffers = [(ctypes.c_char * (size // 3))() for _ in range(3)]
    array = messages(buffers)
    count = libc.recvmmsg(sock.fileno(), array, 3, 0, None)
    assert count > 0
    return b"".join(b.raw[:m.len] for b, m in zip(buffers[:count], array[:count]))


def writev(sock, data):
    os.writev(sock.fileno(), parts(data, 3))


def sendmsg(sock, data):
    sock.sendmsg([data[:5], b"", data[5:40], data[40:]])


def sendfile(sock, data):
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        at = 0
        while at < len(data):
            at += os.sendfile(sock.fileno(), file.fileno(), at, len(data) - at)


def after_head(send):
    """Sends the head by itself, so that what follows is known to be HTTP."""
    def both(sock, data):
        sock.send(data[:30])
        send(sock, data[30:])
    return both


def splice(sock, data):
    reader, writer = os.pipe()
    os.write(writer, data)
    assert os.splice(reader, sock.fileno(), len(data)) == len(data)
    os.close(reader)
    os.close(writer)


def one_by_one(sock, data):
    for i in range(len(data)):
        os.write(sock.fileno(), data[i:i + 1])


def partial(sock, data):
    """Writes as much as fits, again and again."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    sock.setblocking(False)
    while data:
        try:
            data = data[os.write(sock.fileno(), data):]
        except BlockingIOError:
            pass
    sock.setblocking(True)


def all_of(receive):
    def loop(sock, size):
        got = b""
        while len(got) < size:
            more = receive(sock, size - len(got))
            assert more, "closed early"
            got += more
        return got
    return loop


def readv(sock, size):
    buffers = [bytearray(7), bytearray(100), bytearray(4000)]
    got = os.readv(sock.fileno(), buffers)
    return b"".join(buffers)[:got]


def recvmsg(sock, size):
    buffers = [bytearray(11), bytearray(2000)]
    got = sock.recvmsg_into(buffers)[0]
    return b"".join(buffers)[:got]


def peek(sock, size):
    sock.recv(size, socket.MSG_PEEK)
    return sock.recv(size)


def discard(sock, size):
    got = sock.recv(10)
    rest = size - 10
    while rest:
        rest -= sock.recv_into(bytearray(rest), rest, socket.MSG_TRUNC)
    return pattern(REQUEST, size)


def plain(sock, size):
    return sock.recv(size)


def read(sock, size):
    return os.read(sock.fileno(), 1000)


SEND, LOCAL = socket.socket.sendall, ("127.0.0.1", socket.AF_INET)
CASES = [
    ("plain", SEND, all_of(plain), 100, LOCAL),
    ("write and read", lambda s, d: os.write(s.fileno(), d), all_of(read), 5_000, LOCAL),
    ("one by one", one_by_one, all_of(plain), 40, LOCAL),
    ("many parts", writev, all_of(readv), 3_000, LOCAL),
    ("messages", sendmsg, all_of(recvmsg), 9_000, LOCAL),
    ("several messages", sendmmsg, all_of(plain), 3_000, LOCAL),
    ("several received", SEND, all_of(recvmmsg), 3_000, LOCAL),
    ("file", after_head(sendfile), all_of(plain), 100_000, LOCAL),
    ("pipe", after_head(splice), all_of(plain), 9_000, LOCAL),
    ("large", SEND, all_of(plain), 1_000_000, LOCAL),
    ("partial", partial, all_of(read), 200_000, LOCAL),
    ("peeked", SEND, all_of(peek), 100, LOCAL),
    ("discarded", SEND, discard, 4_000, LOCAL),
    ("ipv6", SEND, all_of(plain), 100, ("::1", socket.AF_INET6)),
    ("mapped", SEND, all_of(plain), 100, ("::ffff:127.0.0.1", socket.AF_INET6)),
    ("reused", SEND, all_of(plain), 100, LOCAL),
    ("reused again", SEND, all_of(plain), 100, LOCAL),
]


def connect(address, family):
    listener = socket.create_server(
        ("::" if family == socket.AF_INET6 else address, 0),
        family=family, dualstack_ipv6=family == socket.AF_INET6)
    client = socket.create_connection((address, listener.getsockname()[1]))
    server, _ = listener.accept()
    listener.close()
    return client, server


def exchange(name, send, receive, size, client, server):
    request, response = pattern(REQUEST, size), pattern(RESPONSE, 50)
    ports = client.getsockname()[1], server.getsockname()[1]
    thread = threading.Thread(target=send, args=(client, request))
    thread.start()
    got = receive(server, size)
    thread.join()
    assert got == request, name
    server.sendall(response)
    assert all_of(plain)(client, len(response)) == response
    client.close()
    server.close()
    tell(name, ports, size, len(response))


def tell(name, ports, request, response):
    print(json.dumps({"name": name, "client": ports[0], "server": ports[1],
                      "request": request, "response": response}), flush=True)


def named_amid(client, server):
    """Both sockets are given their cookies between two calls, and one end stops sending before it is
    answered. What is known of the connection is older than both."""
    request, response = pattern(REQUEST, 100), pattern(RESPONSE, 50)
    ports = client.getsockname()[1], server.getsockname()[1]
    client.sendall(request[:60])
    assert all_of(plain)(server, 60) == request[:60]
    assert all(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8) != bytes(8) for sock in (client, server))
    client.sendall(request[60:])
    client.shutdown(socket.SHUT_WR)
    assert all_of(plain)(server, 40) == request[60:]
    server.sendall(response)
    assert all_of(plain)(client, len(response)) == response
    tell("older, named amid", ports, len(request), len(response))
    client.close()
    server.close()


def main():
    older, another = connect(*LOCAL), connect(*LOCAL)
    print("ready", flush=True)
    sys.stdin.readline()
    exchange("older", SEND, all_of(plain), 100, *older)
    named_amid(*another)
    for name, send, receive, size, where in CASES:
        exchange(name, send, receive, size, *connect(*where))


main()
