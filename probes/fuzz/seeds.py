"""Makes seeds of the fuzz targets of recorded conversations: `seeds.py CORPUS`.

A seed of `connection` is a list of segments, each with a byte of flags (1: the server's), one of length,
and its bytes; one of `parser` has a byte in front that says which protocol it is for, and each
conversation is there for each of them.
"""
import pathlib
import sys

PROTOCOLS_MAX = 24
corpus = pathlib.Path(sys.argv[1])
recordings = pathlib.Path(__file__).parent.parent / "src/protocol"
for target in ("connection", "parser"):
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
