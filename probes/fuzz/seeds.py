"""Makes seeds of the fuzz targets of recorded conversations: `seeds.py CORPUS`.

A seed of `connection` is a list of segments, each with a byte of flags (1: the server's), one of length,
and its bytes; one of `parser` has a byte in front that says which protocol it is for, and each
conversation is there for each of them. One of `within` has a byte in front that says which opening comes first. One of
`executable` says what kind it is, and its first quarter is code.
"""
import pathlib
import struct
import sys

PROTOCOLS_MAX = 24
corpus = pathlib.Path(sys.argv[1])
recordings = pathlib.Path(__file__).parent.parent / "src/protocol"
for target in ("connection", "parser", "within", "executable"):
    (corpus / target).mkdir(parents=True, exist_ok=True)
for path in sorted(recordings.glob("*/recorded*.txt")):
    name, seed = f"{path.parent.name}-{path.stem}", b""
    for line in path.read_text().splitlines():
        if line[:2] in ("> ", "< "):
            data, flags = bytes.fromhex(line[2:]), 0 if line[0] == ">" else 1
            for at in range(0, len(data), 255):
                seed += bytes((flags, len(data[at:at + 255]))) + data[at:at + 255]
    seed = seed[:60_000]
    (corpus / "connection" / name).write_bytes(seed)
    for protocol in range(PROTOCOLS_MAX):
        (corpus / "parser" / f"{name}-{protocol}").write_bytes(bytes((protocol << 2,)) + seed)


def within(name, opening, *messages):
    """Messages are those of the client and of the server in turn."""
    seed = b"".join(bytes((at % 2, len(data))) + data for at, data in enumerate(messages))
    for flags in range(4):
        (corpus / "within" / f"{name}-{flags}").write_bytes(bytes((opening << 2 | flags,)) + seed)


def message(flag, data):
    return struct.pack("!BI", flag, len(data)) + data


masked = bytes((0x81, 0x85, 1, 2, 3, 4)) + bytes(letter ^ key for letter, key in zip(b"hello", (1, 2, 3, 4, 1)))
within("websocket", 0, masked, b"\x82\x02hi\x89\0", b"\x88\x82\0\0\0\0\x03\xe8", b"\x88\x02\x03\xe8")
answer = message(0, b"abc") + message(0x80, b"grpc-status: 5\r\n")
within("web", 1, message(0, b"a"), answer)
for opening in (2, 3):
    within(f"text-{opening}", opening, b"AAAAAAFh", b"8\r\nAAAAAAFh\r\n" if opening == 3 else b"AAAAAAFigAAAABBncnBjLXN0YXR1czogMA0K")
for opening, kind in ((4, "lz4"), (5, "snappy"), (6, "segments"), (13, "packed")):
    path = recordings / "cassandra" / f"recorded-{kind}.txt"
    lines = [line for line in path.read_text().splitlines() if line[:2] in ("> ", "< ")]
    seed = bytes((opening << 2,))
    for line in lines:
        data = bytes.fromhex(line[2:])
        for at in range(0, len(data), 255):
            seed += bytes((0 if line[0] == ">" else 1, len(data[at:at + 255]))) + data[at:at + 255]
    (corpus / "within" / f"cassandra-{kind}").write_bytes(seed[:60_000])

# Go's table of functions, as it is since 1.20: a head, names, an index, and what each function is.
NAMES = (b"main.main", b"crypto/tls.(*Conn).Read", b"crypto/tls.(*Conn).Write", b"crypto/tls.(*Conn).clientHandshake",
         b"crypto/tls.(*Conn).serverHandshake")
names, index, described = b"\0", b"", b""
for number, name in enumerate(NAMES):
    place = len(names)
    names += name + b"\0"
    index += struct.pack("<II", 16 * number, len(NAMES) * 8 + 4 + len(described))
    described += struct.pack("<II4x", 16 * number, place)
index += struct.pack("<I", 16 * len(NAMES))
end = 72 + len(names)
table = b"\xf1\xff\xff\xff\0\0\1\x08" + struct.pack("<8Q", len(NAMES), 1, 0x1000, 72, end, end, end, end)
table += names + index + described
# cmp rsp, [r14+16]; jbe +9; mov eax, 1; ret; nop
code = b"\x49\x3b\x66\x10\x76\x09\xb8\1\0\0\0\xc3\x90\x90\x90\x90" * (len(table) // 48 + 1)
for kind in (1, 2):
    (corpus / "executable" / f"go-{kind}").write_bytes(bytes((kind,)) + code[:len(table) // 3] + table)


def errors(*reasons):
    # mov edi, 16; mov edx, reason; lea rcx, [rip + ...]; call; ret
    parts = [b"\xbf\x10\0\0\0\xba" + struct.pack("<I", one) + b"\x48\x8d\x0d\0\0\0\0\xe8\0\0\0\0\xc3" for one in reasons]
    return b"".join(parts)


def laid(code):
    return code + b"\xcc" * (-len(code) % 16)


# What does the work of reading; what reads, and calls it; what writes.
work = laid(errors(226, 50, 215))
read = b"\xe8" + struct.pack("<i", -len(work) - 5) + b"\x48\x8b\x43\x30\x48\x89\xc7\x48\x83\xc7\x50\xe8\0\0\0\0"
read = laid(read + errors(66))
write = laid(b"\x48\x89\xfd\x48\x8b\x47\x30\xc7\x80\xc4\0\0\0\0\0\0\0" + errors(66, 111, 215, 226))
code = work + read + write
starts = (0, len(work), len(work) + len(read), len(code))
# The constants, of 38 bytes, lie between code and frames.
frames_at = 0x1000 + (513 << 10) + 38
frames = b"\1\x1b\3\x3b\0\0\0\0" + struct.pack("<I", len(starts))
frames += b"".join(struct.pack("<iI", 0x1000 + start - frames_at, 0) for start in starts)
frames += bytes(max(0, 3 * len(code) - len(frames)))
(corpus / "executable" / "boring").write_bytes(b"\3" + code + frames)
