"""Makes seeds for the fuzz targets out of what a real Icecore keeps.

    seeds.py DATA_DIR CORPUS_FOLDER

DATA_DIR is that of an Icecore that took load in and was stopped; CORPUS_FOLDER gets a folder a target.
"""

import hashlib
import pathlib
import sys

import pyarrow.parquet

data, corpus = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
bucket = data / "bucket"


def seed(target, content):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(content).hexdigest()[:20]).write_bytes(content)


for record in (bucket / "catalog").rglob("*"):
    if record.is_file():
        # The first byte says whether the rest is a record or a checkpoint; both are tried.
        seed("catalog", b"\0" + record.read_bytes())
        seed("catalog", b"\1" + record.read_bytes())
for path in (bucket / "data").rglob("*.parquet"):
    file = pyarrow.parquet.ParquetFile(path)
    seed("footer", file.metadata.metadata[b"icecore"])
    names = [name for name in ("attributes", "resource", "scope_attributes") if name in file.schema_arrow.names]
    for column in file.read_row_group(0, columns=names).columns:
        for text in column.unique().drop_null().to_pylist()[:40]:
            seed("value", text.encode())
for special in ('{"a":{"$bytes":"AP8="},"b":{"$double":"NaN"},"c":{"$map":{"$d":[1,2.5,"x",null,true]}}}', '{"k":1,"k":"2"}'):
    seed("value", special.encode())
for segment in list((data / "log").rglob("*"))[:20]:
    if segment.is_file():
        seed("log", bytes(8) + segment.read_bytes()[:4096])
